"""What the judge of the differential tester lets pass, and what it does not: refusals that PostgreSQL itself gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from crosskey import ForeignKeyViolation, delete, do_nothing, insert, is_null
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.requests import Write
from tests.oracle.contents import read_contents
from tests.oracle.differential.judge import Judge
from tests.oracle.differential.obstacles import reverse_rows
from tests.oracle.outcome import Refusal
from tests.oracle.pair import DisagreementError
from tests.oracle.plain import plain_postgres

SCHEMA = """
CREATE TABLE shelters (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE pets (id bigint PRIMARY KEY, shelter bigint DEFAULT 0 REFERENCES shelters ON DELETE SET DEFAULT);
"""
ALL_SHELTERS = delete("shelters", where=is_null("id", False))
AT_CHILD = Refusal(
    "23503",
    'insert or update on table "pets" violates foreign key constraint "pets_shelter_fkey"',
    'Key (shelter)=(0) is not present in table "shelters".',
    "pets_shelter_fkey",
    "pets",
)
AT_PARENT = Refusal(
    "23503",
    'update or delete on table "shelters" violates foreign key constraint "pets_shelter_fkey" on table "pets"',
    'Key (id)=(0) is still referenced from table "pets".',
    "pets_shelter_fkey",
    "pets",
)


@pytest.fixture(scope="module")
def pair(postgres: list[PostgresServer]) -> Iterator[Judge]:
    """A judge with PostgreSQL alone: what Crosskey is said to answer is made up."""
    no_cluster: Any = SimpleNamespace(databases=[], address="")
    with plain_postgres(postgres[0].dsn(), "judge", SCHEMA) as plain, ExitStack() as lifetime:
        yield Judge(no_cluster, cast("Any", None), plain, lifetime)


@pytest.fixture(autouse=True)
def _same_tables(pair: Judge) -> Iterator[None]:
    """There is no other side; the next test begins with empty tables."""
    yield
    pair.plain.connection.execute("TRUNCATE shelters, pets")


def fill(pair: Judge, *shelters: int, pet_of: int) -> None:
    for shelter in shelters:
        pair.plain.connection.execute("INSERT INTO shelters OVERRIDING SYSTEM VALUE VALUES (%s)", (shelter,))
    pair.plain.connection.execute("INSERT INTO pets VALUES (1, %s)", (pet_of,))


def check(pair: Judge, write: Write, found: Refusal) -> None:
    pair.check_agreement([write], found, pair.plain.run([write]))


@pytest.mark.parametrize("found", [AT_CHILD, AT_PARENT])
@pytest.mark.parametrize("shelters", [(0, 5), (5, 0)])
def test_what_postgresql_says_with_its_rows_in_another_order(
    pair: Judge, shelters: tuple[int, ...], found: Refusal
) -> None:
    fill(pair, *shelters, pet_of=5)
    check(pair, ALL_SHELTERS, found)


@pytest.mark.parametrize(
    "found",
    [
        replace(AT_CHILD, sqlstate="23001"),
        replace(AT_CHILD, constraint="pets_pkey"),
        replace(AT_CHILD, message=AT_CHILD.message.replace("pets", "pests", 1)),
    ],
)
def test_what_postgresql_says_in_no_order(pair: Judge, found: Refusal) -> None:
    fill(pair, 5, 0, pet_of=5)
    with pytest.raises(DisagreementError):
        check(pair, ALL_SHELTERS, found)


def test_where_no_order_decides(pair: Judge) -> None:
    fill(pair, 5, 0, pet_of=0)
    check(pair, delete("shelters", key={"id": 0}), AT_PARENT)
    with pytest.raises(DisagreementError):
        check(pair, delete("shelters", key={"id": 0}), AT_CHILD)


def test_a_key_that_refused_a_row_and_that_an_earlier_statement_names(
    pair: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = [
        insert("pets", [{"id": 1, "shelter": None}], on_conflict=do_nothing("id")),
        insert("pets", [{"id": 1, "shelter": 0}]),
    ]
    found = ForeignKeyViolation(
        AT_CHILD.message, sqlstate="23503", constraint="pets_shelter_fkey", table="pets", statement="1"
    )
    monkeypatch.setattr(pair, "client", Mock(transact=Mock(side_effect=found)))
    pair.counts.clear()
    with pytest.raises(ForeignKeyViolation):
        pair.run_transaction(statements)
    assert pair.counts == {"refused": 1, "refused for another of several reasons": 1}


def test_rows_are_turned_round(pair: Judge) -> None:
    fill(pair, 5, 0, 3, pet_of=5)
    connection, tables = pair.plain.connection, pair.plain.tables.values()
    before = read_contents(connection, tables)
    with connection.transaction():
        reverse_rows(connection, tables)
    assert [shelter for (shelter,) in connection.execute("SELECT id FROM shelters")] == [3, 0, 5]
    assert read_contents(connection, tables) == before

"""Calls of one message that a node answers by one statement: each has the answer that it would have alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from crosskey import errors
from crosskey.internal.v1 import reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.shard_node.shared_statements import MAX_TOGETHER, SharedStatements
from crosskey.v1 import rows_pb2
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import CHECK, START, HandCoordinator, commit, insert
from tests.hand_session import HandSession
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_superuser, query, wait_for_waiters

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, name text, boss bigint REFERENCES users);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE codes (id bigint, code varchar(3), label char(4), PRIMARY KEY (id, code));
COMMENT ON TABLE codes IS '@shard_by id';
CREATE TABLE prices (id bigint, price numeric, PRIMARY KEY (id, price));
COMMENT ON TABLE prices IS '@shard_by id';
CREATE TABLE watched (id bigint PRIMARY KEY);
COMMENT ON TABLE watched IS '@shard_by id';

CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH STATEMENT EXECUTE FUNCTION watch();
"""

SHARD = 0

_numbers = numbers_on(SHARD)

Row = Mapping[str, Any]
Call = Mapping[str, Any]


def new(count: int) -> list[int]:
    """Keys of the shard that no test has used."""
    return [next(_numbers) for _ in range(count)]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Nodes, and nobody who calls them."""
    return fresh_cluster(routers=0, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "30000"})


@pytest.fixture(scope="module")
def hand(cluster: LocalCluster) -> Iterator[HandCoordinator]:
    hand = HandCoordinator(cluster)
    hand.install(SCHEMA)
    yield hand
    hand.close()


@pytest.fixture
def session(hand: HandCoordinator) -> HandSession:
    return hand.shared(SHARD)


def inserting(table: str, *rows: Row, count_only: bool = False) -> Call:
    """A call that inserts rows plainly."""
    statement = insert(table, *rows)
    statement.run.count_only = count_only
    commands = [statement, CHECK, commit()]
    return {"run": proto.RunRequest(branch=next(_branches), commands=commands, start=START.START_PLAIN)}


_branches = iter(range(1_000_000, 2_000_000))


def reading(table: str, *columns: str, **key: object) -> Call:
    """A call that reads one row by its key, as a router does for Get."""
    where = [
        reads_pb2.Condition(column=name, op=rows_pb2.Predicate.EQ, value_json=json.dumps(value).encode())
        for name, value in key.items()
    ]
    shape = reads_pb2.RowShape(columns=columns)
    return {"read": reads_pb2.ReadRequest(table=f"public.{table}", where=where, limit=1, shape=shape)}


def outcomes(session: HandSession, *calls: Call) -> list[Any]:
    """What calls of one message come to: rows, or the type and the words of an error."""
    return [_outcome(answer) for answer in session.begin_together(*calls)]


def _outcome(answer: Any) -> Any:
    try:
        found = answer.result(30)
    except errors.CrosskeyError as error:
        return type(error), error.message
    if found.HasField("read"):
        return json.loads(found.read.rows_json)
    [result] = found.run.results
    return json.loads(result.rows_json), result.count


def transactions_of(cluster: LocalCluster, table: str, ids: Sequence[int]) -> int:
    """How many transactions wrote the rows."""
    statement = f"SELECT count(DISTINCT xmin::text) FROM {table} WHERE id = ANY (%s)"
    [(count,)] = query(cluster, SHARD, statement, list(ids))
    return int(count)


# Reads.


def test_each_read_has_the_row_of_its_own_key(session: HandSession) -> None:
    one, two, absent = new(3)
    outcomes(session, inserting("users", {"id": one, "name": "Ada"}), inserting("users", {"id": two, "name": "Ben"}))
    calls = [reading("users", "id", "name", id=key) for key in (two, absent, one, str(two), None)]
    row_of_two = [{"id": str(two), "name": "Ben"}]
    found = outcomes(session, *calls)
    assert found == [row_of_two, [], [{"id": str(one), "name": "Ada"}], row_of_two, []]


def test_a_statement_answers_them_all(cluster: LocalCluster, session: HandSession) -> None:
    outcomes(session, *(reading("users", "name", id=key) for key in new(7)))
    found = query(cluster, SHARD, "SELECT query FROM pg_stat_activity WHERE application_name = 'crosskey'")
    assert any("WITH ORDINALITY" in text for (text,) in found)


@pytest.mark.parametrize("wrong", ["one", 1 << 70, 1.5])
def test_a_read_that_fails_fails_alone(session: HandSession, wrong: object) -> None:
    [key] = new(1)
    outcomes(session, inserting("users", {"id": key, "name": "Ada"}))
    calls = [reading("users", "name", id=key), reading("users", "name", id=wrong), reading("users", "name", id=key)]
    first, second, third = outcomes(session, *calls)
    assert first == third == [{"name": "Ada"}]
    assert [second] == outcomes(session, calls[1])
    assert second[0] is errors.InvalidValue


def test_a_read_of_an_unknown_column_or_table_fails_alone(session: HandSession) -> None:
    [key] = new(1)
    calls = [reading("users", "names", id=key), reading("users", "names", id=key), reading("user", "id", id=key)] * 2
    assert outcomes(session, *calls) == [outcomes(session, call)[0] for call in calls]


def test_keys_of_several_columns_and_of_any_type(session: HandSession) -> None:
    one, two = new(2)
    outcomes(
        session,
        inserting("codes", {"id": one, "code": 'a"\\', "label": "x"}, {"id": one, "code": "b,}", "label": "y"}),
        inserting("prices", {"id": two, "price": "1.50"}),
    )
    assert outcomes(
        session,
        reading("codes", "label", id=one, code='a"\\'),
        reading("codes", "label", id=one, code="b,}"),
        # Longer than the column: compared, not cut.
        reading("codes", "label", id=one, code="b,}zzz"),
        reading("prices", "price", id=two, price="1.5"),
        reading("prices", "price", id=two, price="1.500"),
        reading("prices", "price", id=two, price="1.51"),
    ) == [[{"label": "x   "}], [{"label": "y   "}], [], [{"price": "1.50"}], [{"price": "1.50"}], []]


# Inserts.


def test_inserts_share_a_transaction_and_have_their_own_answers(cluster: LocalCluster, session: HandSession) -> None:
    ids = new(6)
    found = outcomes(
        session,
        inserting("users", {"id": ids[0], "name": "Ada"}),
        inserting("users", {"id": ids[1], "name": "Ben"}, {"id": ids[2], "name": "Cy"}),
        inserting("users", {"id": ids[3], "name": "Di"}),
        inserting("users", {"id": ids[4], "name": "Ed"}, count_only=True),
        inserting("users", {"id": ids[5], "name": "Flo"}, count_only=True),
    )
    counts = [count for _, count in found]
    names = [[row["name"] for row in rows] for rows, _ in found]
    assert (counts, names) == ([1, 2, 1, 1, 1], [["Ada"], ["Ben", "Cy"], ["Di"], [], []])
    assert transactions_of(cluster, "users", ids[:4]) == 1
    assert transactions_of(cluster, "users", ids[4:]) == 1
    assert query(cluster, SHARD, "SELECT count(*) FROM users WHERE id = ANY (%s)", ids) == [(6,)]


def test_inserts_that_are_refused_are_refused_alone(cluster: LocalCluster, session: HandSession) -> None:
    ids = new(4)
    found = outcomes(
        session,
        inserting("users", {"id": ids[0]}),
        inserting("users", {"id": ids[1]}),
        inserting("users", {"id": ids[1]}),
        inserting("users", {"id": ids[2], "boss": ids[2]}),
        inserting("users", {"id": "three"}),
        inserting("users", {"id": ids[3], "boss": None}),
    )
    kinds = [outcome[0] if isinstance(outcome[0], type) else "done" for outcome in found]
    assert sorted(map(str, kinds[1:3])) == sorted(["done", str(errors.UniqueViolation)])
    assert (kinds[0], kinds[5], kinds[4]) == ("done", "done", errors.InvalidValue)
    assert query(cluster, SHARD, "SELECT count(*) FROM users WHERE id = ANY (%s)", ids) == [(4,)]


def test_an_insert_that_waits_for_a_lock_holds_up_no_other(cluster: LocalCluster, session: HandSession) -> None:
    taken, *others = new(4)
    with as_superuser(cluster, SHARD) as connection, connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO users (id) VALUES (%s)", (taken,))
        waiting, *answers = session.begin_together(*(inserting("users", {"id": key}) for key in (taken, *others)))
        assert [_outcome(answer)[1] for answer in answers] == [1, 1, 1]
        wait_for_waiters(cluster, SHARD)
        assert not waiting.done()
    assert _outcome(waiting)[1] == 1


def test_a_table_with_triggers_sees_a_statement_for_each_request(cluster: LocalCluster, session: HandSession) -> None:
    ids = new(3)
    assert [count for _, count in outcomes(session, *(inserting("watched", {"id": key}) for key in ids))] == [1, 1, 1]
    assert transactions_of(cluster, "watched", ids) == len(ids)


# What shares at all.


async def test_what_is_asked_at_one_moment_is_answered_together() -> None:
    together: list[list[int]] = []

    async def double(shape: str, requests: Sequence[int]) -> list[str]:
        together.append(list(requests))
        return [f"{shape}{2 * request}" for request in requests]

    shared = SharedStatements[str, int, str](double)
    asked = [shared.ask("a", 1), shared.ask("b", 2), shared.ask("a", 3)]
    assert await asyncio.gather(*asked) == ["a2", None, "a6"]
    assert await shared.ask("a", 4) is None
    assert together == [[1, 3]]


async def test_many_are_answered_by_several_statements() -> None:
    sizes: list[int] = []

    async def same(_: str, requests: Sequence[int]) -> Sequence[int]:
        sizes.append(len(requests))
        return requests

    shared = SharedStatements[str, int, int](same)
    numbers = list(range(MAX_TOGETHER + 2))
    assert await asyncio.gather(*(shared.ask("a", number) for number in numbers)) == numbers
    assert sizes == [MAX_TOGETHER, 2]


async def test_all_are_told_of_an_error_and_nobody_who_is_gone() -> None:
    async def fail(_: str, requests: Sequence[int]) -> None:
        raise errors.OutcomeUnknown(f"{len(requests)} rows")

    shared = SharedStatements[str, int, int](fail)
    asked = [asyncio.ensure_future(shared.ask("a", number)) for number in range(3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [str(error) for error in found[1:]] == ["2 rows", "2 rows"]

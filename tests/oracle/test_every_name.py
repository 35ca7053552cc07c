"""Every keyword, and every name that SQL of ours uses, as the name of a table, a column, a constraint and more."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from crosskey import Client, ForeignKeyViolation, column, delete, desc, do_nothing, do_update, eq, insert, update
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.names_in_use import names_of_ours, names_of_rows
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.plain import plain_postgres

pytestmark = [pytest.mark.searches, pytest.mark.timeout(300)]

NO_COLUMNS = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}
"""PostgreSQL's own."""

PER_KEY = 30
"""A key has 32 columns at most."""

APPLY_SECONDS = 240

EVERY = 1 if os.environ.get("CROSSKEY_EVERY_NAME") else 6
"""Of the names that are tables and those that are in keys, how many one is that is tried."""

ALWAYS = {"excluded", "found", "given", "k", "new", "old", "place", "select", "tg_op", "user"}
"""Names that were in the way, or are likely to be."""


@dataclass(frozen=True)
class Named:
    """A table whose name, columns, schema, constraints, enum and sequence are all such names."""

    name: str
    schema: str
    index: str

    @property
    def api_name(self) -> str:
        """The name that requests use."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def key(self) -> str:
        """The column that is the primary key."""
        return f"{self.name}_" if self.name in NO_COLUMNS else self.name


@pytest.fixture(scope="module")
def keywords(postgres: list[PostgresServer]) -> dict[str, bool]:
    """PostgreSQL's keywords, and whether each is reserved."""
    with psycopg.connect(postgres[0].dsn()) as connection:
        return dict(connection.execute("SELECT word, catcode IN ('R', 'T') FROM pg_get_keywords()").fetchall())


@pytest.fixture(scope="module")
def columns(keywords: dict[str, bool]) -> list[tuple[str, ...]]:
    """Names of ours and reserved words, as many at a time as a key has columns."""
    reserved = {word for word, is_reserved in keywords.items() if is_reserved}
    names = sorted(name for name in names_of_ours() | reserved if not re.match("crosskey_", name))
    allowed = _some([name for name in names if name not in NO_COLUMNS])
    return [tuple(allowed[start : start + PER_KEY]) for start in range(0, len(allowed), PER_KEY)]


@pytest.fixture(scope="module")
def tables(keywords: dict[str, bool]) -> list[Named]:
    """A table for each name that rows have in SQL of ours, and for every tenth reserved word."""
    reserved = sorted(word for word, is_reserved in keywords.items() if is_reserved)
    found = names_of_rows() | set(reserved[::10])
    names = _some(sorted(name for name in found if not re.match("pg_|crosskey|json_", name)))
    schemas = [name for name in names if name != "information_schema"]
    return [
        Named(name, schemas[(place + 1) % len(schemas)], names[(place + 2) % len(names)])
        for place, name in enumerate(names)
    ]


@pytest.fixture(scope="module")
def pair(
    postgres: list[PostgresServer],
    tmp_path_factory: pytest.TempPathFactory,
    keywords: dict[str, bool],
    columns: list[tuple[str, ...]],
    tables: list[Named],
) -> Iterator[Pair]:
    """A pair with a schema of these names."""
    definitions = [_plain_table(keywords), *map(_column_tables, itertools.count(), columns), *map(_table, tables)]
    schema = f"CREATE SCHEMA kinds; CREATE SCHEMA numbers; {''.join(definitions)}"
    with ExitStack() as lifetime:
        clusters = FreshClusters(postgres, tmp_path_factory.mktemp("names"), lifetime)
        # Transactions over so many tables may take long on a busy machine.
        cluster = clusters(shards=SHARDS, router_environment={"CROSSKEY_RESOLVER_MIN_AGE_MS": "120000"})
        with Client(cluster.address, timeout=APPLY_SECONDS) as client:
            client.apply_schema(schema)
        plain = lifetime.enter_context(plain_postgres(postgres[0].dsn(), "plain_names", schema))
        pair = Pair(cluster, lifetime.enter_context(Client(cluster.address, timeout=APPLY_SECONDS)), plain, lifetime)
        yield pair
        pair.check_health()


def test_keywords(pair: Pair, keywords: dict[str, bool]) -> None:
    for start, shard in enumerate(range(SHARDS)):
        pair.insert("Keywords", {"Id": pair.number(shard), **dict(zip(keywords, itertools.count(start)))})
    conditions = [eq(word, value + 1) for value, word in enumerate(keywords)]
    [row] = pair.rows("Keywords", conditions)
    changed = {word: column(word) + 1 for word in keywords}
    assert len(pair.update("Keywords", changed, where=conditions)) == 1
    updated = {"Id": int(row["Id"]), **dict.fromkeys(keywords, 0)}
    pair.insert("Keywords", updated, on_conflict=do_update(*keywords, on="Id"))
    assert len(list(pair.client.list("Keywords", None, [*keywords, desc("Id")], page_size=1))) == SHARDS
    pair.delete("Keywords", where=conditions)


def test_columns(pair: Pair, columns: list[tuple[str, ...]]) -> None:
    for number, names in enumerate(columns):
        parents, children, others = f"Parents {number}", f"Children {number}", f"Others {number}"
        parent, child = pair.number(PARENT_SHARD), pair.number(1)
        first, second, third = (dict.fromkeys(names, value) for value in (1, 2, 3))
        pair.insert(parents, {"Id": parent, **first})
        pair.insert(children, {"Id": child, "Parent": parent, **first})
        pair.insert(others, {"Id": child, **first})
        with pytest.raises(ForeignKeyViolation):
            pair.insert(children, {"Id": pair.number(1), "Parent": pair.number(1), **first})
        with pytest.raises(ForeignKeyViolation):
            pair.insert(others, {"Id": pair.number(1), **third})
        pair.update(parents, second, where=first)
        pair.insert(parents, {"Id": pair.number(1), **second}, on_conflict=do_update(*names, on=names))
        pair.insert(parents, {"Id": parent, **second}, on_conflict=do_nothing())
        pair.update(parents, {"Id": pair.number(1)}, key={"Id": parent})
        pair.delete(parents, where=second)
        assert pair.rows(children, {"Id": child}) == pair.rows(others, {"Id": child}) == []


def _some(names: Sequence[str]) -> list[str]:
    return [name for place, name in enumerate(names) if place % EVERY == 0 or name in ALWAYS]


def _formatted(template: str, **names: sql.Composable) -> str:
    return sql.SQL(template).format(**names).as_string()


def _plain_table(columns: Iterable[str]) -> str:
    definitions = (sql.SQL("{} integer").format(sql.Identifier(name)) for name in columns)
    return _formatted(
        """
        CREATE TABLE "Keywords" ("Id" bigint PRIMARY KEY, {columns});
        COMMENT ON TABLE "Keywords" IS '@shard_by Id';
        """,
        columns=sql.SQL(", ").join(definitions),
    )


def _column_tables(number: int, columns: Iterable[str]) -> str:
    names = list(map(sql.Identifier, columns))
    return _formatted(
        """
        CREATE TABLE {parents} ("Id" bigint PRIMARY KEY, {definitions}, UNIQUE ({columns}), UNIQUE ("Id", {columns}));
        COMMENT ON TABLE {parents} IS '@shard_by Id';
        CREATE TABLE {children} (
            "Id" bigint PRIMARY KEY, "Parent" bigint, {definitions},
            FOREIGN KEY ("Parent", {columns}) REFERENCES {parents} ("Id", {columns}) ON UPDATE CASCADE ON DELETE CASCADE
        );
        COMMENT ON TABLE {children} IS '@shard_by Id';
        CREATE TABLE {others} (
            "Id" bigint PRIMARY KEY, {definitions},
            FOREIGN KEY ({columns}) REFERENCES {parents} ({columns}) ON UPDATE CASCADE ON DELETE CASCADE
        );
        COMMENT ON TABLE {others} IS '@shard_by Id';
        """,
        parents=sql.Identifier(f"Parents {number}"),
        children=sql.Identifier(f"Children {number}"),
        others=sql.Identifier(f"Others {number}"),
        columns=sql.SQL(", ").join(names),
        definitions=sql.SQL(", ").join(sql.SQL("{} integer").format(name) for name in names),
    )


def _table(named: Named) -> str:
    return _formatted(
        """
        CREATE SCHEMA IF NOT EXISTS {schema};
        CREATE TYPE kinds.{name} AS ENUM ({name_as_text}, 'other');
        CREATE SEQUENCE numbers.{name};
        CREATE TABLE {table} (
            {column} bigint PRIMARY KEY,
            "Key" integer,
            "Kind" kinds.{name} DEFAULT {name_as_text},
            "Number" bigint DEFAULT nextval({sequence}),
            "Up" bigint CONSTRAINT {name} REFERENCES {table} ON UPDATE CASCADE ON DELETE CASCADE,
            CONSTRAINT {index} UNIQUE ("Key", "Kind")
        );
        COMMENT ON TABLE {table} IS {tag};
        """,
        schema=sql.Identifier(named.schema),
        table=sql.Identifier(named.schema, named.name),
        name=sql.Identifier(named.name),
        name_as_text=sql.Literal(named.name),
        sequence=sql.Literal(sql.Identifier("numbers", named.name).as_string()),
        column=sql.Identifier(named.key),
        index=sql.Identifier(named.index),
        tag=sql.Literal(f"@shard_by {named.key}"),
    )


def test_tables(pair: Pair, tables: list[Named]) -> None:
    """Of each table: a parent, a child, a value that is claimed, updates of all, an upsert, a move, a delete."""
    parents = [(named, pair.number(PARENT_SHARD)) for named in tables]
    children = [pair.number(1) for _ in tables]
    moved = [pair.number(1) for _ in tables]
    upsert = do_update("Up", on=["Key", "Kind"])
    for statements in (
        [insert(named.api_name, {named.key: parent, "Key": 1}) for named, parent in parents],
        [
            insert(named.api_name, {named.key: child, "Key": 2, "Up": parent})
            for (named, parent), child in zip(parents, children, strict=True)
        ],
        [update(named.api_name, {"Key": 3}, where={"Key": 1}) for named in tables],
        [
            insert(named.api_name, {named.key: new, "Key": 2, "Kind": named.name, "Up": None}, on_conflict=upsert)
            for named, new in zip(tables, moved, strict=True)
        ],
        [
            update(named.api_name, {"Up": parent}, key={named.key: child})
            for (named, parent), child in zip(parents, children, strict=True)
        ],
        [
            update(named.api_name, {named.key: new}, key={named.key: parent})
            for (named, parent), new in zip(parents, moved, strict=True)
        ],
        [update(named.api_name, {"Kind": "other"}, where={"Kind": named.name}) for named in tables],
        [delete(named.api_name, where={"Key": 3}) for named in tables],
    ):
        pair.transact(*statements)

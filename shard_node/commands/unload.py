"""`python -m crosskey.shard_node unload`: answers the rows of a database on standard output, for a load elsewhere.

Everything comes from one snapshot. Requests are JSON lines on standard input, an Unload each; a message of the answer
is msgpack behind its length in four bytes. First comes a Description; to a request, any number of Rows, the last of
which has none.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import click
import msgspec
import psycopg
from psycopg import sql

from crosskey.catalog.model import Database, TableName
from crosskey.shard_node.schema.introspection import describe
from crosskey.shard_node.setting_types import CONNECTION_STRING

LENGTH_BYTES = 4

# Values are written as on every other PostgreSQL, names with their schemas, and rows in the order in which they lie.
_BEGIN = b"""
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL search_path = pg_catalog;
SET LOCAL row_security = off;
SET LOCAL synchronize_seqscans = off;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""

_ESTIMATES = b"""
SELECT format('%I.%I', n.nspname, c.relname), greatest(c.reltuples, 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')
"""


# A standby has that of its primary, and the rows in the same places.
_IDENTITY = b"""
SELECT format('database %I of the server %s', current_database(), system_identifier) FROM pg_control_system()
"""


class Description(msgspec.Struct):
    """Which database it is, its tables, and about how many rows each has, by its quoted name."""

    identity: str
    database: Database
    estimates: dict[str, int]


class Unload(msgspec.Struct):
    """Which rows are wanted: at most `limit` if it is given, in batches of so many rows and bytes, or few more."""

    table: TableName
    columns: list[str]
    batch_rows: int
    batch_bytes: int
    limit: int | None = None


class Rows(msgspec.Struct):
    """Rows as whole lines in the text format of COPY."""

    count: int
    lines: bytes


@click.command()
@click.option(
    "--dsn", type=CONNECTION_STRING, required=True, envvar="CROSSKEY_DSN", help="The database; it is only read."
)
def unload(dsn: str) -> None:
    """Answer rows on standard output, as asked for on standard input."""
    try:
        asyncio.run(_answer(dsn))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"cannot read the source: {error}") from None
    except psycopg.Error as error:
        raise click.ClickException(f"cannot read the source: {error.diag.message_primary or error}") from None
    except BrokenPipeError:
        sys.exit(1)


async def _answer(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="crosskey") as connection:
        await connection.execute(_BEGIN, prepare=False)
        _write(await _description(connection))
        decoder = msgspec.json.Decoder(Unload)
        for line in sys.stdin.buffer:
            async for rows in _batches(connection, decoder.decode(line)):
                _write(rows)
            _write(Rows(0, b""))


async def _description(connection: psycopg.AsyncConnection[Any]) -> Description:
    [(identity,)] = await (await connection.execute(_IDENTITY)).fetchall()
    estimates = await (await connection.execute(_ESTIMATES)).fetchall()
    return Description(identity, await describe(connection), dict(estimates))


async def _batches(connection: psycopg.AsyncConnection[Any], wanted: Unload) -> AsyncIterator[Rows]:
    lines: list[bytes] = []
    size = 0
    async with connection.cursor() as cursor, cursor.copy(_query(wanted)) as copy:
        async for line in copy:
            lines.append(bytes(line))
            size += len(line)
            if len(lines) >= wanted.batch_rows or size >= wanted.batch_bytes:
                yield Rows(len(lines), b"".join(lines))
                lines, size = [], 0
    if lines:
        yield Rows(len(lines), b"".join(lines))


def _query(wanted: Unload) -> sql.Composed:
    limit = sql.SQL("") if wanted.limit is None else sql.SQL(" LIMIT {}").format(sql.Literal(wanted.limit))
    return sql.SQL("COPY (SELECT {columns} FROM {table}{limit}) TO STDOUT").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, wanted.columns)),
        table=sql.Identifier(wanted.table.schema, wanted.table.name),
        limit=limit,
    )


def _write(message: Description | Rows) -> None:
    encoded = msgspec.msgpack.encode(message)
    sys.stdout.buffer.write(len(encoded).to_bytes(LENGTH_BYTES, "big"))
    sys.stdout.buffer.write(encoded)
    sys.stdout.buffer.flush()

"""Loading rows by COPY, and which batches of a load are committed.

COPY fires every trigger and checks every constraint that INSERT does, so a loaded row has its shadows, pins and claims
as an inserted one has: noted a statement, not a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Table, TableName
from crosskey.internal.v1 import maintenance_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.copies import SNAPSHOTS_ARE_GIVEN, SNAPSHOTS_ARE_TAKEN
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import from_postgres
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier

# A load names its batches; nobody else sees the note before the rows are committed. Whoever is just loading the batch
# is waited for.
_NOTE = b"""
INSERT INTO crosskey.loaded_batch (load, batch, digest) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""
_DIGEST = b"SELECT digest FROM crosskey.loaded_batch WHERE load = %s AND batch = %s"
_LIST = b"SELECT batch, digest FROM crosskey.loaded_batch WHERE load = %s"
_FORGET = b"DELETE FROM crosskey.loaded_batch WHERE load = %s"

_LINE = re.compile(r"^COPY .*?, line ([0-9]+)", re.MULTILINE)
"""How PostgreSQL says in an error's context which line of a COPY it is about."""


async def copy_rows(connection: Connection, table: Table, load: proto.LoadRows) -> int:
    """Loads lines and answers how many rows they were. Raises as a statement; the line is in the metadata."""
    await connection.execute(SNAPSHOTS_ARE_GIVEN, prepare=False)
    count = await _copy_lines(connection, table, load)
    await connection.execute(SNAPSHOTS_ARE_TAKEN, prepare=False)
    return count


async def _copy_lines(connection: Connection, table: Table, load: proto.LoadRows) -> int:
    async with connection.cursor() as cursor:
        try:
            async with cursor.copy(_copy_text(table, tuple(load.columns))) as copy:
                await copy.write(load.lines)
        except psycopg.Error as error:
            raise _naming_line(error) from error
        return cursor.rowcount


@lru_cache
def _copy_text(table: Table, columns: Sequence[str]) -> bytes:
    return (
        sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT text, ENCODING 'UTF8')")
        .format(table=table_identifier(table.name), columns=column_list(columns))
        .as_bytes()
        .replace(b"%%", b"%")
    )


def _naming_line(error: psycopg.Error) -> Exception:
    known = from_postgres(error)
    line = _LINE.search(error.diag.context or "")
    if known is None or line is None:
        return error
    known.metadata["line"] = line[1]
    return known


async def note_batch(connection: Connection, note: proto.NoteBatch) -> bool:
    """Notes a batch as loaded; False if it was already. Raises InvalidRequest if that was another batch of its name."""
    digest = bytes(note.digest)
    cursor = await connection.execute(_NOTE, (note.load, note.batch, digest))
    if cursor.rowcount:
        return True
    cursor = await connection.execute(_DIGEST, (note.load, note.batch))
    if any(loaded != digest for (loaded,) in await cursor.fetchall()):
        raise errors.InvalidRequest(
            f'batch "{note.batch}" of this load was loaded already, with other rows',
            hint="The source has changed since. Start another load, into tables without the rows of this one.",
        )
    return False


async def list_batches(connection: Connection, load: str) -> list[maintenance_pb2.LoadedBatch]:
    """The committed batches of a load."""
    cursor = await connection.execute(_LIST, (load,))
    return [maintenance_pb2.LoadedBatch(batch=batch, digest=digest) for batch, digest in await cursor.fetchall()]


async def forget_batches(connection: Connection, load: str) -> None:
    """Forgets which batches of a load are committed."""
    await connection.execute(_FORGET, (load,))


async def advance_sequence(connection: Connection, sequence: TableName, past: int) -> None:
    """Moves a sequence so that it does not give `past`, nor what it gives before. Nobody draws from it meanwhile."""
    await connection.execute(
        b"SELECT crosskey.advance_sequence(format('%%I.%%I', %s::text, %s::text)::regclass, %s::bigint)",
        (sequence.schema, sequence.name, past),
    )

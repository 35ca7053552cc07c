"""What must be true of a shard's PostgreSQL before its node serves; each check says what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import psycopg
import structlog
from psycopg import sql

from crosskey import errors
from crosskey.shard_node import sql as sql_files
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import from_postgres
from crosskey.shard_node.postgres.server_identity import REPLACED, leads_home

MIN_VERSION = 150000
# PostgreSQL lost the row locks of prepared transactions in these releases (see their successors' release notes).
LOSING_LOCKS = ((170000, 170010), (180000, 180004))
# Any number: whoever starts a node of the same database meanwhile waits for the first.
_STARTING_LOCK = 4_853_921_077
# Longer than a start takes; the lock time-out of requests is too short for it.
_STARTING_LOCK_TIMEOUT = "30s"
# Not the form of a distributed transaction's gid: no resolver takes it up.
_CANARY_PREFIX = "crosskey-canary:"

_LOCK_NOT_AVAILABLE = "55P03"
_GONE = "42704"
_INSUFFICIENT_RESOURCES = "53"

_log = structlog.get_logger(__name__)


class UnfitDatabase(Exception):
    """The shard's PostgreSQL cannot be used; the message says what to do. The node does not start."""


class ShardIdentity(msgspec.Struct, frozen=True):
    """What the database says about itself."""

    cluster: str
    shard: int
    shards: int
    incarnation: str
    postgres_version: str
    token_key: bytes


async def prepare_database(connection: Connection, cluster: str, shard: int, shards: int) -> ShardIdentity:
    """Checks the database and makes the schema `crosskey` in it.

    Raises UnfitDatabase, and ShardUnavailable if PostgreSQL goes away meanwhile: then it may be tried again.
    """
    try:
        await _check_settings(connection)
        async with _alone(connection):
            await _bootstrap(connection, cluster, shard, shards)
            identity = await _check_identity(connection, cluster, shard, shards)
            await _release_canaries(connection)
            await _check_prepared_locks(connection)
    except psycopg.Error as error:
        if isinstance(from_postgres(error), errors.ShardUnavailable):
            raise errors.ShardUnavailable("the shard's PostgreSQL went away") from error
        raise UnfitDatabase(f"the database cannot be set up: {error.diag.message_primary or error}") from error
    return identity


def check_version(version: int) -> None:
    """Raises UnfitDatabase for a version, in the form of PQserverVersion, that is too old or loses prepared locks."""
    if version < MIN_VERSION:
        raise UnfitDatabase(f"PostgreSQL {_version_text(version)} is too old: use 15 or newer")
    if any(first <= version < fixed for first, fixed in LOSING_LOCKS):
        raise UnfitDatabase(
            f"PostgreSQL {_version_text(version)} loses the row locks of prepared transactions:"
            " use 15, 16, 17.10 or newer, 18.4 or newer"
        )


def _version_text(version: int) -> str:
    return f"{version // 10_000}.{version % 10_000}"


async def _check_settings(connection: Connection) -> None:
    check_version(connection.info.server_version)
    cursor = await connection.execute(
        "SELECT current_setting('max_prepared_transactions')::int, rolsuper, rolname, pg_is_in_recovery(),"
        " pg_encoding_to_char(encoding), has_database_privilege(current_database(), 'CREATE'), rolcreatedb"
        " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row is not None, "the current role and database exist"
    prepared, superuser, role, recovering, encoding, may_create, may_create_databases = row
    if not prepared:
        raise UnfitDatabase(
            "max_prepared_transactions is 0: set it to 64 or more in postgresql.conf and restart PostgreSQL"
        )
    if superuser:
        raise UnfitDatabase(
            f'the role "{role}" is a superuser, which can bypass foreign keys: make another one with'
            " `python -m crosskey.shard_node provision`"
        )
    if recovering:
        raise UnfitDatabase("this PostgreSQL is a standby: connect to the primary")
    if encoding != "UTF8":
        raise UnfitDatabase(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")
    if not (may_create and may_create_databases):
        raise UnfitDatabase(
            f'the role "{role}" must own its database and may create others (for planning a schema):'
            " make it with `python -m crosskey.shard_node provision`"
        )


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    """No other node of the same database is at this point meanwhile: they would end each other's canaries."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', %s, true)", (_STARTING_LOCK_TIMEOUT,))
        await connection.execute("SELECT pg_advisory_lock(%s)", (_STARTING_LOCK,))
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_STARTING_LOCK,))


async def _bootstrap(connection: Connection, cluster: str, shard: int, shards: int) -> None:
    async with connection.transaction():
        await connection.execute(b"SET LOCAL client_min_messages = warning", prepare=False)
        await connection.execute(sql_files.load("bootstrap").encode(), prepare=False)
        await connection.execute(sql_files.load("slots").encode(), prepare=False)
        await connection.execute(
            "INSERT INTO crosskey.shard (cluster, shard, shards, system_identifier, timeline)"
            " SELECT %s, %s, %s, system_identifier, timeline FROM crosskey.server ON CONFLICT DO NOTHING",
            (cluster, shard, shards),
        )


async def _check_identity(connection: Connection, cluster: str, shard: int, shards: int) -> ShardIdentity:
    cursor = await connection.execute(
        "SELECT cluster, shard, shards, incarnation::text, current_setting('server_version'),"
        " token_key FROM crosskey.shard, crosskey.secret"
    )
    row = await cursor.fetchone()
    assert row is not None, "the row was just made"
    identity = ShardIdentity(
        cluster=row[0],
        shard=row[1],
        shards=row[2],
        incarnation=row[3],
        postgres_version=row[4].split()[0],
        token_key=row[5],
    )
    found, wanted = (identity.cluster, identity.shard, identity.shards), (cluster, shard, shards)
    if found != wanted:
        raise UnfitDatabase(
            f"this database is shard {found[1]} of {found[2]} of cluster {found[0]!r}, not shard {wanted[1]} of"
            f" {wanted[2]} of {wanted[0]!r}: check the node's --shard, --shards, --cluster and --dsn"
        )
    if not await leads_home(connection):
        raise UnfitDatabase(REPLACED)
    return identity


async def accept_server(connection: Connection) -> str:
    """Takes the server as it is now for the shard's own, after a failover or restore. Answers the new incarnation.

    Raises UnfitDatabase if the database is no shard.
    """
    try:
        cursor = await connection.execute(
            "UPDATE crosskey.shard SET incarnation = gen_random_uuid(), system_identifier = server.system_identifier,"
            " timeline = server.timeline FROM crosskey.server RETURNING incarnation::text"
        )
        [(incarnation,)] = await cursor.fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise UnfitDatabase("this database is no shard") from error
    return str(incarnation)


async def _release_canaries(connection: Connection) -> None:
    """Rolls back the canary of a node that was killed when it started."""
    cursor = await connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, %s)",
        (_CANARY_PREFIX,),
    )
    for (gid,) in await cursor.fetchall():
        await _release_canary(connection, sql.Literal(gid))


async def _release_canary(connection: Connection, gid: sql.Literal) -> None:
    try:
        await connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(gid), prepare=False)
    except psycopg.Error as error:
        # A node of an earlier version, or somebody by hand, was faster.
        if error.sqlstate != _GONE:
            raise


async def _check_prepared_locks(connection: Connection) -> None:
    """Sees that a prepared transaction keeps its row lock, also when another one shares it.

    Where nothing more can be prepared it is not seen: only a node that serves can finish what takes the room.
    """
    # Gids are server-wide, and so are databases' names.
    gid = sql.Literal(_CANARY_PREFIX + connection.info.dbname)
    lock = sql.SQL("BEGIN; SELECT id FROM crosskey.canary FOR KEY SHARE; {}")
    try:
        await connection.execute(lock.format(sql.SQL("PREPARE TRANSACTION {}").format(gid)), prepare=False)
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] != _INSUFFICIENT_RESOURCES:
            raise
        _log.warning("the locks of prepared transactions were not tested", error=error.diag.message_primary)
        return
    try:
        await connection.execute(lock.format(sql.SQL("COMMIT")), prepare=False)
        await connection.execute(b"SELECT id FROM crosskey.canary FOR UPDATE NOWAIT", prepare=False)
    except psycopg.Error as error:
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            raise
    else:
        raise UnfitDatabase(
            "this PostgreSQL loses the row locks of prepared transactions: update it to its newest minor release"
        )
    finally:
        await _release_canary(connection, gid)

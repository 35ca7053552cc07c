"""What is left of a distributed transaction once its coordinator has decided, or is gone."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from google.protobuf.timestamp_pb2 import Timestamp
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2, recovery_pb2
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.writing.execution import uninterrupted
from crosskey.shard_node.writing.own_gids import OwnGids

# Abort decisions outlive by far any transaction that could still try to commit (see MAX_GID_AGE_SECONDS).
ABORT_RETENTION = "1 day"

_GONE = "42704"
_BUSY = "55000"

_OUTCOMES = {
    True: recovery_pb2.DecideResponse.OUTCOME_COMMITTED,
    False: recovery_pb2.DecideResponse.OUTCOME_ABORTED,
    None: recovery_pb2.DecideResponse.OUTCOME_UNDECIDED,
}


async def finish_prepared(connection: Connection, gids: Sequence[str], *, commit: bool) -> None:
    """Commits or rolls back prepared transactions.

    One that is gone was finished by someone else: the caller acts on a decision, and so did they. Raises Conflict if
    another connection is finishing one right now.
    """
    verb = sql.SQL("COMMIT PREPARED {}" if commit else "ROLLBACK PREPARED {}")
    for gid in gids:
        try:
            statement = verb.format(sql.Literal(gid)).as_bytes()
            await uninterrupted(connection.execute(statement, prepare=False))
        except psycopg.Error as error:
            if error.sqlstate == _GONE:
                continue
            if error.sqlstate == _BUSY:
                raise errors.Conflict(f"the prepared transaction {gid} is being finished by someone else") from error
            raise


async def decide(
    connection: Connection, gids: Sequence[str], *, peek: bool, patient: bool
) -> list[recovery_pb2.DecideResponse.Outcome.ValueType]:
    """The outcomes of distributed transactions whose home is this shard; where there is none, abort (unless peeking).

    A patient one aborts nothing that home is at work on: then the lock that at_work takes is not to be had.

    The INSERT waits for a home transaction that is committing right now. Its conflict is seen by the next statement.
    Raises Conflict if that takes longer than the lock time-out.
    """
    with translated():
        if not peek:
            await connection.execute(
                "INSERT INTO crosskey.decision (gid, committed) SELECT gid, false FROM unnest(%s::text[]) AS asked(gid)"
                " WHERE NOT %s OR pg_try_advisory_xact_lock(hashtextextended(gid, 0))"
                " ORDER BY gid ON CONFLICT DO NOTHING",
                (list(gids), patient),
            )
        cursor = await connection.execute(
            "SELECT gid, committed FROM crosskey.decision WHERE gid = ANY(%s::text[])", (list(gids),)
        )
        outcomes: dict[str, bool] = dict(await cursor.fetchall())
    return [_OUTCOMES[outcomes.get(gid)] for gid in gids]


def at_work(gid: str) -> bytes:
    """SQL with which home says, until its transaction ends, that it is at work on a distributed transaction."""
    return sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({}, 0)); ").format(sql.Literal(gid)).as_bytes()


async def list_prepared(connection: Connection, own: OwnGids) -> list[maintenance_pb2.PreparedTransaction]:
    """The prepared transactions of this shard, oldest first. Gids are server-wide: two shards may share a server.

    What another program prepared here is left out.
    """
    cursor = await connection.execute(
        "SELECT gid, extract(epoch FROM prepared), 1000 * extract(epoch FROM clock_timestamp() - prepared)"
        " FROM pg_prepared_xacts WHERE database = current_database() AND gid ~ %s ORDER BY prepared, gid",
        (own.branch_pattern,),
    )
    return [_prepared(*row) for row in await cursor.fetchall()]


def _prepared(gid: str, prepared_at: float, age_ms: float) -> maintenance_pb2.PreparedTransaction:
    when = Timestamp()
    when.FromMicroseconds(int(prepared_at * 1_000_000))
    return maintenance_pb2.PreparedTransaction(gid=gid, prepared_at=when, age_ms=int(age_ms))


async def forget_decisions(connection: Connection, gids: Sequence[str]) -> None:
    """Deletes commit decisions that every branch has carried out, and abort decisions that nobody can miss."""
    await connection.execute("DELETE FROM crosskey.decision WHERE committed AND gid = ANY(%s::text[])", (list(gids),))
    await connection.execute(
        "DELETE FROM crosskey.decision WHERE NOT committed AND decided_at < now() - %s::interval", (ABORT_RETENTION,)
    )


async def list_decisions(connection: Connection, min_age_ms: int) -> list[str]:
    """The commit decisions that are at least so old."""
    cursor = await connection.execute(
        "SELECT gid FROM crosskey.decision WHERE committed AND decided_at <= now() - make_interval(secs => %s)"
        " ORDER BY decided_at",
        (min_age_ms / 1000,),
    )
    return [gid for (gid,) in await cursor.fetchall()]

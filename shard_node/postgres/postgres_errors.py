"""What PostgreSQL says, in the project's error vocabulary: one table from SQLSTATE to exception."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog
from psycopg import errors as postgres

from crosskey import errors
from crosskey.catalog.model import TableName
from crosskey.serving.answer_size import answer_too_large
from crosskey.shard_node.postgres.refused_connections import not_connected

PLACEMENT_CHECK = "crosskey_placement"
SLOT_CHECK = "crosskey_slot"
ELSEWHERE = "crosskey_elsewhere"
"""What a failed assertion names as its constraint if it only means that other shards must be asked."""

DECISION_KEY = "decision_pkey"
"""Of the decisions in sql/bootstrap.sql: a gid is decided once."""

_BY_SQLSTATE: dict[str, type[errors.CrosskeyError]] = {
    "23503": errors.ForeignKeyViolation,
    "23001": errors.RestrictViolation,
    "23505": errors.UniqueViolation,
    "23P01": errors.ExclusionViolation,
    "23502": errors.NotNullViolation,
    "23514": errors.CheckViolation,
    "42P01": errors.UnknownTable,
    "42703": errors.UnknownColumn,
    "428C9": errors.InvalidValue,
    "42804": errors.InvalidValue,
    "42846": errors.InvalidValue,
    "42601": errors.InvalidRequest,
    "42883": errors.InvalidValue,
    "55P03": errors.Conflict,
    "25P03": errors.Conflict,
    "25P04": errors.DeadlineExceeded,
    "57014": errors.DeadlineExceeded,
    "53300": errors.Overloaded,
    "53100": errors.ShardFull,
    "53400": errors.ShardFull,
    "XK001": errors.RaisedByDatabase,
    "XK002": errors.NotSupported,
    "XK008": errors.Conflict,
    "XK009": errors.SchemaChanged,
}
_BY_CLASS: dict[str, type[errors.CrosskeyError]] = {
    "22": errors.InvalidValue,
    "54": errors.InvalidValue,
    "40": errors.Conflict,
    "08": errors.ShardUnavailable,
    "57": errors.ShardUnavailable,
    "53": errors.Overloaded,
    "45": errors.RaisedByDatabase,
    "P0": errors.RaisedByDatabase,
    "0A": errors.NotSupported,
}
_IN_OUR_WORDS = {"53100": "the shard's PostgreSQL has no room left on its disk"}
"""What PostgreSQL says of a file of the server's, whose path is nobody's business; it goes to the log."""

_BY_FUNCTION: dict[tuple[str, str | None], type[errors.CrosskeyError]] = {
    ("21000", "ExecOnConflictUpdate"): errors.InvalidValue,
    ("42704", "get_relation_constraint_attnos"): errors.UnknownConstraint,
    ("42809", "infer_arbiter_indexes"): errors.UnknownConstraint,
    ("42P10", "infer_arbiter_indexes"): errors.UnknownConstraint,
    ("55000", "ExecCheckIndexConstraints"): errors.NotSupported,
}
"""Codes that mean this only if that function of PostgreSQL's gives them: what it says of ON CONFLICT."""

_log = structlog.get_logger(__name__)

_NOBODYS_FAULT = frozenset({"XX", "F0", "58"})
"""Classes of a damaged or broken server."""

# The function of PostgreSQL that carries out RAISE in PL/pgSQL.
_RAISE = "exec_stmt_raise"
_RAISED_BY_CROSSKEY = ("23", "XK")
"""Classes that its own triggers raise; the first means the same when the user's do."""

_KEY_IN_DETAIL = re.compile(r"^Key \(.*?\)=\((.*)\) (?:is |already |conflicts )", re.DOTALL)


def from_postgres(error: psycopg.Error) -> errors.CrosskeyError | None:
    """The exception that says to the caller what PostgreSQL said; None for what nobody foresaw.

    The message is PostgreSQL's own primary message; its detail, hint and names are in the metadata.
    """
    sqlstate = error.sqlstate
    if isinstance(error, psycopg.DataError) and sqlstate is None:
        # It was not sent: psycopg sees that a text contains a NUL character.
        return errors.InvalidValue("a text contains a NUL character, which PostgreSQL does not store")
    if sqlstate is None:
        return not_connected(error) if isinstance(error, psycopg.OperationalError) else None
    diagnosis = error.diag
    if sqlstate == "23514" and diagnosis.constraint_name in (PLACEMENT_CHECK, SLOT_CHECK):
        return _displaced(diagnosis)
    if sqlstate == "23505" and diagnosis.schema_name == "crosskey":
        return _given_up() if diagnosis.constraint_name == DECISION_KEY else None
    if sqlstate == "XK003":
        return answer_too_large()
    if sqlstate == "XK007":
        # What PostgreSQL says by itself of a value for a column that nobody can set.
        return errors.InvalidValue(diagnosis.message_primary or "", **_metadata("428C9", diagnosis))
    kind = _kind(sqlstate, diagnosis)
    if kind is not None and kind is not errors.RaisedByDatabase and sqlstate in _IN_OUR_WORDS:
        _log.error("out of room", sqlstate=sqlstate, error=diagnosis.message_primary)
        return kind(_IN_OUR_WORDS[sqlstate], sqlstate=sqlstate)
    return None if kind is None else kind(diagnosis.message_primary or sqlstate, **_metadata(sqlstate, diagnosis))


def _given_up() -> errors.CrosskeyError:
    """A resolver has decided before home could."""
    return errors.Conflict("the transaction was given up by the resolver before it could commit")


def _kind(sqlstate: str, diagnosis: postgres.Diagnostic) -> type[errors.CrosskeyError] | None:
    known = (
        _BY_FUNCTION.get((sqlstate, diagnosis.source_function))
        or _BY_SQLSTATE.get(sqlstate)
        or _BY_CLASS.get(sqlstate[:2])
    )
    if diagnosis.source_function == _RAISE and sqlstate[:2] not in _RAISED_BY_CROSSKEY:
        # Whatever the code means where PostgreSQL itself gives it: the same request would raise it again.
        return errors.RaisedByDatabase
    if known is None and diagnosis.severity_nonlocalized == "ERROR" and sqlstate[:2] not in _NOBODYS_FAULT:
        # Crosskey's own statements do not fail so: a function, a default or a trigger did.
        return errors.RaisedByDatabase
    return known


def is_passing(error: psycopg.Error) -> bool:
    """Whether it says nothing of the statement: a race, a time-out, a server that has no room or goes away."""
    passing = (
        errors.Conflict,
        errors.ShardUnavailable,
        errors.Overloaded,
        errors.ShardFull,
        errors.DeadlineExceeded,
    )
    return isinstance(from_postgres(error), passing)


def _metadata(sqlstate: str, diagnosis: postgres.Diagnostic) -> dict[str, str]:
    detail = diagnosis.message_detail
    key = _KEY_IN_DETAIL.match(detail) if detail else None
    found = {
        "sqlstate": sqlstate,
        "table": diagnosis.table_name,
        "constraint": diagnosis.constraint_name,
        "columns": diagnosis.column_name,
        "key": key.group(1) if key else None,
        "detail": detail,
        "hint": diagnosis.message_hint or _hint(sqlstate, diagnosis),
    }
    return {name: value for name, value in found.items() if value}


def _hint(sqlstate: str, diagnosis: postgres.Diagnostic) -> str | None:
    """What to do about a transaction of several shards that did what none can that is prepared."""
    if sqlstate == "0A000" and diagnosis.source_function in ("AtPrepare_Notify", "PrepareTransaction"):
        return (
            "A trigger or a function of the schema did it, in a transaction of several shards; in one of a single shard"
            " it may. Write the rows of each shard by themselves, or do without it: drop the trigger for a load."
        )
    return None


def _displaced(diagnosis: postgres.Diagnostic) -> errors.CrosskeyError:
    table = diagnosis.table_name or ""
    if diagnosis.constraint_name == SLOT_CHECK:
        return errors.SlotMismatch(
            f'the id of a row of "{table}" carries another slot than its shard key',
            table=table,
            hint=(
                "If you gave the id, leave it out and it is minted, or mint it for the slot of the shard key. If the"
                " shard key was changed, by an update or by ON UPDATE CASCADE: such a row cannot move to another slot,"
                " unless its table says @claim."
            ),
        )
    return errors.WrongShard(
        f'a row of "{table}" does not belong to this shard',
        table=table,
        hint="Write through the router; no trigger may change a shard key.",
    )


def needs_coordination(error: psycopg.Error) -> bool:
    """Whether an error outside of a coordinated transaction may mean no more than that other shards must be asked."""
    match error:
        case postgres.ForeignKeyViolation():
            return True
        case postgres.CheckViolation():
            return error.diag.constraint_name == PLACEMENT_CHECK
        case postgres.AssertFailure():
            return error.diag.constraint_name == ELSEWHERE
    return False


@contextmanager
def translated() -> Iterator[None]:
    """Turns PostgreSQL's errors into the project's; lets through what nobody foresaw."""
    try:
        yield
    except psycopg.Error as error:
        known = from_postgres(error)
        if known is None:
            raise
        raise known from error


def naming_table(error: psycopg.Error | errors.CrosskeyError, table: TableName) -> Exception:
    """The error, naming the table that its statement is about: PostgreSQL does not say whose a value was.

    PostgreSQL's own error is answered if it names the table itself, or may mean no more than that other shards must be
    asked, or says nothing of the statement.
    """
    if isinstance(error, errors.CrosskeyError):
        known: errors.CrosskeyError | None = error
    elif isinstance(error, psycopg.IntegrityError) or needs_coordination(error):
        return error
    else:
        known = from_postgres(error)
        if isinstance(error, psycopg.OperationalError) and not isinstance(known, errors.STATEMENT_ERRORS):
            return error
    if known is None:
        return error
    known.metadata.setdefault("table", str(table))
    return known


def unknown_if_lost(error: psycopg.Error | errors.CrosskeyError) -> Exception:
    """The error of something that commits: a connection lost meanwhile leaves the outcome open."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return errors.OutcomeUnknown("the connection to the shard's PostgreSQL was lost during the commit")
    return error

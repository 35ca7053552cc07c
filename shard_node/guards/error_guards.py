"""What only other shards can tell is said so that no function of the user's takes it for an answer.

Outside of coordinated transactions a missing shadow, a pin and the check of the shard refuse with the errors of a
foreign key and a check. Those mean no more than that the node must run the commands again as a coordinated transaction;
but a function that catches errors would believe them. So where the schema has one, triggers look first, and raise a
failed assertion: PL/pgSQL's `WHEN OTHERS` catches everything but that and a cancelled query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from crosskey.catalog.model import TableName
from crosskey.shard_node.guards.triggers import AFTER_ALL_OTHERS, COORDINATED, GUARDS_FIRST, trigger_function
from crosskey.shard_node.postgres.postgres_errors import ELSEWHERE
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.sql_names import function_identifier, table_identifier

_RAISE = sql.SQL(
    "RAISE assert_failure USING MESSAGE = 'only other shards can tell whether this may be done', CONSTRAINT = {},"
    " HINT = 'Write through the router.';"
).format(literal(ELSEWHERE))


def guard_place(table: TableName, displaced: sql.Composable) -> Iterable[sql.Composed]:
    """Guards against rows that belong to another shard; `displaced` is the condition on NEW."""
    yield trigger_function("displaced", table, [_RAISE])
    yield sql.SQL(
        "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN (NOT {coordinated} AND {displaced})"
        " EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(f"{AFTER_ALL_OTHERS}displaced"),
        table=table_identifier(table),
        coordinated=sql.SQL(COORDINATED),
        displaced=displaced,
        function=function_identifier("displaced", table),
    )


def guard_children(table: TableName, unshadowed: Sequence[sql.Composable]) -> Iterable[sql.Composed]:
    """Guards against children whose parent has no shadow, or is not here; `unshadowed` are conditions on NEW."""
    yield from _guard("unshadowed", table, "INSERT OR UPDATE", unshadowed)


def guard_parents(table: TableName, pinned: Sequence[sql.Composable]) -> Iterable[sql.Composed]:
    """Guards against losing parents, or their keys, that have pins; `pinned` are conditions on OLD and NEW."""
    yield from _guard("pinned", table, "UPDATE OR DELETE", pinned)


def _guard(purpose: str, table: TableName, events: str, conditions: Sequence[sql.Composable]) -> Iterable[sql.Composed]:
    body = [sql.SQL("IF {} THEN {} END IF;").format(condition, _RAISE) for condition in conditions]
    yield trigger_function(purpose, table, body)
    yield sql.SQL(
        "CREATE TRIGGER {name} AFTER {events} ON {table} FOR EACH ROW WHEN (NOT {coordinated})"
        " EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(f"{GUARDS_FIRST}{purpose}"),
        events=sql.SQL(events),
        table=table_identifier(table),
        coordinated=sql.SQL(COORDINATED),
        function=function_identifier(purpose, table),
    )

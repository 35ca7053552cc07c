"""What an insert is to do with rows that conflict with others: checked, and which keys of other shards it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crosskey import errors
from crosskey.catalog.model import Column, Table, UniqueKey
from crosskey.catalog.plan import Claim, TablePlan
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.suggestions import suggest_column, suggest_name
from crosskey.v1 import router_pb2, rows_pb2

_TARGETS: Final = ("columns", "constraint", "index")


def check_on_conflict(view: SchemaView, plan: TablePlan, on_conflict: rows_pb2.OnConflict) -> None:
    """Raises InvalidRequest (not one action, two targets, an update without a target or column) and UnknownColumn.

    UnknownConstraint if there is no such index. NotSupported if rows may conflict on a value over all shards that
    depends on a generated column.
    """
    table = plan.table
    targets = [name for name in _TARGETS if getattr(on_conflict, name)]
    if len(targets) > 1:
        raise _invalid(table, f"on_conflict has both {' and '.join(targets)}; it takes one of them")
    match on_conflict.WhichOneof("action"):
        case None:
            raise _invalid(table, "on_conflict does not say what to do; it takes nothing or update")
        case "update" if not targets:
            message = "ON CONFLICT DO UPDATE requires inference specification or constraint name"
            raise errors.InvalidRequest(message, table=str(table.name), sqlstate="42601")
        case "update" if not on_conflict.update.columns:
            raise _invalid(table, "the update of on_conflict sets no column")
    _check_names(table, on_conflict)
    for column in _arbiter_columns(view, plan, on_conflict):
        if column.generated:
            raise errors.NotSupported(
                f'on_conflict cannot look for "{column.name}" of "{table.name}" on other shards: its value is generated'
                " when the row is stored",
                table=str(table.name),
                columns=column.name,
            )


def arbiters(view: SchemaView, plan: TablePlan, on_conflict: rows_pb2.OnConflict) -> tuple[Claim, ...]:
    """The claimed keys on which rows may conflict; of all other keys, rows that conflict are on one shard."""
    if view.shards == 1:
        return ()
    return tuple(claim for claim in view.claims_of(plan.table.name) if _is_target(plan.table, claim, on_conflict))


def target_columns_to_generate(
    view: SchemaView, plan: TablePlan, request: router_pb2.InsertRequest
) -> Sequence[Column]:
    """The columns whose default must be known before rows can be sent to those that they conflict with."""
    if not request.HasField("on_conflict"):
        return ()
    generated = {column.name for column in view.columns_to_generate(plan)}
    return [
        column
        for column in _arbiter_columns(view, plan, request.on_conflict)
        if column.default is not None and column.name not in generated
    ]


def _is_target(table: Table, claim: Claim, on_conflict: rows_pb2.OnConflict) -> bool:
    if on_conflict.index:
        return any(key.name == on_conflict.index and _infers(key, claim) for key in table.unique_keys)
    if on_conflict.constraint:
        return claim.constraint == on_conflict.constraint
    if on_conflict.columns:
        return claim.computed is None and set(claim.columns) == set(on_conflict.columns)
    return True


def _infers(key: UniqueKey, claim: Claim) -> bool:
    """Whether PostgreSQL infers the index of the claim, too, from what defines the key."""
    if key.computed is None:
        return claim.computed is None and set(claim.columns) == set(key.columns)
    if claim.computed is None:
        only_columns = len(key.columns) == len(key.computed.columns)
        return only_columns and set(claim.columns) == set(key.columns)
    same = set(claim.computed.expressions) == set(key.computed.expressions)
    return same and claim.computed.predicate in ("", key.computed.predicate)


def _arbiter_columns(view: SchemaView, plan: TablePlan, on_conflict: rows_pb2.OnConflict) -> list[Column]:
    names = {name for claim in arbiters(view, plan, on_conflict) for name in claim.reads}
    return [column for column in plan.table.columns if column.name in names]


def _check_names(table: Table, on_conflict: rows_pb2.OnConflict) -> None:
    """PostgreSQL says so in its own words, too, but not whose columns they are."""
    for name in on_conflict.columns:
        if table.column(name) is None:
            raise _unknown(table, name, f'column "{name}" does not exist')
    known = [key.name for key in table.unique_keys]
    if on_conflict.index and on_conflict.index not in known:
        raise errors.UnknownConstraint(
            f'there is no unique index "{on_conflict.index}" on "{table.name}"',
            table=str(table.name),
            constraint=on_conflict.index,
            hint=suggest_name(on_conflict.index, known),
        )
    if on_conflict.constraint and on_conflict.constraint not in known:
        return  # PostgreSQL says so first.
    for name in on_conflict.update.columns:
        if table.column(name) is None:
            # The value of the row that was proposed is looked for before the column that it is for.
            raise _unknown(table, name, f"column excluded.{name} does not exist")


def _unknown(table: Table, column: str, message: str) -> errors.UnknownColumn:
    hint = suggest_column(column, table)
    return errors.UnknownColumn(message, table=str(table.name), columns=column, sqlstate="42703", hint=hint)


def _invalid(table: Table, what: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f'the insert into "{table.name}": {what}', table=str(table.name))

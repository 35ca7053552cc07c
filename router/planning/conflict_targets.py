"""What an insert is to do with rows that conflict with others: checked, and which keys of other shards it concerns."""

from __future__ import annotations

from collections.abc import Sequence

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import Claim, TablePlan
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.suggestions import suggest_column
from crosskey.v1 import router_pb2, rows_pb2


def check_on_conflict(view: SchemaView, plan: TablePlan, on_conflict: rows_pb2.OnConflict) -> None:
    """Raises InvalidRequest (not one action, two targets, an update without a target or column) and UnknownColumn.

    NotSupported if rows may conflict on a value over all shards that only PostgreSQL can compute.
    """
    table = plan.table
    if on_conflict.columns and on_conflict.constraint:
        raise _invalid(table, "on_conflict has both columns and constraint; it takes one of them")
    match on_conflict.WhichOneof("action"):
        case None:
            raise _invalid(table, "on_conflict does not say what to do; it takes nothing or update")
        case "update" if not on_conflict.columns and not on_conflict.constraint:
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
    return tuple(claim for claim in view.claims_of(plan.table.name) if _is_target(claim, on_conflict))


def columns_to_supply(view: SchemaView, plan: TablePlan, request: router_pb2.InsertRequest) -> Sequence[Column]:
    """The columns whose default must be known before rows can be sent to those that they conflict with."""
    if not request.HasField("on_conflict"):
        return ()
    supplied = {column.name for column in view.supplied_columns(plan)}
    return [
        column
        for column in _arbiter_columns(view, plan, request.on_conflict)
        if column.default is not None and column.name not in supplied
    ]


def _is_target(claim: Claim, on_conflict: rows_pb2.OnConflict) -> bool:
    if on_conflict.constraint:
        return claim.constraint == on_conflict.constraint
    return not on_conflict.columns or set(claim.columns) == set(on_conflict.columns)


def _arbiter_columns(view: SchemaView, plan: TablePlan, on_conflict: rows_pb2.OnConflict) -> list[Column]:
    names = {name for claim in arbiters(view, plan, on_conflict) for name in claim.columns}
    return [column for column in plan.table.columns if column.name in names]


def _check_names(table: Table, on_conflict: rows_pb2.OnConflict) -> None:
    """PostgreSQL says so in its own words, too, but not whose columns they are."""
    for name in on_conflict.columns:
        if table.column(name) is None:
            raise _unknown(table, name, f'column "{name}" does not exist')
    if on_conflict.constraint and on_conflict.constraint not in {key.name for key in table.unique_keys}:
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

"""Which views requests may read, and where the rows of these are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Final

import msgspec

from crosskey.catalog.model import Database, Table, TableName, UniqueKey, View
from crosskey.catalog.plan import TablePlan, ViewPlan
from crosskey.catalog.view_keys import find_key, never_null
from crosskey.catalog.view_spread import BY_SLOT, NotSpread, Spread, Tables

_PLACE_OF_ROWS: Final = "ctid"
"""What tells rows apart that no key does has this name."""


def plan_views(
    database: Database, tables: Iterable[TablePlan], cleaned_up_later: Set[TableName] = frozenset()
) -> tuple[ViewPlan, ...]:
    """Each view of a schema: as what it is read, or why it is not.

    Views show what is stored, also in tables that are `cleaned_up_later`.
    """
    queries = {view.name.qualified: view for view in database.view_queries}
    known = Tables(tuple(tables), queries, cleaned_up_later)
    return tuple(_plan(name, queries, known) for name in database.views)


def _plan(name: TableName, queries: Mapping[str, View], tables: Tables) -> ViewPlan:
    try:
        return ViewPlan(name, _read_as(name, queries, tables))
    except NotSpread as refusal:
        return ViewPlan(name, None, str(refusal))
    except RecursionError:
        return ViewPlan(name, None, "its query nests too deep")


def _read_as(name: TableName, queries: Mapping[str, View], tables: Tables) -> TablePlan:
    view = queries.get(name.qualified)
    if view is None:
        raise NotSpread("it is materialized: each shard has filled it from its own rows; list the tables that it reads")
    if view.query is None:
        raise NotSpread("its query is not understood")
    if any(column.name == _PLACE_OF_ROWS for column in view.columns):
        raise NotSpread(f'a column is called "{_PLACE_OF_ROWS}"; give it another name')
    spread = tables.spread(name.qualified)
    key = find_key(view.query, tables)
    filled = never_null(view.query, tables)
    columns = tuple(
        msgspec.structs.replace(column, not_null=str(place) in filled) for place, column in enumerate(view.columns, 1)
    )
    keys = () if key is None else (UniqueKey("", tuple(columns[int(place) - 1].name for place in key), primary=True),)
    table = Table(name, columns, keys, kind="v")
    if spread.kind != "parted":
        return TablePlan(table, "reference")
    first, second, *_ = [*_locators(table, spread), None, None]
    return TablePlan(table, "sharded", first, second)


def _locators(table: Table, spread: Spread) -> list[str]:
    """The columns whose values tell the shard of a row."""
    return [
        column.name
        for column in table.columns
        if (colocating := spread.columns.get(column.name)) is not None
        and not colocating.nullable
        and any(one[0] == BY_SLOT for one in colocating.places)
    ]

"""What makes a column a bad shard key though planning accepts it: the rows would pile up, or move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from crosskey.advice.column_hints import few_by_name, has_constant_default
from crosskey.advice.statement_share import ReadStatements
from crosskey.advice.survey import Survey
from crosskey.catalog.plan import TablePlan

MIN_DISTINCT = 1000
"""With fewer values than this, shards differ visibly in how many they get."""

FEW_DISTINCT = 100
"""With fewer than this, whole shards may stay empty, whatever else the column is good for."""

MAX_TOP_SHARE = 0.1
"""Of the rows under one value: they are all on one shard."""

MOST = 0.5
"""Of the rows under one value: most of the table is on one shard, and so it is not sharded."""

HOPELESS = 5.0
"""More than statements and a few local keys make up for."""

MAX_UPDATES_PER_ROW = 1.0

FaultKind = Literal["time", "sequence", "low-cardinality", "skew", "often-updated"]

_TIMES: Final = re.compile(r"(^|_)(at|on|date|day|month|year|week|hour|time|timestamp|epoch|ts)$|^(created|updated)_")


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a shard key; `weight` is how many local keys would make up for it."""

    kind: FaultKind
    why: str
    weight: float


def shard_key_faults(plan: TablePlan, survey: Survey, statements: ReadStatements) -> Iterator[Fault]:
    """The faults of a sharded table's shard key."""
    if plan.shard_key is None:
        return
    if _TIMES.search(plan.shard_key):
        why = f"{plan.shard_key} looks like a time: rows of one moment are all written to one shard, and read from many"
        yield Fault("time", why, 1.5)
    yield from _faults_of_values(plan, survey)
    yield from _faults_of_updates(plan, survey, statements)


def is_hopeless(plan: TablePlan, survey: Survey) -> bool:
    """Whether a table's rows would be on few shards, or nearly all on one."""
    return any(fault.weight >= HOPELESS for fault in _faults_of_values(plan, survey))


def _faults_of_values(plan: TablePlan, survey: Survey) -> Iterator[Fault]:
    facts = survey.facts(plan.table.name)
    column = facts.column(plan.shard_key or "")
    if plan.shard_key is None or _is_unique(plan):
        return
    if column is None or facts.rows < MIN_DISTINCT:
        yield from _faults_by_form(plan)
        return
    distinct = column.distinct if column.distinct >= 0 else -column.distinct * facts.rows
    few = distinct < FEW_DISTINCT
    if few or (distinct < MIN_DISTINCT and not _names_a_row(plan, survey)):
        why = f"{plan.shard_key} has only about {distinct:.0f} values in {facts.rows} rows: shards would fill unevenly"
        yield Fault("low-cardinality", why, HOPELESS if few else 0.3)
    if column.top_share > MAX_TOP_SHARE:
        why = f"{column.top_share:.0%} of the rows have the same {plan.shard_key}, and would all be on one shard"
        yield Fault("skew", why, HOPELESS if column.top_share > MOST else 0.5)


def _faults_by_form(plan: TablePlan) -> Iterator[Fault]:
    """What a file tells: nobody has counted the values."""
    column = plan.shard_key_column
    if has_constant_default(column):
        why = f"{column.name} has the default {column.default}: rows that say nothing else would all be on one shard"
        yield Fault("skew", why, HOPELESS)
    elif few_by_name(column.name):
        why = f"{column.name} looks like a flag or a kind: few values, for few shards"
        yield Fault("low-cardinality", why, HOPELESS)


def _names_a_row(plan: TablePlan, survey: Survey) -> bool:
    """Whether the shard key is of a foreign key: some hundreds of tenants are enough, and nothing better exists."""
    keys = survey.database.foreign_keys
    return any(key.table == plan.table.name and plan.shard_key in key.columns for key in keys)


def _is_unique(plan: TablePlan) -> bool:
    """Whether the table is placed by a column that is unique: then it has as many values as rows."""
    return any(key.columns == (plan.shard_key,) and key.names_rows for key in plan.table.unique_keys)


def _faults_of_updates(plan: TablePlan, survey: Survey, statements: ReadStatements) -> Iterator[Fault]:
    name, shard_key = plan.table.name, plan.shard_key
    moved = sum(
        counted.calls
        for counted in statements.shapes
        if shard_key in counted.shape.changed and next(iter(counted.shape.tables.values())) == name
    )
    if moved:
        why = f"{shard_key} is set by {moved} calls of UPDATE: each that changes it moves the row to another shard"
        yield Fault("often-updated", why, 1.5)
    elif not statements.shapes and _is_changing(plan, survey):
        facts = survey.facts(name)
        why = (
            f"rows are updated often ({facts.updates} updates of {facts.rows} rows), and {shard_key} is no part of a"
            " key: each update that changes it moves the row to another shard"
        )
        yield Fault("often-updated", why, 0.5)


def _is_changing(plan: TablePlan, survey: Survey) -> bool:
    facts = survey.facts(plan.table.name)
    keys = {name for key in plan.table.unique_keys for name in key.columns}
    keys |= {name for key in survey.database.foreign_keys if key.table == plan.table.name for name in key.columns}
    return plan.shard_key not in keys and facts.rows > 0 and facts.updates > MAX_UPDATES_PER_ROW * facts.rows

"""Shard keys that planning accepts, or refuses, and that will disappoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosskey.advice.lookup_tables import why_lookup
from crosskey.advice.options import Barred
from crosskey.advice.report import Warned
from crosskey.advice.shard_key_faults import Fault, shard_key_faults
from crosskey.advice.statement_share import ReadStatements
from crosskey.advice.survey import Survey
from crosskey.catalog.claim_rules import claimed_keys
from crosskey.catalog.model import Column, Table, TableName, UniqueKey
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slot_types import has_slot

_TIMES = frozenset({"date", "timestamp", "timestamptz", "time", "timetz"})

_ADVICE = {
    "time": "shard by what rows are read by: an id, or a parent's",
    "low-cardinality": "shard by a column with many values, such as an id",
    "skew": "shard by a column whose values are about equally frequent, such as an id",
    "often-updated": "shard by a column that does not change, such as an id",
}


def warn_of_shard_keys(
    placed: Mapping[TableName, TablePlan],
    survey: Survey,
    statements: ReadStatements,
    barred: Mapping[TableName, Barred],
) -> Iterator[Warned]:
    """What is wrong with the shard key of each table, the proposed ones too where there is nothing better."""
    for table in survey.database.tables:
        yield from _warn_of_times(table)
        plan = placed.get(table.name)
        if plan is None:
            continue
        for fault in shard_key_faults(plan, survey, statements):
            yield _warning(plan, fault)
        yield from _warn_of_sequences(plan, placed, survey)
        yield from _warn_of_claimed_ids(plan)
        if table.name in barred:
            yield from _warn_of_bars(table, barred[table.name], urgent=plan.placement == "reference")
            continue
        proposed = plan.table.comment != table.comment
        if proposed and plan.placement == "reference" and not why_lookup(table, survey):
            yield _warn_of_no_shard_key(table)


def _warning(plan: TablePlan, fault: Fault) -> Warned:
    advice = _ADVICE[fault.kind]
    return Warned(fault.kind, str(plan.table.name), fault.why, advice, column=plan.shard_key or "")


def _warn_of_times(table: Table) -> Iterator[Warned]:
    """Times that lead a primary key: what such a table is often partitioned by, and cannot be sharded by."""
    leading = table.column(table.primary_key[0]) if table.primary_key else None
    if leading is not None and leading.base_type in _TIMES:
        why = (
            f"{leading.name} leads the primary key and is {leading.type}: no shard key, for its text depends on"
            " settings, and rows of one moment would all be written to one shard"
        )
        yield Warned("time", str(table.name), why, _ADVICE["time"], column=leading.name)


def _warn_of_sequences(plan: TablePlan, placed: Mapping[TableName, TablePlan], survey: Survey) -> Iterator[Warned]:
    """Rows that a sequence spreads over all shards though they have a parent to live with."""
    if plan.shard_key is None or plan.shard_key_column.sequence is None:
        return
    own = [key for key in survey.database.foreign_keys if key.table == plan.table.name]
    sharded = {name for name, other in placed.items() if other.placement == "sharded"} - {plan.table.name}
    parents = sorted({str(key.parent) for key in own if key.parent in sharded})
    if parents:
        why = (
            f"{plan.shard_key} is a sequence's number: rows are spread one by one, away from their rows of"
            f" {' and '.join(parents)}, and each is found only by its number"
        )
        advice = "give the table a uuid PRIMARY KEY, which carries its row's slot, and shard it with a parent"
        yield Warned("sequence", str(plan.table.name), why, advice, column=plan.shard_key)


def _warn_of_claimed_ids(plan: TablePlan) -> Iterator[Warned]:
    for key in claimed_keys(plan):
        if key.primary:
            columns = ", ".join(key.columns)
            why = f"the primary key ({columns}) does not place its row: every insert claims it, often on another shard"
            advice = "make it a uuid, which carries its row's slot and needs no claim"
            if len(key.columns) > 1:
                advice = f"add {plan.shard_key} to it"
            yield Warned("claimed-id", str(plan.table.name), why, advice, constraint=key.name, column=key.columns[0])


def _warn_of_bars(table: Table, barred: Barred, *, urgent: bool) -> Iterator[Warned]:
    """Constraints and unique indexes that keep a table from a better placement."""
    for refusal in barred.refusals:
        # A refusal says what is wrong, and after a semicolon what to do.
        what, _, advice = refusal.message.removeprefix(f'table "{table.name}": ').partition("; ")
        why = f"{barred.option.tag} is refused: {what}"
        if urgent:
            why = f"every shard would have all of it: {why}"
        yield Warned("barred", str(table.name), why, advice, constraint=refusal.constraint, urgent=urgent)


def _warn_of_no_shard_key(table: Table) -> Warned:
    why = "no column of it spreads its rows, so every shard would have all of it, and each write is one on all shards"
    unique = [column.name for key in table.unique_keys if len(key.columns) == 1 for column in _nullable(table, key)]
    advice = "give it a NOT NULL column that is an integer, uuid, text or varchar, if it grows or is written often"
    if unique:
        advice = f"make {unique[0]} NOT NULL, and shard the table by it, if it grows or is written often"
    return Warned("no-shard-key", str(table.name), why, advice, column=next(iter(unique), ""), urgent=True)


def _nullable(table: Table, key: UniqueKey) -> Iterator[Column]:
    """The column of a key that could be the shard key if it were not nullable."""
    column = table.column(key.columns[0])
    if column is not None and not column.not_null and key.names_rows and has_slot(column) and not column.generated:
        yield column

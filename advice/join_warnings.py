"""Tables whose rows have to be fetched from other shards wherever they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.advice.lookup_tables import may_be_lookup, why_lookup
from crosskey.advice.options import is_placed
from crosskey.advice.report import Warned
from crosskey.advice.sql_text import comment_statement
from crosskey.advice.survey import Survey
from crosskey.catalog.model import Table
from crosskey.catalog.plan import KeyPlan, Plan, TablePlan
from crosskey.catalog.tags import parse_tags

MANY_CROSSING = 2
"""Parents on other shards of one row, to show which takes that many requests more."""


def warn_of_lookups(plan: Plan | None, survey: Survey) -> Iterator[Warned]:
    """Crossing keys onto what may be a lookup table, and rows that name rows on several other shards."""
    if plan is None:
        return
    crossing = [key for key in plan.keys if key.kind == "cross-shard"]
    for table in plan.tables:
        onto = [key for key in crossing if key.foreign_key.parent == table.table.name]
        own = [key for key in crossing if key.foreign_key.table == table.table.name]
        if onto:
            yield from _warn_of_parent(table.table, onto, survey)
        if table.placement == "sharded" and len({key.foreign_key.parent for key in own}) >= MANY_CROSSING:
            yield _warn_of_child(table, own)


def _warn_of_parent(tagged: Table, onto: list[KeyPlan], survey: Survey) -> Iterator[Warned]:
    table = next(own for own in survey.database.tables if own.name == tagged.name)
    why = why_lookup(table, survey)
    if why is None and not may_be_lookup(table, survey):
        return
    names = ", ".join(key.foreign_key.name for key in onto)
    if is_placed(table):
        advice = f"if it is small and seldom written, say @reference instead of @{parse_tags(table.comment)[0].name}"
        paste = ""
    else:
        advice = "if it is small and seldom written, paste this instead of what is proposed"
        paste = comment_statement(table, "@reference", survey.quoted)
    yield Warned(
        "over-normalised" if why else "maybe-reference",
        str(table.name),
        f"it names no other table, and {names} would cross shards onto it"
        + (f"; {why}" if why else "; whether it is a lookup table, only the number of its rows and writes can tell"),
        advice,
        constraint=onto[0].foreign_key.name,
        paste=paste,
    )


def _warn_of_child(plan: TablePlan, own: list[KeyPlan]) -> Warned:
    parents = sorted({str(key.foreign_key.parent) for key in own})
    return Warned(
        "over-normalised",
        str(plan.table.name),
        f"to show a row takes its rows of {' and '.join(parents)}, each of which may be on another shard",
        "copy the columns that are shown with the row into it when it is written, as an order has its price",
        constraint=own[0].foreign_key.name,
    )

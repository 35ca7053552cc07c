"""Where a table could live: every placement that planning accepts for it, judged by the planner's own rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from crosskey.advice.column_hints import is_prose
from crosskey.advice.sql_text import comment_with
from crosskey.advice.statement_share import ReadStatements
from crosskey.advice.survey import Survey
from crosskey.catalog.model import Table, TableName
from crosskey.catalog.placement import place_table
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.refusals import Refusal
from crosskey.catalog.tags import parse_tags

PLACEMENT_TAGS = ("shard_by", "shard_with", "reference")


class Option(msgspec.Struct, frozen=True):
    """What would place a table, and the plan that comes of it.

    `tag` is the tag of a placement, with `@claim` on a line of its own where ids that exist carry no slots.
    """

    tag: str
    plan: TablePlan


class Barred(msgspec.Struct, frozen=True):
    """A placement that only constraints and unique indexes keep a table from, and what planning says of each."""

    option: Option
    refusals: tuple[Refusal, ...]


def is_placed(table: Table) -> bool:
    """Whether the user has said where a table's rows live."""
    return any(tag.name in PLACEMENT_TAGS for tag in parse_tags(table.comment))


def column_of(tag: str) -> str:
    """The column that a placement names; empty for a reference table."""
    return tag.partition("\n")[0].partition(" ")[2]


def with_tag(table: Table, tag: str) -> Table:
    """The table with a placement said in its comment."""
    return msgspec.structs.replace(table, comment=comment_with(table, tag))


def sharded_options(
    table: Table, survey: Survey, statements: ReadStatements, lookups: Collection[TableName]
) -> list[Option]:
    """A placement for each column that could be the shard key, in order of the columns.

    These are columns that rows are found or referenced by; if none of them will do, any that will. What only names a
    row of a lookup table has too few values.
    """
    keys = _key_columns(table, survey, statements, lookups)
    by_keys = [option for name in keys if (option := _option(table, name, survey))]
    others = (column.name for column in table.columns if not is_prose(column.name))
    return by_keys or [option for name in others if (option := _option(table, name, survey))]


def barred_options(
    table: Table, survey: Survey, statements: ReadStatements, lookups: Collection[TableName]
) -> list[Barred]:
    """A placement for each column that rows are found or referenced by, and that only constraints keep from placing."""
    keys = _key_columns(table, survey, statements, lookups)
    return [barred for name in keys if (barred := _barred(table, name))]


def reference_option(table: Table) -> Option | None:
    """The placement as a reference table; None if planning refuses that too."""
    plan = place_table(with_tag(table, "@reference"))
    return Option("@reference", plan) if isinstance(plan, TablePlan) else None


def _option(table: Table, column: str, survey: Survey) -> Option | None:
    tag = f"@shard_by {column}"
    plan = place_table(with_tag(table, tag))
    carried = survey.facts(table.name).slots_carried
    if isinstance(plan, TablePlan) and plan.slot_column and carried is not None and column not in carried:
        tag = f"{tag}\n@claim"
        plan = place_table(with_tag(table, tag))
    return Option(tag, plan) if isinstance(plan, TablePlan) else None


def _barred(table: Table, column: str) -> Barred | None:
    tag = f"@shard_by {column}"
    refusals = place_table(with_tag(table, tag))
    if isinstance(refusals, TablePlan):
        return None
    barring = {refusal.constraint for refusal in refusals}
    freed = msgspec.structs.replace(
        table,
        unique_keys=tuple(key for key in table.unique_keys if key.name not in barring),
        exclusions=tuple(exclusion for exclusion in table.exclusions if exclusion.name not in barring),
    )
    plan = place_table(with_tag(freed, tag))
    if not isinstance(plan, TablePlan):
        return None
    # With all its keys, which are to be kept in some form, and which others may reference.
    return Barred(Option(tag, msgspec.structs.replace(plan, table=with_tag(table, tag))), refusals)


def _key_columns(table: Table, survey: Survey, statements: ReadStatements, lookups: Collection[TableName]) -> list[str]:
    own_keys = [key for key in survey.database.foreign_keys if key.table == table.name]
    looking_up = [key for key in own_keys if key.parent in lookups]
    identifying = {name for key in table.unique_keys for name in key.columns}
    names = identifying | {name for key in own_keys for name in key.columns}
    names |= {index[0] for index in survey.facts(table.name).indexes if not is_prose(index[0])}
    names |= set(_columns_given(table.name, statements))
    names -= {name for key in looking_up if not set(key.columns) <= identifying for name in key.columns}
    return [column.name for column in table.columns if column.name in names]


def _columns_given(name: TableName, statements: ReadStatements) -> Iterator[str]:
    for counted in statements.shapes:
        if counted.shape.verb != "insert":
            yield from (place.column for place, _ in counted.shape.given if counted.shape.tables[place.alias] == name)

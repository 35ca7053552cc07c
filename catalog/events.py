"""@events: the tables whose changes are told as events."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.model import Table
from crosskey.catalog.refusals import Refusal, refuse_table
from crosskey.catalog.tags import Tag, parse_tags


def tells_events(table: Table) -> bool:
    """Whether each change of its rows is told as an event."""
    return bool(_tags(table))


def refuse_events(table: Table) -> Iterator[Refusal]:
    """Every reason why a table with the tag cannot tell events."""
    for tag in _tags(table):
        if tag.argument:
            yield refuse_table(table, f"@events takes nothing after it, not {tag.argument!r}")
    if _tags(table) and not table.primary_key:
        yield refuse_table(
            table, "@events needs a PRIMARY KEY, by which an event names its row; add one, or leave out @events"
        )


def _tags(table: Table) -> list[Tag]:
    return [tag for tag in parse_tags(table.comment) if tag.name == "events"]

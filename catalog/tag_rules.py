"""No tag is ever ignored: which ones are refused where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crosskey.catalog.model import Database, OtherComment
from crosskey.catalog.refusals import Refusal, refuse_key, refuse_table
from crosskey.catalog.tags import TAGS, ObjectKind, Tag, parse_tags

_PHRASES: Final[dict[ObjectKind, str]] = {
    "table": "a table",
    "column": "a table's column",
    "foreign key": "a foreign key",
}


def refuse_tags(database: Database) -> Iterator[Refusal]:
    """Every tag that is unknown or on the wrong kind of object."""
    for table in database.tables:
        for why in _refusals(table.comment, "table"):
            yield refuse_table(table, why)
        for column in table.columns:
            for why in _refusals(column.comment, "column"):
                yield refuse_table(table, f'column "{column.name}": {why}', column=column.name)
    for key in database.foreign_keys:
        for why in _refusals(key.comment, "foreign key"):
            yield refuse_key(key, why)
    for other in database.other_comments:
        yield from _refuse_misplaced(other)


def _refusals(comment: str | None, kind: ObjectKind) -> Iterator[str]:
    for tag in parse_tags(comment):
        why = _why_refused(tag, kind)
        if why is not None:
            yield why


def _why_refused(tag: Tag, kind: ObjectKind) -> str | None:
    expected = TAGS.get(tag.name)
    if expected is None:
        return f"unknown tag @{tag.name}; the tags are {', '.join('@' + name for name in TAGS)}"
    if expected != kind:
        return f"@{tag.name} belongs on {_PHRASES[expected]}, not on {_PHRASES[kind]}"
    return None


def _refuse_misplaced(other: OtherComment) -> Iterator[Refusal]:
    # Only our own tags: on functions and views, other tools' tags such as @param are none of our business.
    for tag in parse_tags(other.comment):
        if tag.name in TAGS:
            yield Refusal(f"{other.object}: @{tag.name} belongs on {_PHRASES[TAGS[tag.name]]}")

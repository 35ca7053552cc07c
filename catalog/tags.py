"""Smart comments: lines of a COMMENT that start with `@`, as in PostGraphile. Other lines are prose."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

ObjectKind = Literal["table", "column", "foreign key"]

TAGS: Final[dict[str, ObjectKind]] = {
    "shard_by": "table",
    "shard_with": "table",
    "reference": "table",
    "claim": "table",
    "events": "table",
    "enforce": "foreign key",
    "copy": "column",
    "relation": "foreign key",
    "inverse": "foreign key",
    "through": "foreign key",
}
"""Every tag, and the kind of object that it belongs on."""


class Tag(msgspec.Struct, frozen=True):
    """One tag; `argument` is the rest of its line without surrounding white space, empty if there is none."""

    name: str
    argument: str = ""


def parse_tags(comment: str | None) -> tuple[Tag, ...]:
    """The tags of a comment, in order."""
    lines = (line.strip() for line in (comment or "").splitlines())
    return tuple(_parse_tag(line) for line in lines if line.startswith("@"))


def _parse_tag(line: str) -> Tag:
    name, _, argument = line[1:].replace("\t", " ").partition(" ")
    return Tag(name, argument.strip())

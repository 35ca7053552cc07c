"""Tags of commands: which statement of the client's each belongs to. Nodes bring them back unread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto

CHECK = proto.CheckConstraints()

_STATEMENT = "statement "


def tag_of(statement: str) -> str:
    """The tag of what belongs to a statement, named by its place such as "2.1"; none for what belongs to no one."""
    return _STATEMENT + statement if statement else ""


@contextmanager
def naming_tagged() -> Iterator[None]:
    """Names the statement in errors of commands that have its tag."""
    try:
        yield
    except errors.CrosskeyError as error:
        tag = error.metadata.pop("tag", "")
        if tag.startswith(_STATEMENT):
            error.metadata["statement"] = tag.removeprefix(_STATEMENT)
        raise

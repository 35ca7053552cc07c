"""The SQL of the node, by file."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def load(name: str) -> str:
    """The text of `<name>.sql`. Raises FileNotFoundError if there is none."""
    return (resources.files(__package__) / f"{name}.sql").read_text(encoding="utf-8")

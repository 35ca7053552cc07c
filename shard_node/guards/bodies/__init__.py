"""What trigger functions of ours do, as SQL with places to fill in: one file each, whose comment says why."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from psycopg import sql


def body(name: str, **parts: Any) -> sql.Composed:
    """The SQL of `<name>.sql`, filled in. Its comments stay behind. Raises KeyError if a part is missing."""
    return _template(name).format(**parts)


@cache
def _template(name: str) -> sql.SQL:
    text = (resources.files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("--"))
    return sql.SQL("\n".join(lines))

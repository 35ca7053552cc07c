"""Values that nest deeper than Python reads or writes them, told by the column that has them.

Python's readers and writers of JSON call themselves for each level, and give up where that is too deep: at some 300
levels of what is sent, and some 1,000 of what is read. PostgreSQL takes several thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_ROW_LEVEL = 2
"""Of brackets in an array of rows: those within a row are deeper."""

_MARK = re.compile(r'"(?:[^"\\]+|\\.)*"|[\[\]{}]')


def too_deep_to_send(rows: Iterable[Mapping[str, Any]], encode: Callable[[Any], object]) -> ValueError:
    """Of rows that cannot be written, the error that names the first column with a value that `encode` cannot write."""
    for row in rows:
        for name, value in row.items():
            try:
                encode(value)
            except RecursionError:
                return ValueError(f'the value of "{name}" nests too deep to be sent by this client')
    return ValueError("a value nests too deep to be sent by this client")


def too_deep_to_read(table: str, column: str) -> ValueError:
    """The error that names a column with a value that cannot be read."""
    return ValueError(f'a value of "{column}" of "{table}" nests too deep to be read by this client')


def deepest_column(rows_json: str) -> str:
    """The column that has the deepest value in a JSON array of rows, by their brackets alone."""
    level, deepest = 0, _ROW_LEVEL
    name = found = ""
    for mark in _MARK.finditer(rows_json):
        text = mark[0]
        if text in "[{":
            level += 1
            if level > deepest:
                deepest, found = level, name
        elif text in "]}":
            level -= 1
        elif level == _ROW_LEVEL:
            # Before a value that nests, the last string of its row is its name.
            name = text[1:-1]
    return found

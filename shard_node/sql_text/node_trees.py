"""PostgreSQL's trees of queries, as pg_rewrite has them: text of the kind `{VAR :varno 1 :varattno 2}`."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""An object is a dictionary of its fields with its name under "", a list is a list, all else is the text; `<>` is None.
"""

_TOKEN = re.compile(r"[(){}]|(?:\\.|[^\s(){}\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_tree(text: str) -> Tree:
    """The tree of a pg_node_tree's text. Raises ValueError if it is none."""
    outer: list[Tree] = []
    open_lists: list[list[Tree]] = [outer]
    for part in _TOKEN.findall(text):
        if part in "({":
            open_lists.append([])
        elif part in ")}":
            closed = open_lists.pop()
            if not open_lists:
                raise ValueError("a list ends that has not begun")
            open_lists[-1].append(closed if part == ")" else _object(closed))
        else:
            open_lists[-1].append(part)
    if len(outer) != 1 or len(open_lists) != 1:
        raise ValueError("the text is not one tree")
    return _value(outer[0])


def _object(parts: list[Tree]) -> dict[str, Tree]:
    """The object of a name and fields. Behind the first value of a field stand at most the bytes of a constant."""
    fields: dict[str, Tree] = {"": parts[0]}
    place = 1
    while place + 1 < len(parts):
        fields[parts[place].removeprefix(":")] = _value(parts[place + 1])
        place += 2
        while place < len(parts) and not (isinstance(parts[place], str) and parts[place].startswith(":")):
            place += 1
    return fields


def _value(part: Tree) -> Tree:
    if part == "<>":
        return None
    if isinstance(part, str):
        return _ESCAPED.sub(r"\1", part)
    return [_value(one) for one in part] if isinstance(part, list) else part

"""PostgreSQL's text of arrays: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_TOKEN = re.compile(r'[{},]|"((?:[^"\\]|\\.)*)"|((?:[^"\\{},]|\\.)+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_array(text: str, read_element: Callable[[str], Any]) -> list[Any] | None:
    """The array as a list, of lists if it has several dimensions; None of an array that does not begin at 1.

    Elements are read by the function, and NULL is None. Raises ValueError for what is no array.
    """
    if text.startswith("["):
        return None
    tokens = _TOKEN.finditer(text)
    if _next(tokens).group() != "{":
        raise ValueError("an array begins with a brace")
    return _elements(tokens, read_element)


def _elements(tokens: Iterator[re.Match[str]], read_element: Callable[[str], Any]) -> list[Any]:
    elements: list[Any] = []
    while True:
        token = _next(tokens)
        match token.group():
            case "}":
                return elements
            case ",":
                continue
            case "{":
                elements.append(_elements(tokens, read_element))
            case _:
                elements.append(_element(token, read_element))


def _element(token: re.Match[str], read_element: Callable[[str], Any]) -> Any:
    quoted, plain = token.groups()
    if quoted is not None:
        return read_element(_ESCAPED.sub(r"\1", quoted))
    return None if plain == "NULL" else read_element(_ESCAPED.sub(r"\1", plain))


def _next(tokens: Iterator[re.Match[str]]) -> re.Match[str]:
    token = next(tokens, None)
    if token is None:
        raise ValueError("an array does not end")
    return token

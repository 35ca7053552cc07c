"""What the names of two tables tell: rows of `order_items` belong to rows of `orders`."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")


def is_named_after(child: str, parent: str) -> bool:
    """Whether a table is named after another: its name has the other's last word, with words of its own behind it."""
    words = _WORDS.findall(parent)
    return bool(words) and _singular(words[-1]) in [_singular(word) for word in _WORDS.findall(child)[:-1]]


def _singular(word: str) -> str:
    word = word.lower()
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word

"""The keys that an example uses: ten values, forced onto chosen shards, and one that is a column's default."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

from tests.oracle.pair import shard_of

Key = int | str

VALUES = 10
PATTERN_LENGTH = 5
"""For how many values the shard can be chosen; those of the others are as they come.

One more takes three times as long to find.
"""

DEFAULT_VALUE = 0
"""Stands for the key that is the default of columns."""

_DEFAULT_KEYS: dict[str, Key] = {"text": "home", "integer": 7, "bigint": 7}
_FIRST_INTEGER = 1000


def default_key(key_type: str) -> Key:
    """The key that columns of that type have as their default."""
    return _DEFAULT_KEYS[key_type]


class KeyMaker:
    """Makes keys that were never used before, so that no router remembers anything about them."""

    def __init__(self) -> None:
        self._next_integer = _FIRST_INTEGER

    def keys(self, key_type: str, shards: Sequence[int]) -> list[Key]:
        """A key for each value from 0, the default's, to VALUES: those of 1, 2, .. on the given shards.

        Integers follow each other without a gap, so that adding one to a key makes it another one.
        """
        start = self._start(key_type, shards)
        self._next_integer = start + VALUES
        numbers = range(start, start + VALUES)
        return [default_key(key_type), *(f"k{number}" if key_type == "text" else number for number in numbers)]

    def _start(self, key_type: str, shards: Sequence[int]) -> int:
        for start in itertools.count(self._next_integer):
            if all(_shard(key_type, start + place) == shard for place, shard in enumerate(shards)):
                return start
        raise AssertionError("there is always another integer")


@lru_cache
def _shard(key_type: str, number: int) -> int:
    return shard_of("text", f"k{number}") if key_type == "text" else shard_of("int8", number)

"""What a router remembers about shadows: which parents it has seen shadowed on which shard.

Only a hint. A parent remembered wrongly costs a try that the shard's node refuses, a parent forgotten costs a look at
its own shard; neither can break a foreign key. So nothing needs to be forgotten when a parent goes: the first try after
that brings the shadow back, or finds that there is no parent.
"""

from __future__ import annotations

from collections.abc import Iterable

DEFAULT_CAPACITY = 1_000_000
"""Entries held at most. One takes some 70 bytes, so that a full memory takes about 70 MB."""

ParentKey = tuple[str, ...]
"""The text of each column of a referenced key."""


class ShadowHints:
    """A bounded memory of shadows.

    Entries are hashes in two generations. New and asked-for entries go to the recent one; when that holds half of the
    capacity it becomes the older one, and the older one is dropped. Two keys of one hash are taken for each other,
    which a hint may do.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        """Remembers nothing yet, and `capacity` entries (at least 2) at most."""
        self._generation_capacity = max(capacity // 2, 1)
        self._recent: set[int] = set()
        self._older: set[int] = set()

    def unknown(self, referenced_key: str, shard: int, keys: Iterable[ParentKey]) -> list[ParentKey]:
        """Those of `keys`, in order, whose shadow on `shard` is not remembered.

        `referenced_key` is a ReferencedKey.id.
        """
        return [key for key in keys if not self._knows(hash((referenced_key, shard, key)))]

    def remember(self, referenced_key: str, shard: int, keys: Iterable[ParentKey]) -> None:
        """Remembers that `shard` has shadows of `keys`: a transaction that made or used them was committed."""
        for key in keys:
            self._remember(hash((referenced_key, shard, key)))

    def __len__(self) -> int:
        """How many entries are held; one that is in both generations counts twice."""
        return len(self._recent) + len(self._older)

    def _knows(self, entry: int) -> bool:
        if entry in self._recent:
            return True
        if entry not in self._older:
            return False
        self._remember(entry)
        return True

    def _remember(self, entry: int) -> None:
        self._recent.add(entry)
        if len(self._recent) >= self._generation_capacity:
            self._older, self._recent = self._recent, set()

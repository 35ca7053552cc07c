"""Shard keys and claimed values for tests: integers that live on a chosen shard, names that are claimed there."""

import itertools
from collections.abc import Iterator
from typing import Any

from crosskey.catalog.slots import shard_of_slot, slot_of_text, slot_of_value

SHARDS = 3


def shard_of(number: int, shards: int = SHARDS) -> int:
    """The shard on which rows with this shard key live."""
    return shard_of_slot(slot_of_value("int8", number), shards)


def numbers_on(shard: int, shards: int = SHARDS) -> Iterator[int]:
    """All positive integers that live on the shard, in order."""
    return (number for number in itertools.count(1) if shard_of(number, shards) == shard)


class NewAccounts:
    """Accounts that no test has used: an `id` that places the row, and a `username` that is claimed."""

    def __init__(self, claim_shard: int) -> None:
        """Names are claimed on `claim_shard` if nothing else is said."""
        self._claim_shard = claim_shard
        self.numbers = [numbers_on(shard) for shard in range(SHARDS)]
        """The ids of each shard, in order."""
        self._counter = itertools.count(1)

    def name(self, shard: int | None = None) -> str:
        """A username that is claimed on the shard."""
        wanted = self._claim_shard if shard is None else shard
        names = (f"name{number}" for number in self._counter)
        return next(name for name in names if shard_of_slot(slot_of_text(name), SHARDS) == wanted)

    def account(self, shard: int, username: str) -> dict[str, Any]:
        """An account for the shard, not inserted yet."""
        return {"id": next(self.numbers[shard]), "username": username}

"""Shard keys for tests: integers that live on a chosen shard."""

import itertools
from collections.abc import Iterator

from catalog.slots import shard_of_slot, slot_of_value

SHARDS = 3


def shard_of(number: int, shards: int = SHARDS) -> int:
    """The shard on which rows with this shard key live."""
    return shard_of_slot(slot_of_value("int8", number), shards)


def numbers_on(shard: int, shards: int = SHARDS) -> Iterator[int]:
    """All positive integers that live on the shard, in order."""
    return (number for number in itertools.count(1) if shard_of(number, shards) == shard)

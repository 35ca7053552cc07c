"""The rows that the cases are made of: people, and follows from one shard to another."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from crosskey.catalog.slots import SLOTS, mint_uuid, shard_of_slot, slot_of_value

SCHEMA_SQL = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")

PEOPLE_PER_SHARD = 1000
"""Enough that requests at once rarely meet on one person."""

Row: TypeAlias = dict[str, str]


def shard_of(person: str, shards: int) -> int:
    """The shard where a person lives."""
    return shard_of_slot(slot_of_value("uuid", person), shards)


def new_person(shard: int, shards: int) -> str:
    """A new id that lives on that shard."""
    slots_of_shard = range(shard, SLOTS, shards)
    return str(mint_uuid(random.choice(slots_of_shard)))


def person_row(person: str) -> Row:
    """The row of a person."""
    return {"id": person, "name": "Cosette"}


def follow_row(follower: str, followee: str) -> Row:
    """The row of a follow."""
    return {"follower_id": follower, "followee_id": followee}


class Population:
    """People on every shard, the same for everyone who is measured."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.people = [new_person(shard, shards) for shard in range(shards) for _ in range(PEOPLE_PER_SHARD)]
        self._turns = itertools.cycle(random.sample(self.people, len(self.people)))

    def known_person(self) -> str:
        """One of the people, each in turn."""
        return next(self._turns)

    def new_people(self, count: int) -> list[str]:
        """New ids, in turn on every shard."""
        return [new_person(place % self.shards, self.shards) for place in range(count)]

    def new_follow(self, followee: str) -> Row:
        """A follow of somebody by somebody new on another shard."""
        elsewhere = (shard_of(followee, self.shards) + random.randrange(1, self.shards)) % self.shards
        return follow_row(new_person(elsewhere, self.shards), followee)

    def follows_on_every_shard(self, followees: Sequence[str]) -> list[Row]:
        """One follow of each of them on each shard."""
        return [
            follow_row(new_person(shard, self.shards), followee)
            for shard in range(self.shards)
            for followee in followees
        ]

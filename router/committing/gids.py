"""Names of distributed transactions.

`crosskey:<cluster>:<home>:<id>`, and `:<branch>` behind it for the prepared transaction of one branch. The id
is a UUIDv7, new for each attempt: a node refuses to commit one that is too old.
"""

from __future__ import annotations

import secrets
import time

import msgspec

from crosskey.catalog.slots import SLOTS, mint_uuid


class Gid(msgspec.Struct, frozen=True):
    """A distributed transaction."""

    cluster: str
    home: int
    identifier: str

    @staticmethod
    def new(cluster: str, home: int) -> Gid:
        """A gid that was never used before."""
        return Gid(cluster, home, mint_uuid(secrets.randbelow(SLOTS)).hex)

    def anew(self, home: int) -> Gid:
        """A gid of the same cluster that was never used before."""
        return Gid.new(self.cluster, home)

    @staticmethod
    def of_branch(text: str) -> Gid:
        """The transaction that a branch's gid belongs to. Raises ValueError if it is no such gid."""
        parts = text.split(":")
        if len(parts) != 5 or parts[0] != "crosskey":
            raise ValueError(f"no branch's gid: {text}")
        return Gid(parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        """As in decisions."""
        return f"crosskey:{self.cluster}:{self.home}:{self.identifier}"

    def age_seconds(self) -> float:
        """How long ago it was made: its id is a UUIDv7."""
        return time.time() - int(self.identifier[:12], 16) / 1000

    def branch(self, shard: int) -> str:
        """As in the prepared transaction on that shard."""
        return f"{self}:{shard}"

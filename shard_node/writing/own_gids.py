"""The names of distributed transactions that are this shard's: other programs may prepare transactions here too."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crosskey import errors

_ID = r"[0-9a-f]{32}"


class OwnGids:
    """Tells a cluster's gids from others; see crosskey.router.committing.gids for their form."""

    def __init__(self, cluster: str, shard: int, shards: int) -> None:
        name = cluster.replace(".", "[.]")
        homes = "|".join(map(str, range(shards)))
        self.branch_pattern = f"^crosskey:{name}:({homes}):{_ID}:{shard}$"
        """What is prepared on this shard, as a regular expression of PostgreSQL's."""
        self._branch = re.compile(self.branch_pattern[1:-1])
        self._decision = re.compile(f"crosskey:{name}:{shard}:{_ID}")

    def check_branches(self, gids: Iterable[str]) -> None:
        """Raises InvalidRequest for a gid of anything but a part of the cluster's transactions on this shard."""
        for gid in gids:
            if self._branch.fullmatch(gid) is None:
                raise errors.InvalidRequest("a gid is none of this cluster's transactions on this shard")

    def check_decisions(self, gids: Iterable[str]) -> None:
        """Raises InvalidRequest for a gid of anything but a transaction whose home is this shard."""
        for gid in gids:
            if self._decision.fullmatch(gid) is None:
                raise errors.InvalidRequest("a gid is none of this cluster's transactions with this home")


def time_of(gid: str) -> float:
    """When a gid was made, in seconds since 1970: its id, the fourth part, is a UUIDv7."""
    return int(gid.split(":")[3][:12], 16) / 1000

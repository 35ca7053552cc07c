"""The journal of migrations, on the first shard, as a router reads and writes it. It arbitrates between clients."""

from __future__ import annotations

from collections.abc import Sequence

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.router.administration.schema_changes import PLANNING_SHARD
from crosskey.router.calls.nodes import Nodes
from crosskey.v1 import admin_pb2

State = admin_pb2.MigrationDescription.State

LOOK_BACK = 100
"""Among how many of the last migrations one is looked for."""


class MigrationJournal:
    """What was asked for, and how far it has come. Methods raise what calls to nodes raise."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def entries(self, limit: int) -> Sequence[proto.JournalEntry]:
        """The migrations that were begun, the newest first."""
        request = proto.ReadJournalRequest(limit=limit)
        return (await self._nodes[PLANNING_SHARD].read_journal(request)).entries

    async def under_way(self) -> proto.JournalEntry | None:
        """The migration that has not ended, once no flip is in doubt."""
        await self.epoch()
        return next((entry for entry in await self.entries(1) if not entry.description.HasField("ended_at")), None)

    async def state(self, number: int) -> State.ValueType:
        """How far a migration has come, once no flip is in doubt."""
        await self.epoch()
        entries = await self.entries(LOOK_BACK)
        return next(
            (entry.description.state for entry in entries if entry.description.id == number), State.STATE_UNSPECIFIED
        )

    async def epoch(self) -> int:
        """The epoch in force, once no flip is in doubt."""
        description = await self._nodes[PLANNING_SHARD].describe_shard(proto.DescribeShardRequest())
        return int(description.schema_epoch)

    async def begin(self, asked: admin_pb2.Migration, epoch: int) -> int:
        """Begins one that was planned for an epoch; its number. Raises MigrationUnderWay, and Conflict for another."""
        request = proto.NoteMigrationRequest(migration=asked, epoch=epoch)
        return int((await self._nodes[PLANNING_SHARD].note_migration(request)).id)

    async def note(self, number: int, before: State.ValueType, state: State.ValueType, message: str = "") -> None:
        """Notes how far it has come from `before`. Raises Conflict if another client has brought it elsewhere."""
        request = proto.NoteMigrationRequest(id=number, state_before=before, state=state, message=message)
        await self._nodes[PLANNING_SHARD].note_migration(request)


def under_way_already(number: int) -> errors.MigrationUnderWay:
    """What is raised where none may be under way."""
    return errors.MigrationUnderWay(
        f"migration {number} is under way",
        hint="`crosskey migrate status` shows it. Wait for it, `migrate apply --resume`, or `migrate abort`.",
    )

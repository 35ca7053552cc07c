"""The shard that a node serves: its database, who it is, and the schema in force."""

from __future__ import annotations

import asyncio

from crosskey import errors
from crosskey.shard_node.pace import Pace
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.shard_schema import ShardSchema, no_schema, read_epoch, read_schema, wait_for_flip


class Shard:
    """What all requests to a node share."""

    def __init__(self, database: Database, identity: ShardIdentity, pace: Pace | None = None) -> None:
        """`pace` says how fast it is cleaned up."""
        self.pace = pace or Pace()
        self.database = database
        self.identity = identity
        self.known_schema: ShardSchema | None = None
        """The schema in force, as it was when it was last read: a migration may have changed it since."""
        self._reading = asyncio.Lock()

    def check(self, shard: int) -> None:
        """Raises WrongShard if a request is for another shard."""
        if shard != self.identity.shard:
            raise wrong_shard(self.identity.shard, shard)

    async def schema_in_force(self, connection: Connection) -> ShardSchema | None:
        """The schema, which is read until there is one; None if there is none yet."""
        if self.known_schema is None:
            with translated():
                self._know(await read_schema(connection))
        return self.known_schema

    async def schema(self, connection: Connection) -> ShardSchema:
        """The schema. Raises SchemaNotLoaded."""
        schema = await self.schema_in_force(connection)
        if schema is None:
            raise no_schema()
        return schema

    async def latest_schema(self, connection: Connection) -> ShardSchema | None:
        """The schema that is in force now; None if there is none yet."""
        with translated():
            known = self.known_schema
            if known is None or known.epoch != await read_epoch(connection):
                self._know(await read_schema(connection))
        return self.known_schema

    async def be_at(self, epoch: int) -> None:
        """Returns if calls that were planned by the schema of that epoch may begin.

        Raises SchemaChanged if another one is in force by now, and Conflict if this one is, and its flip is not carried
        out here yet.
        """
        known = self.known_schema
        if known is None or known.epoch < epoch:
            known = await self._catch_up(epoch)
        if known is not None and known.epoch > epoch:
            raise schema_has_changed()
        if known is None or known.epoch < epoch:
            raise errors.Conflict("a change of the schema is not carried out on this shard yet")

    async def has_moved(self, epoch: int) -> bool:
        """Whether another schema than that of the epoch is in force."""
        async with self.database.connection() as connection:
            latest = await self.latest_schema(connection)
        return latest is not None and latest.epoch != epoch

    async def _catch_up(self, epoch: int) -> ShardSchema | None:
        """The schema in force, which is waited for if it is about to be that of the epoch."""
        async with self._reading, self.database.connection() as connection:
            latest = await self.latest_schema(connection)
            if latest is not None and latest.epoch < epoch:
                with translated():
                    await wait_for_flip(connection)
                latest = await self.latest_schema(connection)
            return latest

    def _know(self, schema: ShardSchema | None) -> None:
        known = self.known_schema
        if schema is not None and (known is None or known.epoch < schema.epoch):
            self.known_schema = schema
            self.database.epoch = schema.epoch


def schema_has_changed() -> errors.SchemaChanged:
    """What is raised for what was planned by a schema that is not in force any more."""
    changed = errors.SchemaChanged(
        "the schema has changed since this was begun", hint="Begin it again: nothing of it was done."
    )
    changed.retryable = True
    return changed


def wrong_shard(own: int, asked: int) -> errors.WrongShard:
    """What is raised for a request for another shard."""
    return errors.WrongShard(
        f"this node serves shard {own}, not {asked}",
        shard=own,
        hint="Give the router its nodes in the order of the shards' numbers.",
    )

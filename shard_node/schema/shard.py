"""The shard that a node serves: its database, who it is, and the schema in force."""

from __future__ import annotations

from crosskey import errors
from crosskey.shard_node.pace import Pace
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.shard_schema import ShardSchema, no_schema, read_schema


class Shard:
    """What all requests to a node share."""

    def __init__(self, database: Database, identity: ShardIdentity, pace: Pace | None = None) -> None:
        """`pace` says how fast it is cleaned up."""
        self.pace = pace or Pace()
        self.database = database
        self.identity = identity
        self.known_schema: ShardSchema | None = None
        """The schema in force, once it was read: it never changes."""

    def check(self, shard: int) -> None:
        """Raises WrongShard if a request is for another shard."""
        if shard != self.identity.shard:
            raise wrong_shard(self.identity.shard, shard)

    async def schema_in_force(self, connection: Connection) -> ShardSchema | None:
        """The schema, which is read until there is one; None if there is none yet."""
        if self.known_schema is None:
            with translated():
                self.known_schema = await read_schema(connection)
        return self.known_schema

    async def schema(self, connection: Connection) -> ShardSchema:
        """The schema. Raises SchemaNotLoaded."""
        schema = await self.schema_in_force(connection)
        if schema is None:
            raise no_schema()
        return schema


def wrong_shard(own: int, asked: int) -> errors.WrongShard:
    """What is raised for a request for another shard."""
    return errors.WrongShard(
        f"this node serves shard {own}, not {asked}",
        shard=own,
        hint="Give the router its nodes in the order of the shards' numbers.",
    )

"""The shard that a node serves: its database, who it is, and the schema in force."""

from __future__ import annotations

from crosskey import errors
from shard_node.postgres.database import Connection, Database
from shard_node.postgres.postgres_errors import translated
from shard_node.postgres.startup import ShardIdentity
from shard_node.schema.shard_schema import ShardSchema, no_schema, read_schema


class Shard:
    """What all requests to a node share."""

    def __init__(self, database: Database, identity: ShardIdentity) -> None:
        self.database = database
        self.identity = identity
        self._schema: ShardSchema | None = None

    def check(self, shard: int) -> None:
        """Raises WrongShard if a request is for another shard."""
        if shard != self.identity.shard:
            raise errors.WrongShard(
                f"this node serves shard {self.identity.shard}, not {shard}",
                shard=self.identity.shard,
                hint="Give the router its nodes in the order of the shards' numbers.",
            )

    async def schema_in_force(self, connection: Connection) -> ShardSchema | None:
        """The schema; once there is one it never changes, so it is read until then."""
        if self._schema is None:
            with translated():
                self._schema = await read_schema(connection)
        return self._schema

    async def schema(self, connection: Connection) -> ShardSchema:
        """The schema. Raises SchemaNotLoaded."""
        schema = self._schema or await self.schema_in_force(connection)
        if schema is None:
            raise no_schema()
        return schema

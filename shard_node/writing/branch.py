"""A branch: one transaction on this shard, alone or one of several of a distributed transaction."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import NamedTuple

from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.serving.answer_size import AnswerSize
from crosskey.shard_node.pace import Pace
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.constraint_modes import NO_MODES, ConstraintModes
from crosskey.shard_node.schema.shard_schema import ShardSchema, no_schema
from crosskey.shard_node.writing.expected_claims import ExpectedClaims
from crosskey.shard_node.writing.index_words import in_words_of_index
from crosskey.shard_node.writing.lost_commits import FindOut
from crosskey.shard_node.writing.own_gids import OwnGids
from crosskey.shard_node.writing.recovery import at_work
from crosskey.shard_node.writing.request_ids import own_request_id, tell_request_id
from crosskey.shard_node.writing.savepoints import Savepoints


class Memory(NamedTuple):
    """What a branch keeps beside PostgreSQL that a roll back to a savepoint must restore.

    Nobody's rows are displaced when a savepoint is set: a statement has no effects left when it is done.
    """

    modes: ConstraintModes
    absent: tuple[Effect, ...]
    request_id: str


class Branch:
    """What is known of a branch; `commands.run_commands` runs its commands.

    As long as it is `alone`, all effects are applied here. Unless `finished`, it must be rolled back in the end: the
    pool does so when it gets the connection back.
    """

    def __init__(
        self,
        number: int,
        connection: Connection,
        shard: int,
        shards: int,
        gids: OwnGids,
        find_out: FindOut,
        pace: Pace,
    ) -> None:
        self.number = number
        self.connection = connection
        self.shard = shard
        self.shards = shards
        self.gids = gids
        self.find_out = find_out
        self.pace = pace
        self.turn = asyncio.Lock()
        """Held by whoever runs commands or ends it."""
        self.idle: asyncio.TimerHandle | None = None
        """Ends it if nothing is asked of it for too long."""
        self.alone = False
        self.finished = False
        self.checked = True
        """Whether nothing was done since constraints were checked."""
        self.absent: list[Effect] = []
        """Parents that children here reference and that did not exist: constraints are checked after another look."""
        self.displaced: defaultdict[str, list[str]] = defaultdict(list)
        """Shard keys of rows that belong to other shards, JSON arrays by table as `schema.name`."""
        self.expected = ExpectedClaims()
        self.answer_size = AnswerSize()
        self.response = proto.RunResponse()
        """What its commands came to so far, of those that it was sent last."""
        self.transaction: str | None = None
        """The id of its transaction in PostgreSQL, as text, once a statement has told it."""

    async def begin(self, schema: ShardSchema | None, *, alone: bool, decides: str) -> None:
        """Begins the transaction; `decides` is the gid of the one whose decision it commits, if it does so at once.

        Raises psycopg.Error.
        """
        self._schema = schema
        self.alone = alone
        self.modes = NO_MODES if schema is None else schema.modes
        self.savepoints: Savepoints[Memory] = Savepoints(self.connection)
        text = b"BEGIN; " if schema is None else schema.begin
        if schema is not None and schema.tells_events:
            text += tell_request_id()
        self._request_id = own_request_id()
        await self.connection.execute(text + at_work(decides) if decides else text, prepare=False)

    async def tell_request(self) -> None:
        """Has triggers find the id of the request that is at work now: each statement of an open one has its own.

        Raises psycopg.Error.
        """
        own = own_request_id()
        if self._schema is not None and self._schema.tells_events and own != self._request_id:
            await self.connection.execute(tell_request_id(), prepare=False)
            self._request_id = own

    @property
    def schema(self) -> ShardSchema:
        """The schema in force. Raises SchemaNotLoaded."""
        if self._schema is None:
            raise no_schema()
        return self._schema

    def in_words_of_index(self, error: Exception) -> Exception:
        """An error of a command as index_words tells it."""
        return error if self._schema is None else in_words_of_index(self._schema, error)

    @property
    def holds_back_checks(self) -> bool:
        """Whether a constraint may wait to be checked."""
        return self._schema is not None and (not self.checked or bool(self.modes.deferred))

    def memory(self) -> Memory:
        """What a savepoint must restore."""
        return Memory(self.modes, tuple(self.absent), self._request_id)

    def restore(self, memory: Memory) -> None:
        """Goes back to what was remembered."""
        self.modes, self.absent, self._request_id = memory.modes, list(memory.absent), memory.request_id
        self.displaced.clear()

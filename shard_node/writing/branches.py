"""The branches of one session: each on a connection of its own, until it is finished, fails or is left."""

from __future__ import annotations

import asyncio

from crosskey.internal.v1 import transactions_pb2 as proto
from shard_node.postgres.database import Connection
from shard_node.postgres.postgres_errors import translated
from shard_node.schema.shard import Shard
from shard_node.writing.branch import Branch
from shard_node.writing.commands import run_commands
from shard_node.writing.lost_commits import asking
from shard_node.writing.own_gids import OwnGids
from shard_node.writing.plain import run_plainly


class Branches:
    """Those that have begun and not ended, by the numbers that the router gave them."""

    def __init__(self, shard: Shard, gids: OwnGids) -> None:
        self._shard = shard
        self._gids = gids
        self._find_out = asking(shard.database)
        self._open: dict[int, Branch] = {}

    def __contains__(self, number: int) -> bool:
        """Whether the branch has begun and not ended."""
        return number in self._open

    def __len__(self) -> int:
        """How many have begun and not ended."""
        return len(self._open)

    async def run(self, request: proto.RunRequest) -> proto.RunResponse:
        """Runs commands. If they raise, or are cancelled, the branch is rolled back and forgotten."""
        branch = self._open.get(request.branch)
        if branch is not None:
            return await self._run_on(branch, request)
        # A plain branch is none that anybody needs to find.
        connection = await self._shard.database.borrow()
        try:
            if request.start == proto.RunRequest.START_PLAIN:
                schema = self._shard.known_schema or await self._shard.schema(connection)
                response = await run_plainly(connection, schema, request.commands, self._find_out)
                if response is not None:
                    await self._shard.database.give_back(connection)
                    return response
            branch = await self._begin(connection, request)
        except BaseException:
            await self._shard.database.give_back(connection)
            raise
        return await self._run_on(branch, request)

    async def leave(self, request: proto.LeaveRequest) -> proto.LeaveResponse:
        """Rolls a branch back, unless it has ended already. Waits for what runs on it."""
        branch = self._open.get(request.branch)
        if branch is not None:
            async with branch.turn:
                await self._end(branch)
        return proto.LeaveResponse()

    async def close(self) -> None:
        """Rolls all branches back. Nothing runs on them."""
        await asyncio.gather(*map(self._end, list(self._open.values())))

    async def _begin(self, connection: Connection, request: proto.RunRequest) -> Branch:
        identity = self._shard.identity
        branch = Branch(request.branch, connection, identity.shard, identity.shards, self._gids, self._find_out)
        schema = self._shard.known_schema or await self._shard.schema_in_force(connection)
        with translated():
            await branch.begin(schema, alone=request.start != proto.RunRequest.START_UNSPECIFIED)
        self._open[request.branch] = branch
        return branch

    async def _run_on(self, branch: Branch, request: proto.RunRequest) -> proto.RunResponse:
        async with branch.turn:
            try:
                response = await run_commands(branch, request.commands)
            except BaseException:
                await self._end(branch)
                raise
            if response.finished:
                await self._end(branch)
            return response

    async def _end(self, branch: Branch) -> None:
        if self._open.pop(branch.number, None) is not None:
            await self._shard.database.give_back(branch.connection)

"""The branches of one session: each on a connection of its own, until it is finished, fails or is left."""

from __future__ import annotations

import asyncio

from crosskey.internal.v1 import transactions_pb2 as proto
from shard_node.schema.shard import Shard
from shard_node.schema.shard_schema import no_schema
from shard_node.writing.branch import Branch
from shard_node.writing.commands import run_commands
from shard_node.writing.plain import run_plainly


class Branches:
    """By the numbers that the router gave them."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
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
        if branch is None:
            identity = self._shard.identity
            branch = self._open[request.branch] = Branch(identity.shard, identity.shards)
        async with branch.turn:
            try:
                response = await self._run_on(branch, request)
            except BaseException:
                await self._end(request.branch, branch)
                raise
            if response.finished:
                await self._end(request.branch, branch)
            return response

    async def leave(self, request: proto.LeaveRequest) -> proto.LeaveResponse:
        """Rolls a branch back, unless it has ended already. Waits for what runs on it."""
        branch = self._open.get(request.branch)
        if branch is not None:
            async with branch.turn:
                await self._end(request.branch, branch)
        return proto.LeaveResponse()

    async def close(self) -> None:
        """Rolls all branches back. Nothing runs on them."""
        await asyncio.gather(*(self._end(number, branch) for number, branch in list(self._open.items())))

    async def _run_on(self, branch: Branch, request: proto.RunRequest) -> proto.RunResponse:
        if not branch.connected:
            branch.connection = await self._shard.database.borrow()
            branch.connected = True
            schema = await self._shard.schema_in_force(branch.connection)
            if request.start == proto.RunRequest.START_PLAIN:
                if schema is None:
                    raise no_schema()
                response = await run_plainly(branch.connection, schema, request.commands)
                if response is not None:
                    return response
            await branch.begin(schema, alone=request.start != proto.RunRequest.START_UNSPECIFIED)
        return await run_commands(branch, request.commands)

    async def _end(self, number: int, branch: Branch) -> None:
        self._open.pop(number, None)
        if branch.connected:
            branch.connected = False
            await self._shard.database.give_back(branch.connection)

"""The branches of one session: each on a connection of its own, until it is finished, fails or is left."""

from __future__ import annotations

import asyncio

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.serving.answer_size import check_fits_message
from crosskey.shard_node.postgres.database import IDLE_IN_TRANSACTION_TIMEOUT_MS, Connection
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.shared_statements import SharedStatements
from crosskey.shard_node.writing.branch import Branch
from crosskey.shard_node.writing.commands import run_commands
from crosskey.shard_node.writing.lost_commits import asking
from crosskey.shard_node.writing.own_gids import OwnGids
from crosskey.shard_node.writing.plain import run_plainly
from crosskey.shard_node.writing.request_ids import own_request_id
from crosskey.shard_node.writing.shared_inserts import InsertOf, SharedInserts, insert_shape


class Branches:
    """Those that have begun and not ended, by the numbers that the router gave them."""

    def __init__(self, shard: Shard, gids: OwnGids) -> None:
        self._shard = shard
        self._gids = gids
        self._find_out = asking(shard.database)
        self._shared_inserts = SharedStatements(SharedInserts(shard).insert)
        self._open: dict[int, Branch] = {}
        self._reaping: set[asyncio.Task[proto.LeaveResponse]] = set()

    def __contains__(self, number: int) -> bool:
        """Whether the branch has begun and not ended."""
        return number in self._open

    def __len__(self) -> int:
        """How many have begun and not ended."""
        return len(self._open)

    async def run(self, request: proto.RunRequest) -> proto.RunResponse:
        """Runs commands. If they raise, or are cancelled, the branch is rolled back and forgotten.

        Raises Conflict if the branch was to go on and is gone.
        """
        branch = self._open.get(request.branch)
        if branch is not None:
            return await self._run_on(branch, request)
        if request.start == proto.RunRequest.START_GO_ON:
            raise _gone()
        shape = insert_shape(request)
        shared = None if shape is None else await self._shared_inserts.ask(shape, InsertOf(request, own_request_id()))
        return await self._run_new(request) if shared is None else shared

    async def _run_new(self, request: proto.RunRequest) -> proto.RunResponse:
        """Begins a branch, if it cannot be run plainly."""
        branch: Branch | None = None
        # A plain branch is none that anybody needs to find.
        connection = await self._borrow()
        response: proto.RunResponse | None = None
        try:
            if request.start == proto.RunRequest.START_PLAIN:
                schema = self._shard.known_schema or await self._shard.schema(connection)
                response = await run_plainly(connection, schema, request.commands, self._find_out)
            if response is None:
                branch = await self._begin(connection, request)
        except BaseException:
            await self._shard.database.give_back(connection)
            raise
        if branch is not None:
            return await self._run_on(branch, request)
        await self._shard.database.give_back(connection)
        assert response is not None, "what is no branch was run plainly"
        return response

    async def leave(self, request: proto.LeaveRequest) -> proto.LeaveResponse:
        """Rolls a branch back, unless it has ended already. Waits for what runs on it."""
        branch = self._open.get(request.branch)
        if branch is not None:
            async with branch.turn:
                await self._end(branch)
        return proto.LeaveResponse()

    async def close(self) -> None:
        """Rolls all branches back. Nothing runs on them."""
        for reaping in self._reaping:
            reaping.cancel()
        await asyncio.gather(*self._reaping, *map(self._end, list(self._open.values())), return_exceptions=True)

    async def _borrow(self) -> Connection:
        """A connection. A cancellation that came while it was handed over is not lost."""
        connection = await self._shard.database.borrow()
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            await self._shard.database.give_back(connection)
            raise asyncio.CancelledError
        return connection

    async def _begin(self, connection: Connection, request: proto.RunRequest) -> Branch:
        identity = self._shard.identity
        branch = Branch(
            request.branch,
            connection,
            identity.shard,
            identity.shards,
            self._gids,
            self._find_out,
            self._shard.pace,
        )
        schema = self._shard.known_schema or await self._shard.schema_in_force(connection)
        with translated():
            await branch.begin(
                schema,
                alone=request.start != proto.RunRequest.START_UNSPECIFIED,
                decides=request.commands[-1].commit.decision_gid if request.commands else "",
            )
        self._open[request.branch] = branch
        return branch

    async def _run_on(self, branch: Branch, request: proto.RunRequest) -> proto.RunResponse:
        async with branch.turn:
            if branch.number not in self._open:
                raise _gone()
            self._stop_waiting(branch)
            try:
                response = await run_commands(branch, request.commands)
                # Here, so that a branch whose effects cannot be answered ends.
                check_fits_message(response)
            except BaseException:
                await self._end(branch)
                raise
            if response.finished:
                await self._end(branch)
            else:
                self._wait_for_more(branch)
            return response

    def _wait_for_more(self, branch: Branch) -> None:
        """A branch of which nothing is asked for too long is rolled back, as PostgreSQL would: its router is lost."""
        loop = asyncio.get_running_loop()
        branch.idle = loop.call_later(IDLE_IN_TRANSACTION_TIMEOUT_MS / 1000, self._reap, branch)

    def _stop_waiting(self, branch: Branch) -> None:
        if branch.idle is not None:
            branch.idle.cancel()
            branch.idle = None

    def _reap(self, branch: Branch) -> None:
        reaping = asyncio.get_running_loop().create_task(self.leave(proto.LeaveRequest(branch=branch.number)))
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)

    async def _end(self, branch: Branch) -> None:
        self._stop_waiting(branch)
        if self._open.pop(branch.number, None) is not None:
            await self._shard.database.give_back(branch.connection)


def _gone() -> errors.Conflict:
    return errors.Conflict("a transaction is gone with the connection on which it was begun")

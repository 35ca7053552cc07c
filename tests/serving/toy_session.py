"""Sessions whose calls do what their requests say: toys that borrow the messages of the shard node."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from typing_extensions import override

from crosskey import errors
from crosskey.internal.v1 import reads_pb2, session_pb2, session_pb2_grpc
from crosskey.internal.v1.transactions_pb2 import LeaveRequest, LeaveResponse
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.interceptor import ErrorInterceptor
from crosskey.serving.request_id import request_id
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions

MAX_IN_FLIGHT = 20
SECRET = "postgresql://app:hunter2@db.example/app"

TYPES = SessionTypes("Toy", session_pb2.Answer, session_pb2.SessionResponse)


class ToyServer(session_pb2_grpc.ShardNodeServicer):
    """Remembers what its sessions did."""

    def __init__(self) -> None:
        self.in_flight = CallsInFlight(MAX_IN_FLIGHT)
        self.sessions = Sessions(TYPES, self._open, self.in_flight)
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """What `wait` calls wait for, by their words."""
        self.waiting: set[str] = set()
        self.stopped: list[str] = []
        self.opened: list[ToyCalls] = []
        self.changed = asyncio.Condition()

    def _open(self) -> ToyCalls:
        self.opened.append(ToyCalls(self))
        return self.opened[-1]

    @override
    async def Session(  # type: ignore[override]  # grpc.aio takes a coroutine that reads and writes as well
        self, request_iterator: AsyncIterator[session_pb2.SessionRequest], context: Any
    ) -> None:
        await self.sessions.serve(context)

    async def until(self, condition: Any) -> None:
        """Waits until something is true of the server."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(condition)

    async def notify(self) -> None:
        """Has `until` look again."""
        async with self.changed:
            self.changed.notify_all()


class ToyCalls(CallHandlers):
    """`read` waits for the gate of its word, `count_rows` does what its word says, `leave` frees what is held."""

    def __init__(self, server: ToyServer) -> None:
        self.server = server
        self.held = 0
        self.closed = False
        super().__init__({"read": self._wait, "count_rows": self._act, "leave": self._free})

    @override
    def refusal(self, message: session_pb2.SessionRequest) -> errors.CrosskeyError | None:
        return errors.WrongShard("another shard") if message.shard else None

    @override
    def goes_on(self, kind: str, request: Any) -> bool:
        return kind == "leave"

    @property
    @override
    def is_idle(self) -> bool:
        return not self.held

    @override
    async def close(self) -> None:
        self.closed = True
        await self.server.notify()

    async def _wait(self, request: reads_pb2.ReadRequest) -> reads_pb2.ReadResponse:
        word, server = request.table, self.server
        server.waiting.add(word)
        try:
            await server.notify()
            await server.gates[word].wait()
        except asyncio.CancelledError:
            server.stopped.append(word)
            raise
        finally:
            server.waiting.discard(word)
            await server.notify()
        return reads_pb2.ReadResponse(rows_json=word.encode())

    async def _act(self, request: reads_pb2.CountRowsRequest) -> reads_pb2.CountRowsResponse:
        match request.table:
            case "refuse":
                raise errors.UniqueViolation("taken", table="users")
            case "crash":
                raise RuntimeError(f"cannot connect to {SECRET}")
            case "hold":
                self.held += 1
            case "request id":
                return reads_pb2.CountRowsResponse(count=int(request_id.get() or "0", 16))
        return reads_pb2.CountRowsResponse(count=len(request.table))

    async def _free(self, _: LeaveRequest) -> LeaveResponse:
        self.held = 0
        return LeaveResponse()


class ToyClient:
    """One session, whose messages are sent and read one by one."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stream: Any = session_pb2_grpc.ShardNodeStub(channel).Session()
        self.messages: list[session_pb2.SessionResponse] = []

    async def send(self, *calls: session_pb2.Call, shard: int = 0) -> None:
        """Sends a message."""
        await self.stream.write(session_pb2.SessionRequest(shard=shard, calls=calls))

    async def answers(self, number: int) -> dict[int, session_pb2.Answer]:
        """Reads on until there are so many answers; returns them by the ids of their calls."""
        found: dict[int, session_pb2.Answer] = {}
        async with asyncio.timeout(10):
            while len(found) < number:
                message = await self.stream.read()
                assert message is not grpc.aio.EOF, found
                self.messages.append(message)
                found |= {answer.id: answer for answer in message.answers}
        return found

    async def is_told_the_last(self) -> None:
        """Reads the message with which a server that is about to stop ends its half of the stream."""
        async with asyncio.timeout(10):
            message = await self.stream.read()
        assert message == session_pb2.SessionResponse(last=True)

    async def ends(self) -> grpc.StatusCode:
        """Waits for the end of the stream, before which nothing more is answered."""
        async with asyncio.timeout(10):
            assert await self.stream.read() is grpc.aio.EOF
            code: grpc.StatusCode = await self.stream.code()
            return code


def wait(number: int, word: str, **fields: Any) -> session_pb2.Call:
    """A call that waits for a gate."""
    return session_pb2.Call(id=number, read=reads_pb2.ReadRequest(table=word), **fields)


def act(number: int, word: str = "", **fields: Any) -> session_pb2.Call:
    """A call that does what the word says."""
    return session_pb2.Call(id=number, count_rows=reads_pb2.CountRowsRequest(table=word), **fields)


def leave(number: int) -> session_pb2.Call:
    """A call that frees what is held."""
    return session_pb2.Call(id=number, leave=LeaveRequest())


@asynccontextmanager
async def served() -> AsyncIterator[tuple[ToyServer, grpc.aio.Channel, grpc.aio.Server]]:
    """A running toy server, and a channel to it."""
    toy, server = ToyServer(), grpc.aio.server(interceptors=[ErrorInterceptor(CallsInFlight(1000))])
    session_pb2_grpc.add_ShardNodeServicer_to_server(toy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield toy, channel, server
    await server.stop(0)

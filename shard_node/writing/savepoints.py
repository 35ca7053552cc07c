"""Savepoints of a coordinated transaction: PostgreSQL's own, and what the node remembers beside it."""

from __future__ import annotations

from typing import Generic, TypeVar

from crosskey import errors
from crosskey.shard_node.postgres.database import Connection

Memory = TypeVar("Memory")


class Savepoints(Generic[Memory]):
    """A stack of savepoints, each with what was to be remembered when it was set. A level is a place in it, from 1."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._memories: list[Memory] = []

    def __len__(self) -> int:
        """How many are set."""
        return len(self._memories)

    async def set(self, level: int, memory: Memory) -> None:
        """Sets the next one. Raises InvalidRequest if `level` is not its own."""
        if level != len(self) + 1:
            raise _no_savepoint(level)
        await self._connection.execute(b"SAVEPOINT crosskey_%d" % level, prepare=False)
        self._memories.append(memory)

    async def roll_back(self, level: int) -> Memory:
        """Undoes all since it was set, forgets it, and answers its memory. Raises InvalidRequest if there is none."""
        memory = self._forget(level)
        name = b"crosskey_%d" % level
        await self._connection.execute(b"ROLLBACK TO SAVEPOINT %b; RELEASE SAVEPOINT %b" % (name, name), prepare=False)
        return memory

    async def release(self, level: int) -> None:
        """Forgets the savepoint and keeps all since. Raises InvalidRequest if there is none."""
        self._forget(level)
        await self._connection.execute(b"RELEASE SAVEPOINT crosskey_%d" % level, prepare=False)

    def _forget(self, level: int) -> Memory:
        """Those behind it are forgotten too, by PostgreSQL as well."""
        if not 1 <= level <= len(self):
            raise _no_savepoint(level)
        memory = self._memories[level - 1]
        del self._memories[level - 1 :]
        return memory


def _no_savepoint(level: int) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"there is no savepoint {level} to be set, rolled back to or released now")

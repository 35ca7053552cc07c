"""A way to a PostgreSQL that can be cut: connections that are open then are lost without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PORT = 5432


class Way:
    """Carries bytes to and fro. `dsn` leads through it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        """Where it leads to, and a folder for its socket: a short path."""
        target = conninfo_to_dict(dsn)
        self._target = f"{target['host']}/.s.PGSQL.{target['port']}"
        self._folder = folder
        self._open: set[asyncio.StreamWriter] = set()
        self._behind: list[asyncio.StreamWriter] = []
        self.dsn = make_conninfo(dsn, host=str(folder), port=PORT)

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Way]:
        """Connections can be made meanwhile."""
        server = await asyncio.start_unix_server(self._carry, self._folder / f".s.PGSQL.{PORT}")
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for writer in self._behind:
                writer.transport.abort()

    def cut(self) -> None:
        """Breaks all connections, on the node's side: PostgreSQL learns of it when it next answers."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        self._open.add(writer)
        self._behind.append(back)
        with suppress(ConnectionError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()

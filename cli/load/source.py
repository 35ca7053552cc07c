"""The rows of a database, read by a process of the shard node's: only that talks SQL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from crosskey.catalog.model import Database, TableName

LENGTH_BYTES = 4


class Block(msgspec.Struct):
    """Rows as whole lines in the text format of COPY."""

    count: int
    lines: bytes


class _Description(msgspec.Struct):
    identity: str
    database: Database
    estimates: dict[str, int]


class DatabaseSource:
    """A database, in one snapshot. Made by `open_database`. Errors are click's."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._blocks = msgspec.msgpack.Decoder(Block)
        self._reading = threading.Lock()
        self._requests = 0
        self._unread = False
        description = msgspec.msgpack.decode(self._read(), type=_Description)
        self.identity = description.identity
        self.database = description.database
        self._estimates = description.estimates

    def estimate(self, table: TableName) -> int:
        """About how many rows a table has; 0 if nobody knows."""
        return self._estimates.get(".".join(map(_quoted, (table.schema, table.name))), 0)

    def blocks(
        self, table: TableName, columns: list[str], *, rows: int, size: int, limit: int | None = None
    ) -> Iterator[Block]:
        """The rows of a table in blocks of so many rows, fewer if large. A new call gives up the one before."""
        wanted: dict[str, Any] = {
            "table": table,
            "columns": columns,
            "batch_rows": rows,
            "batch_bytes": size,
            "limit": limit,
        }
        with self._reading:
            self._drain()
            self._requests += 1
            request = self._requests
            self._ask(wanted)
        while block := self._next(request):
            yield block

    def _next(self, request: int) -> Block | None:
        """The next block of a request; None at its end, and of one that was given up for another."""
        with self._reading:
            if request != self._requests:
                return None
            return self._read_block()

    def _drain(self) -> None:
        """Reads what was left of a request that was given up."""
        while self._unread:
            self._read_block()

    def _read_block(self) -> Block | None:
        block = self._blocks.decode(self._read())
        self._unread = block.count > 0
        return block if self._unread else None

    def _ask(self, wanted: dict[str, Any]) -> None:
        assert self._process.stdin is not None, "it was started with a pipe"
        try:
            self._process.stdin.write(msgspec.json.encode(wanted) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        self._unread = True

    def _read(self) -> bytes:
        assert self._process.stdout is not None, "it was started with a pipe"
        length = self._process.stdout.read(LENGTH_BYTES)
        if len(length) < LENGTH_BYTES:
            raise self._failure()
        expected = int.from_bytes(length, "big")
        message = self._process.stdout.read(expected)
        if len(message) < expected:
            raise self._failure()
        return message

    def _failure(self) -> click.ClickException:
        assert self._process.stderr is not None, "it was started with a pipe"
        said = self._process.stderr.read().decode(errors="replace").strip()
        return click.ClickException(said.removeprefix("Error: ") or "the source ended")


@contextmanager
def open_database(dsn: str) -> Iterator[DatabaseSource]:
    """The database that a connection string names; the string is never printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crosskey.shard_node", "unload"],
        # Not on the command line, where every user of the machine could read a password.
        env={**os.environ, "CROSSKEY_DSN": dsn},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield DatabaseSource(process)
    finally:
        process.kill()
        process.communicate()


def _quoted(name: str) -> str:
    """As format('%I') quotes nearly every name; only an estimate depends on it."""
    return name if name.isidentifier() and name.islower() else '"' + name.replace('"', '""') + '"'

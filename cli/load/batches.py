"""Sending batches: several at once, each once, and those not at all that an interrupted load has loaded already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from crosskey import CrosskeyError
from crosskey.cli.load.target import Target
from crosskey.v1.router_pb2 import LoadRequest

MAX_BATCH_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""What a router takes in one message, less what is not rows."""

BATCH_BYTES = 2 * 1024 * 1024
"""When a batch is full. With the row that goes past this it must stay below MAX_BATCH_BYTES."""

Locate = Callable[[int], str]
"""Says where a row of a batch, from 1, comes from."""


class LoadFailedError(Exception):
    """A batch was refused, or is not the one that was loaded before; the message says where and why."""


@dataclass
class Batch:
    """Rows of one table that are loaded in one transaction. `name` is the same whenever the load is run."""

    name: str
    table: str
    columns: Sequence[str]
    lines: bytes
    rows: int
    locate: Locate


@dataclass
class Sender:
    """Sends the batches of a load. `loaded` are those that it has loaded before, `done` is told of rows."""

    target: Target
    load: str
    loaded: dict[str, bytes]
    at_once: int
    done: Callable[[str, int], None]
    _sending: dict[Future[None], Batch] = field(default_factory=dict)

    def send(self, batches: Iterator[Batch]) -> None:
        """Sends batches and waits for them. Raises LoadFailedError for the first that fails."""
        with ThreadPoolExecutor(self.at_once) as threads:
            try:
                for batch in batches:
                    self._wait_while(lambda: len(self._sending) >= self.at_once)
                    self._sending[threads.submit(self._send, batch)] = batch
            finally:
                self._wait_while(lambda: bool(self._sending))

    def _wait_while(self, busy: Callable[[], bool]) -> None:
        while busy():
            finished, _ = wait(self._sending, return_when=FIRST_COMPLETED)
            for future in finished:
                batch = self._sending.pop(future)
                future.result()
                self.done(batch.table, batch.rows)

    def _send(self, batch: Batch) -> None:
        check_size(batch)
        digest = hashlib.sha256("\t".join(batch.columns).encode() + b"\n" + batch.lines).digest()
        if batch.name in self.loaded:
            if self.loaded[batch.name] != digest:
                raise LoadFailedError(
                    f"{batch.name} was loaded already, with other rows: the source has changed since. Empty the"
                    " tables, remove the state file, and load again"
                )
            return
        request = LoadRequest(
            table=batch.table,
            columns=batch.columns,
            lines=batch.lines,
            load=self.load,
            batch=batch.name,
            digest=digest,
        )
        try:
            self.target.load(lambda: iter([request]))
        except CrosskeyError as error:
            raise refused(error, batch.locate) from error

    def send_together(self, name: str, batches: Callable[[], Iterator[Batch]]) -> None:
        """Sends batches in one transaction. They are read again if it must be repeated."""
        if name in self.loaded:
            for batch in batches():
                self.done(batch.table, batch.rows)
            return
        stream = _Stream(self.load, name, batches)
        try:
            self.target.load(stream.requests)
        except CrosskeyError as error:
            if stream.failure is not None:
                raise stream.failure from None
            raise refused(error, stream.locate) from error
        for batch in stream.sent:
            self.done(batch.table, batch.rows)


class _Stream:
    """Batches of one transaction, as often as they must be sent.

    gRPC reads them on a thread of its own, and does not say what that raised; it cancels the call then.
    """

    def __init__(self, load: str, name: str, batches: Callable[[], Iterator[Batch]]) -> None:
        self._load = load
        self._name = name
        self._batches = batches
        self.sent: list[Batch] = []
        self.failure: Exception | None = None

    def requests(self) -> Iterator[LoadRequest]:
        """The batches from the beginning. Raises what reading them has raised before."""
        if self.failure is not None:
            raise self.failure
        # A list of its own: a stream that failed may still be about to send.
        self.sent = []
        return self._read(self.sent)

    def _read(self, sent: list[Batch]) -> Iterator[LoadRequest]:
        try:
            for batch in self._batches():
                check_size(batch)
                load, name = (self._load, self._name) if not sent else ("", "")
                # The lines are not kept: these may be all rows of a table.
                sent.append(replace(batch, lines=b""))
                yield LoadRequest(table=batch.table, columns=batch.columns, lines=batch.lines, load=load, batch=name)
        except Exception as failure:
            self.failure = failure
            raise

    def locate(self, row: int) -> str:
        """Where a row of the stream, from 1, comes from."""
        for batch in self.sent:
            if row <= batch.rows:
                return batch.locate(row)
            row -= batch.rows
        return f"row {row}"


def check_size(batch: Batch) -> None:
    """Raises LoadFailedError if a batch is too large to be sent: its last row is then."""
    if len(batch.lines) > MAX_BATCH_BYTES:
        last = batch.lines.rstrip(b"\n").rpartition(b"\n")[2]
        raise LoadFailedError(
            f"{batch.locate(batch.rows)}: a row of {len(last):,} bytes as text cannot be sent: a batch may have"
            f" {MAX_BATCH_BYTES:,} bytes"
        )


def refused(error: CrosskeyError, locate: Locate) -> LoadFailedError:
    """What a batch was refused for, and where in the source, as far as PostgreSQL tells."""
    row = error.metadata.pop("row", None)
    where = f"{locate(int(row))}: " if row is not None else ""
    told = {name: value for name, value in error.metadata.items() if name not in ("statement", "command")}
    details = ", ".join(f"{name}={value}" for name, value in told.items())
    return LoadFailedError(" ".join(f"{where}{error.reason_name}: {error.message} ({details})".split()))

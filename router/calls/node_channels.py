"""The router's connections to nodes, and their renewal when the router gets another certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import grpc.aio
import structlog

from crosskey.serving.certificates import FilesState, files_state
from crosskey.tls import Tls

LEAVE_SECONDS = 3600.0
"""How long calls on a connection that is replaced may go on: an audit of a large shard takes its time."""

_log = structlog.get_logger(__name__)


class NodeCredentials:
    """Who the router is to nodes, for all of them; read again when a file has changed."""

    def __init__(self, tls: Tls) -> None:
        """Reads the files. Raises OSError."""
        self._tls = tls
        self._state: FilesState = files_state(tls.files)
        self._credentials = tls.credentials()

    def current(self) -> grpc.ChannelCredentials:
        """What the files hold; what they held before if they cannot be read."""
        try:
            state = files_state(self._tls.files)
            if state != self._state:
                self._credentials = self._tls.credentials()
                self._state = state
                _log.info("certificate for nodes renewed")
        except OSError as error:
            _log.warning("certificate for nodes not renewed", error=error.strerror)
        return self._credentials


class NodeChannel:
    """A connection to one node. gRPC takes no other certificate for a channel, so a new one takes its place."""

    def __init__(
        self, address: str, options: Sequence[tuple[str, int]], credentials: NodeCredentials | None = None
    ) -> None:
        """Connects with the first call; without TLS if there are no credentials. To be made in the event loop."""
        self._address = address
        self._options = options
        self._source = credentials
        self._credentials = None if credentials is None else credentials.current()
        self._channel = self._open()
        self._leaving: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        if self._source is not None and (credentials := self._source.current()) is not self._credentials:
            self._credentials = credentials
            leaving = asyncio.get_running_loop().create_task(self._channel.close(LEAVE_SECONDS))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            self._channel = self._open()
        return self._channel

    async def close(self) -> None:
        """Cancels what is in flight and closes the connection."""
        for leaving in self._leaving:
            leaving.cancel()
        await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        return grpc.aio.secure_channel(self._address, self._credentials, options=self._options)

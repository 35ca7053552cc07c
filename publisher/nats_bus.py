"""NATS JetStream: an event goes to the subject `<stream>.<table>.<type>`, and a repeat is dropped by its id."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence

import nats
from nats import errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js import errors as stream_errors
from nats.js.api import StreamConfig

from crosskey.publisher.bus import BusRefused, BusUnavailable
from crosskey.publisher.cloud_events import as_json
from crosskey.watching import Event

CONTENT_TYPE = "application/cloudevents+json"

_NO_TOKEN = re.compile(r"[\s.*>]")
"""What a part of a subject cannot have."""

_UNAVAILABLE = (errors.Error, stream_errors.Error, OSError, TimeoutError)


class NatsBus:
    """A stream of that name, which is made if it is not there; repeats are dropped within `duplicate_seconds`."""

    def __init__(self, url: str, stream: str, source: str, duplicate_seconds: float = 600.0) -> None:
        """Connects to nothing yet."""
        self._url = url
        self._stream = stream
        self._source = source
        self._duplicate_seconds = duplicate_seconds
        self._client: Client | None = None
        self._context: JetStreamContext | None = None

    async def connect(self) -> None:
        """As Bus.connect."""
        try:
            self._client = await nats.connect(self._url, allow_reconnect=False, connect_timeout=5, error_cb=_heard)
            self._context = self._client.jetstream(timeout=10)
            await self._make_stream(self._context)
        except _UNAVAILABLE as error:
            await self.close()
            raise _unavailable(error) from error

    async def _make_stream(self, context: JetStreamContext) -> None:
        try:
            await context.stream_info(self._stream)
        except stream_errors.NotFoundError:
            subjects = [f"{self._stream}.>"]
            config = StreamConfig(name=self._stream, subjects=subjects, duplicate_window=self._duplicate_seconds)
            await context.add_stream(config)

    async def position(self, tables: Sequence[str]) -> str:  # noqa: ARG002
        """None is kept here: the stream knows the ids of the last minutes."""
        return ""

    async def publish(self, events: Sequence[Event], resume_token: str) -> None:  # noqa: ARG002
        """As Bus.publish: rows at once, the events of a row one after the other."""
        rows: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in events:
            rows[event.table, event.key].append(event)
        done = await asyncio.gather(*map(self._publish_row, rows.values()), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _publish_row(self, events: Sequence[Event]) -> None:
        if self._context is None:
            raise BusUnavailable("NATS: not connected")
        for event in events:
            headers = {"Nats-Msg-Id": event.id, "Content-Type": CONTENT_TYPE}
            try:
                await self._context.publish(self._subject(event), as_json(event, self._source), headers=headers)
            except errors.MaxPayloadError as error:
                raise BusRefused(f"NATS takes no event as large as that of {event.table} {event.key}") from error
            except stream_errors.NoStreamResponseError as error:
                raise BusRefused(f"no stream of NATS takes the subject {self._subject(event)}") from error
            except _UNAVAILABLE as error:
                raise _unavailable(error) from error

    def _subject(self, event: Event) -> str:
        return f"{self._stream}.{_NO_TOKEN.sub('_', event.table)}.{event.type}"

    async def close(self) -> None:
        """As Bus.close."""
        client, self._client, self._context = self._client, None, None
        if client is not None:
            await client.close()


def _unavailable(error: Exception) -> BusUnavailable:
    return BusUnavailable(f"NATS: {str(error) or type(error).__name__}")


async def _heard(_: Exception) -> None:
    """What the client says beside the error that it raises."""

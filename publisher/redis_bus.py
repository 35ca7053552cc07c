"""Streams of Valkey or Redis: an event is an entry of `<prefix>:<table>`, and the position is kept beside them.

Entries and position are one transaction of the server. So whoever goes on behind that position adds none twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import asyncio as redis
from redis import exceptions

from crosskey.publisher.bus import BusRefused, BusUnavailable
from crosskey.publisher.cloud_events import as_json
from crosskey.watching import Event

_UNAVAILABLE = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError, OSError)


class RedisBus:
    """Streams whose names begin with `prefix`, of about `max_length` entries each; 0 for all of them."""

    def __init__(self, url: str, prefix: str, source: str, max_length: int = 0) -> None:
        """Connects to nothing yet."""
        self._url = url
        self._prefix = prefix
        self._source = source
        self._max_length = max_length or None
        self._client: redis.Redis | None = None

    async def connect(self) -> None:
        """As Bus.connect."""
        self._client = redis.Redis.from_url(self._url, socket_timeout=10, socket_connect_timeout=5)
        await self.position()

    async def position(self) -> str:
        """As Bus.position."""
        try:
            kept = await self._connected().get(self._position_key)
        except _UNAVAILABLE as error:
            raise BusUnavailable(f"Redis: {error}") from error
        except exceptions.RedisError as error:
            raise BusRefused(f"Redis: {error}") from error
        return kept.decode() if isinstance(kept, bytes) else ""

    async def publish(self, events: Sequence[Event], resume_token: str) -> None:
        """As Bus.publish."""
        pipeline = self._connected().pipeline(transaction=True)
        for event in events:
            entry: dict[Any, Any] = {
                "id": event.id,
                "key": event.key,
                "type": event.type,
                "event": as_json(event, self._source),
            }
            pipeline.xadd(f"{self._prefix}:{event.table}", entry, maxlen=self._max_length, approximate=True)
        pipeline.set(self._position_key, resume_token)
        try:
            await pipeline.execute()
        except _UNAVAILABLE as error:
            raise BusUnavailable(f"Redis: {error}") from error
        except exceptions.RedisError as error:
            raise BusRefused(f"Redis: {error}") from error

    @property
    def _position_key(self) -> str:
        return f"{self._prefix}:position"

    def _connected(self) -> redis.Redis:
        if self._client is None:
            raise BusUnavailable("Redis: not connected")
        return self._client

    async def close(self) -> None:
        """As Bus.close."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

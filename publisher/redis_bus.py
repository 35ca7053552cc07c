"""Streams of Valkey or Redis: an event is an entry of `<prefix>:<table>`, and the position is kept beside them.

Entries and position are written by one script of the server, all or none, and only where the position is still the one
that this publisher has read or written. So whoever goes on behind that position adds none twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from redis import asyncio as redis
from redis import exceptions

from crosskey.publisher.bus import BusRefused, BusUnavailable, LostLead
from crosskey.publisher.cloud_events import as_json
from crosskey.watching import Event

_UNAVAILABLE = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError, OSError)

_PUBLISH = """
local consumer, former, position, max_length = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', KEYS[1], consumer) or '') ~= former then
    return 0
end
for place = 2, #KEYS do
    local kind = redis.call('TYPE', KEYS[place]).ok
    if kind ~= 'none' and kind ~= 'stream' then
        return redis.error_reply('WRONGTYPE ' .. KEYS[place] .. ' is no stream')
    end
end
for at = 5, #ARGV, 5 do
    local stream = KEYS[tonumber(ARGV[at])]
    local entry = {'*', 'id', ARGV[at + 1], 'key', ARGV[at + 2], 'type', ARGV[at + 3], 'event', ARGV[at + 4]}
    if max_length == '0' then
        redis.call('XADD', stream, unpack(entry))
    else
        redis.call('XADD', stream, 'MAXLEN', '~', max_length, unpack(entry))
    end
end
redis.call('HSET', KEYS[1], consumer, position)
return 1
"""
"""Adds entries and keeps the position, or answers 0. What could fail is looked at before the first entry is added."""


class RedisBus:
    """Streams whose names begin with `prefix`, of about `max_length` entries each; 0 for all of them."""

    def __init__(self, url: str, prefix: str, source: str, *, consumer: str, max_length: int = 0) -> None:
        """Connects to nothing yet."""
        self._url = url
        self._prefix = prefix
        self._source = source
        self._consumer = consumer
        self._max_length = max_length
        self._tables: list[str] = []
        self._kept = ""
        """The position as the server has it, if no other publisher has moved it."""
        self._client: redis.Redis | None = None

    async def connect(self) -> None:
        """As Bus.connect."""
        self._client = redis.Redis.from_url(self._url, socket_timeout=10, socket_connect_timeout=5)
        await self._ask("PING")

    async def position(self, tables: Sequence[str]) -> str:
        """As Bus.position."""
        kept = await self._ask("HGET", self._positions, self._consumer)
        self._kept = kept.decode() if isinstance(kept, bytes) else ""
        self._tables = sorted(tables)
        position = json.loads(self._kept) if self._kept else {}
        return str(position["token"]) if position.get("tables") == self._tables else ""

    async def publish(self, events: Sequence[Event], resume_token: str) -> None:
        """As Bus.publish."""
        position = json.dumps({"tables": self._tables, "token": resume_token})
        places = {table: place for place, table in enumerate(dict.fromkeys(event.table for event in events), 2)}
        keys = [self._positions, *(f"{self._prefix}:{table}" for table in places)]
        values: list[Any] = [self._consumer, self._kept, position, self._max_length]
        for event in events:
            values += places[event.table], event.id, event.key, event.type, as_json(event, self._source)
        if not await self._ask("EVAL", _PUBLISH, len(keys), *keys, *values):
            raise LostLead("Redis: another publisher has moved the position")
        self._kept = position

    @property
    def _positions(self) -> str:
        """The hash of the positions, by consumer; it has the name of no stream, as no table's name is empty."""
        return f"{self._prefix}:"

    async def _ask(self, *command: Any) -> Any:
        client: Any = self._client
        if client is None:
            raise BusUnavailable("Redis: not connected")
        try:
            return await client.execute_command(*command)
        except _UNAVAILABLE as error:
            raise BusUnavailable(f"Redis: {error}") from error
        except exceptions.RedisError as error:
            raise BusRefused(f"Redis: {error}") from error

    async def close(self) -> None:
        """As Bus.close."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

"""A toy router for each test, and both clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import crosskey
from tests.client.toy_router import RunningRouter


@pytest.fixture
def toy() -> Iterator[RunningRouter]:
    with RunningRouter().running() as toy:
        yield toy


class Blocking:
    """A Client with the methods of an AsyncClient, so that one test fits both."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def with_timeout(self, timeout: float) -> Blocking:
        """As the client's own."""
        return Blocking(self._client.with_timeout(timeout))

    def related(self, *args: Any, **kwargs: Any) -> BlockingRelations:
        """As the client's own."""
        return BlockingRelations(self._client.related(*args, **kwargs))

    async def list(self, *args: Any, **kwargs: Any) -> AsyncIterator[dict[str, Any]]:
        """As the client's own."""
        for row in await asyncio.to_thread(lambda: [*self._client.list(*args, **kwargs)]):
            yield row

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)


class BlockingRelations:
    """The relations of a row, whose methods are awaited likewise."""

    def __init__(self, relations: Any) -> None:
        self._relations = relations

    def __getattr__(self, name: str) -> Blocking:
        return Blocking(getattr(self._relations, name))

    def __getitem__(self, name: str) -> Blocking:
        return Blocking(self._relations[name])


@pytest.fixture(params=["async", "blocking"])
async def client(request: pytest.FixtureRequest, toy: RunningRouter) -> AsyncIterator[Any]:
    if request.param == "async":
        async with crosskey.AsyncClient(toy.address, timeout=10) as asynchronous:
            yield asynchronous
    else:
        with crosskey.Client(toy.address, timeout=10) as blocking:
            yield Blocking(blocking)

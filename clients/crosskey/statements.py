"""What clients and their transactions have in common: the methods that read and write rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from crosskey import _operations as operations
from crosskey import errors
from crosskey._operations import Call
from crosskey._paging import Pages
from crosskey.exact_json import Row
from crosskey.includes import Include
from crosskey.predicates import Order, Where
from crosskey.related import AsyncRelations, Relations
from crosskey.requests import Lock, checked_key

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def awaited(
    operation: Callable[Arguments, Call[Answer]],
) -> Callable[Concatenate[AsyncStatements, Arguments], Coroutine[Any, Any, Answer]]:
    """The operation as a method of AsyncStatements."""

    async def method(self: AsyncStatements, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return await self._perform(operation(*args, **kwargs))

    _name_after(method, operation)
    return method


def blocking(
    operation: Callable[Arguments, Call[Answer]],
) -> Callable[Concatenate[Statements, Arguments], Answer]:
    """The operation as a method of Statements."""

    def method(self: Statements, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return self._perform(operation(*args, **kwargs))

    _name_after(method, operation)
    return method


def _name_after(method: Callable[..., Any], operation: Callable[..., Any]) -> None:
    """Gives the method the operation's name and docstring; functools.wraps would show its signature less one."""
    method.__name__ = operation.__name__
    method.__doc__ = operation.__doc__


class AsyncStatements:
    """Reads and writes for asyncio; `_perform` says how."""

    insert = awaited(operations.insert)
    get = awaited(operations.get)
    update = awaited(operations.update)
    delete = awaited(operations.delete)
    list_page = awaited(operations.list_page)
    first = awaited(operations.first)
    exists = awaited(operations.exists)
    count = awaited(operations.count)
    aggregate = awaited(operations.aggregate)
    associate = awaited(operations.associate)

    def related(self, table: str, key: Row | None = None, /, **key_columns: Any) -> AsyncRelations:
        """Returns the relations of the row with that primary or unique key: `.accounts.append([..])` and the like."""
        key = {**checked_key({} if key is None else key), **key_columns}
        return AsyncRelations(self._perform, table, key)

    async def get_or_none(self, table: str, key: Row | None = None, /, **columns: Any) -> dict[str, Any] | None:
        """Returns the row with that primary or unique key, as `get` does; None if there is none."""
        try:
            return await self.get(table, key, **columns)
        except errors.RowNotFound:
            return None

    async def list(
        self,
        table: str,
        where: Where | None = None,
        order_by: Order | None = None,
        page_size: int = 0,
        *,
        limit: int | None = None,
        columns: Iterable[str] = (),
        include: Include | None = None,
        lock: Lock | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yields all rows in order, or the first `limit` of them, fetching a page at a time.

        `columns`, `include` and `lock` are those of `get`.
        """
        pages = Pages(page_size, limit)
        columns = [*columns]
        while pages.wants_more:
            page = await self.list_page(
                table, where, order_by, pages.next_size, pages.next_token, columns, include, lock
            )
            for row in pages.take(page):
                yield row

    async def _perform(self, call: Call[Answer]) -> Answer:
        raise NotImplementedError


class Statements:
    """Reads and writes that block; `_perform` says how."""

    insert = blocking(operations.insert)
    get = blocking(operations.get)
    update = blocking(operations.update)
    delete = blocking(operations.delete)
    list_page = blocking(operations.list_page)
    first = blocking(operations.first)
    exists = blocking(operations.exists)
    count = blocking(operations.count)
    aggregate = blocking(operations.aggregate)
    associate = blocking(operations.associate)

    def related(self, table: str, key: Row | None = None, /, **key_columns: Any) -> Relations:
        """Returns the relations of the row with that primary or unique key: `.accounts.append([..])` and the like."""
        key = {**checked_key({} if key is None else key), **key_columns}
        return Relations(self._perform, table, key)

    def get_or_none(self, table: str, key: Row | None = None, /, **columns: Any) -> dict[str, Any] | None:
        """Returns the row with that primary or unique key, as `get` does; None if there is none."""
        try:
            return self.get(table, key, **columns)
        except errors.RowNotFound:
            return None

    def list(
        self,
        table: str,
        where: Where | None = None,
        order_by: Order | None = None,
        page_size: int = 0,
        *,
        limit: int | None = None,
        columns: Iterable[str] = (),
        include: Include | None = None,
        lock: Lock | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yields all rows in order, or the first `limit` of them, fetching a page at a time.

        `columns`, `include` and `lock` are those of `get`.
        """
        pages = Pages(page_size, limit)
        columns = [*columns]
        while pages.wants_more:
            page = self.list_page(table, where, order_by, pages.next_size, pages.next_token, columns, include, lock)
            yield from pages.take(page)

    def _perform(self, call: Call[Answer]) -> Answer:
        raise NotImplementedError

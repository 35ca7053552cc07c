"""The rows of one row's relations: `client.related("users", id=..).accounts.append([..])`.

Each operation is written once, as a call; what AsyncClient and Client answer differs in how they carry it out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

from crosskey import _operations as operations
from crosskey._operations import Associated, Call
from crosskey.exact_json import Row
from crosskey.predicates import Where

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class _Related:
    """A relation of the row with a key."""

    def __init__(self, perform: Callable[[Call[Any]], Any], table: str, key: Row, relation: str) -> None:
        self._perform = perform
        self.table = table
        self.key = key
        self.relation = relation


def append(related: _Related, rows: Row | Iterable[Row]) -> Call[Associated]:
    """Gives the row these too, each by a unique key; of a relation to one row, this in place of the one there is.

    Through a join table, each may have other columns of that under "crosskey_join", for a row that is added; those that
    are there stay as they are.
    """
    return operations.associate(related.table, related.key, related.relation, "append", rows)


def replace(related: _Related, rows: Row | Iterable[Row], *, delete_detached: bool = False) -> Call[Associated]:
    """Gives the row exactly these. The key of others is set to NULL, or they are deleted if it says so; see `clear`."""
    return operations.associate(
        related.table, related.key, related.relation, "replace", rows, delete_detached=delete_detached
    )


def remove(related: _Related, rows: Row | Iterable[Row], *, delete_detached: bool = False) -> Call[Associated]:
    """Takes these from the row; what it has not is no error. See `clear`."""
    return operations.associate(
        related.table, related.key, related.relation, "remove", rows, delete_detached=delete_detached
    )


def clear(related: _Related, *, delete_detached: bool = False) -> Call[Associated]:
    """Takes all from the row: their key is set to NULL, or rows of the join table are deleted, never those behind it.

    Raises InvalidRequest where the key is NOT NULL, unless `delete_detached` says that the rows be deleted.
    """
    return operations.associate(related.table, related.key, related.relation, "clear", delete_detached=delete_detached)


def find(related: _Related, /, **included: Any) -> Call[Any]:
    """Returns the rows, at most `limit` of them; of a relation to one row, that or None. Takes what Included has."""
    return operations.find_related(related.table, related.key, related.relation, included)


def count(related: _Related, where: Where | None = None) -> Call[int]:
    """Returns how many rows there are, of a relation to many."""
    return operations.count_related(related.table, related.key, related.relation, where)


def _awaited(
    operation: Callable[Concatenate[_Related, Arguments], Call[Answer]],
) -> Callable[Concatenate[AsyncRelatedRows, Arguments], Awaitable[Answer]]:
    """The operation as a method of AsyncRelatedRows."""

    async def method(self: AsyncRelatedRows, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        answer: Answer = await self._perform(operation(self, *args, **kwargs))
        return answer

    _name_after(method, operation)
    return method


def _blocking(
    operation: Callable[Concatenate[_Related, Arguments], Call[Answer]],
) -> Callable[Concatenate[RelatedRows, Arguments], Answer]:
    """The operation as a method of RelatedRows."""

    def method(self: RelatedRows, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        answer: Answer = self._perform(operation(self, *args, **kwargs))
        return answer

    _name_after(method, operation)
    return method


def _name_after(method: Callable[..., Any], operation: Callable[..., Any]) -> None:
    method.__name__ = operation.__name__
    method.__doc__ = operation.__doc__


class AsyncRelatedRows(_Related):
    """The rows of one relation, for asyncio."""

    append = _awaited(append)
    replace = _awaited(replace)
    remove = _awaited(remove)
    clear = _awaited(clear)
    find = _awaited(find)
    count = _awaited(count)


class RelatedRows(_Related):
    """The rows of one relation."""

    append = _blocking(append)
    replace = _blocking(replace)
    remove = _blocking(remove)
    clear = _blocking(clear)
    find = _blocking(find)
    count = _blocking(count)


class AsyncRelations:
    """The relations of one row, for asyncio: `.accounts`, or `["accounts"]` for a name that is no identifier."""

    def __init__(self, perform: Callable[[Call[Any]], Awaitable[Any]], table: str, key: Row) -> None:
        self._perform = perform
        self._table = table
        self._key = key

    def __getattr__(self, relation: str) -> AsyncRelatedRows:
        """The rows of that relation."""
        return self[relation]

    def __getitem__(self, relation: str) -> AsyncRelatedRows:
        """The rows of that relation."""
        return AsyncRelatedRows(self._perform, self._table, self._key, relation)


class Relations:
    """The relations of one row: `.accounts`, or `["accounts"]` for a name that is no identifier."""

    def __init__(self, perform: Callable[[Call[Any]], Any], table: str, key: Row) -> None:
        self._perform = perform
        self._table = table
        self._key = key

    def __getattr__(self, relation: str) -> RelatedRows:
        """The rows of that relation."""
        return self[relation]

    def __getitem__(self, relation: str) -> RelatedRows:
        """The rows of that relation."""
        return RelatedRows(self._perform, self._table, self._key, relation)

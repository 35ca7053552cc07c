"""Rows that a transaction has written, read by their keys with the rows of their relations inside of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import msgspec

from crosskey.catalog.model import Table
from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.includes import Shape, plan_includes, shape_of
from crosskey.router.planning.orders import total_order
from crosskey.router.planning.predicates import (
    Checked,
    CheckedPredicate,
    JoinedPredicates,
    existing_column,
    to_conditions,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.found_rows import FoundRow, Texts, found_rows
from crosskey.router.reading.including import Including, until_whole
from crosskey.router.reading.sources import Sources
from crosskey.v1 import rows_pb2

ROWS_AT_ONCE = 400
"""How many rows are asked for at once: a key of several columns has a comparison for each, of which 1000 are taken."""


class StoredRows:
    """Reads rows of one table by their primary key, in one form."""

    def __init__(
        self, sources: Sources, view: SchemaView, table: TablePlan, columns: Sequence[str], *, as_text: bool
    ) -> None:
        """`columns` are those to answer; all if there are none."""
        self._sources = sources
        self._view = view
        self._table = table
        self._columns = columns
        self._as_text = as_text

    async def read(self, keys: Sequence[Texts], include: Sequence[rows_pb2.Include]) -> list[bytes]:
        """The rows of the keys, in their order, each as JSON; those that are gone are left out.

        Raises InvalidRequest and UnknownColumn for a wrong include, AnswerTooLarge, Conflict and what nodes raise.
        """
        return await until_whole(partial(self._attempt, keys, include))

    async def _attempt(self, keys: Sequence[Texts], include: Sequence[rows_pb2.Include], is_last: bool) -> list[bytes]:
        includes = plan_includes(self._view, self._table, include)
        shown = shape_of(self._view, self._table, self._columns, includes)
        texts = tuple(dict.fromkeys((*shown.texts, *self._table.table.primary_key)))
        shape = Shape(shown.columns, shown.no_columns, texts, shown.pins)
        found = {row.texts(shape, self._table.table.primary_key): row for row in await self._find(keys, shape)}
        rows = [found[key] for key in keys if key in found]
        including = Including(self._sources, self._view, as_text=self._as_text, is_last=is_last)
        await including.add([*dict.fromkeys(rows)], shape, includes)
        return [row.json for row in rows if not row.gone]

    async def _find(self, keys: Sequence[Texts], shape: Shape) -> list[FoundRow]:
        rows: list[FoundRow] = []
        for some in _in_parts(dict.fromkeys(keys)):
            predicates = having_keys(self._table.table, some, self._table.locators)
            for shard in self._view.shards_for_where(self._table, predicates):
                rows += await self._find_on(shard, predicates, shape)
        return rows

    async def _find_on(self, shard: int, predicates: Sequence[Checked], shape: Shape) -> list[FoundRow]:
        """Pages end early where rows are large."""
        request = reads_pb2.ReadRequest(
            table=self._table.table.name.qualified,
            where=to_conditions(predicates),
            order_by=[column.to_order() for column in total_order(self._table.table, ())],
            limit=ROWS_AT_ONCE,
            as_text=self._as_text,
            shape=shape.to_message(),
        )
        rows: list[FoundRow] = []
        while True:
            with safe_to_retry():
                answer = await self._sources[shard].read(request)
            raw = msgspec.json.decode(answer.rows_json, type=list[msgspec.Raw])
            rows += found_rows(raw, answer.beside_json, shard, pins_in_doubt=answer.pins_in_doubt)
            if not answer.more:
                return rows
            request.after_json = bytes(msgspec.json.decode(answer.cursors_json, type=list[msgspec.Raw])[-1])


def having_keys(table: Table, keys: Sequence[Texts], locators: Iterable[str]) -> tuple[Checked, ...]:
    """The predicates of rows whose primary key is one of these; what tells their shards stands by itself."""
    columns = [existing_column(table, name) for name in table.primary_key]
    if len(columns) == 1:
        return (CheckedPredicate(columns[0], rows_pb2.Predicate.IN, [text for (text,) in keys]),)
    telling: list[Checked] = [
        CheckedPredicate(column, rows_pb2.Predicate.IN, list(dict.fromkeys(key[place] for key in keys)))
        for place, column in enumerate(columns)
        if column.name in locators
    ]
    alternatives = tuple(
        JoinedPredicates(
            tuple(
                CheckedPredicate(column, rows_pb2.Predicate.EQ, text) for column, text in zip(columns, key, strict=True)
            )
        )
        for key in keys
    )
    return (*telling, JoinedPredicates(alternatives, by_or=True))


def _in_parts(keys: Iterable[Texts]) -> Iterator[list[Texts]]:
    remaining = iter(keys)
    while some := list(islice(remaining, ROWS_AT_ONCE)):
        yield some

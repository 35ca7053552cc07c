"""Looking for rows that reference no parent, before a foreign key is added: what would stop it is told beforehand.

It is a look beside clients, who may write such rows behind it: the key is filled and validated all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice

import msgspec

from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import Plan
from crosskey.predicates import in_
from crosskey.requests import list_rows
from crosskey.router.administration.filling import BATCH_SECONDS, Orphans
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.reader import Page, Reader
from crosskey.v1 import router_pb2, rows_pb2

PAGE_ROWS = 1000


async def find_orphans(reader: Reader, view: SchemaView, wanted: Plan) -> Orphans:
    """The rows that reference no parent by a key over shards which is in the plan that is wanted, and not in force.

    Keys of one column, between tables and columns that are there, are looked at.
    """
    orphans = Orphans()
    for key in _new_keys(view.plan, wanted):
        missing: Counter[str] = Counter()
        async for referenced in _references(reader, view, key):
            known = set(missing)
            missing.update({value: count for value, count in referenced.items() if value in known})
            unknown = [value for value in referenced if value not in known]
            present = await _present(reader, view, key, unknown)
            missing.update({value: referenced[value] for value in unknown if value not in present})
        [column] = key.parent_columns
        listed = [{"key": {column: value}, "rows": count} for value, count in missing.items()]
        orphans.add(msgspec.json.encode(listed))
    return orphans


def _new_keys(old: Plan, new: Plan) -> Iterator[ForeignKey]:
    known = {(key.foreign_key.table, key.foreign_key.columns, key.foreign_key.parent) for key in old.keys}
    for plan in new.keys:
        key = plan.foreign_key
        child, parent = old.table(key.table), old.table(key.parent)
        if plan.kind != "cross-shard" or len(key.columns) != 1 or child is None or parent is None:
            continue
        there = child.table.column(key.columns[0]) and parent.table.column(key.parent_columns[0])
        if there and (key.table, key.columns, key.parent) not in known:
            yield key


async def _references(reader: Reader, view: SchemaView, key: ForeignKey) -> AsyncIterator[Counter[str]]:
    """How many rows reference each value, a page of rows at a time."""
    request = list_rows(key.table.qualified, page_size=PAGE_ROWS, columns=key.columns)
    while True:
        page = await _page(reader, view, request)
        yield Counter(_values(page))
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _present(reader: Reader, view: SchemaView, key: ForeignKey, values: Sequence[str]) -> set[str]:
    """Those of the values that a parent has."""
    found: set[str] = set()
    remaining = iter(values)
    while some := list(islice(remaining, PAGE_ROWS)):
        where = [in_(key.parent_columns[0], some)]
        request = list_rows(key.parent.qualified, where, page_size=PAGE_ROWS, columns=key.parent_columns)
        found.update(_values(await _page(reader, view, request)))
    return found


async def _page(reader: Reader, view: SchemaView, request: router_pb2.ListRequest) -> Page:
    request.row_form = rows_pb2.ROW_FORM_TEXT
    with call_context_of_its_own(BATCH_SECONDS):
        return await reader.list_page(view, request)


def _values(page: Page) -> Iterator[str]:
    """The values of a page of rows that have one column."""
    for row in msgspec.json.decode(page.rows_json, type=list[dict[str, str | None]]):
        yield from (value for value in row.values() if value is not None)

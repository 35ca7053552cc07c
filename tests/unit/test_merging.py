"""Pages of shards, merged page by page, are the whole table in order: nothing twice, nothing left out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from crosskey.catalog.model import Column
from crosskey.router.planning.orders import ROW_PLACE, OrderColumn
from crosskey.router.planning.page_token import Places, Position
from crosskey.router.reading.merging import MAX_PAGE_BYTES, MergedPage, ShardPage, merge, rank

Row = tuple[int | None, int | None, int]
"""Two values that repeat and may be NULL, and a key."""

ORDERS = st.tuples(st.booleans(), st.booleans(), st.booleans())
ROWS = st.lists(
    st.tuples(st.none() | st.integers(-2, 12), st.none() | st.integers(0, 2), st.integers(0, 500)),
    max_size=60,
    unique_by=lambda row: row[2],
)


def integer(name: str, descending: bool) -> OrderColumn:
    return OrderColumn(name, Column(name, "integer", "int4", not_null=False), descending)


def order_of(directions: Sequence[bool]) -> list[OrderColumn]:
    return [integer(name, descending) for name, descending in zip("abc", directions, strict=True)]


def compare(order: Sequence[OrderColumn], left: Row, right: Row) -> int:
    """PostgreSQL's order, said once more: NULL is larger than everything."""
    for one, left_value, right_value in zip(order, left, right, strict=True):
        larger = (left_value is None, left_value or 0) > (right_value is None, right_value or 0)
        if left_value != right_value:
            return 1 if larger != one.descending else -1
    return 0


def in_order_of(order: Sequence[OrderColumn], rows: Sequence[Row]) -> list[Row]:
    def compare_rows(left: Row, right: Row) -> int:
        return compare(order, left, right)

    return sorted(rows, key=cmp_to_key(compare_rows))


def position_of(row: Row) -> Position:
    return [None if value is None else str(value) for value in row]


def page_of(rows: Sequence[Row], order: Sequence[OrderColumn], after: Position | None, limit: int) -> ShardPage:
    """What a shard with these rows answers."""
    in_order = in_order_of(order, rows)
    if after is not None:
        place: Any = tuple(None if text is None else int(text) for text in after)
        in_order = [row for row in in_order if compare(order, row, place) > 0]
    taken = in_order[:limit]
    return ShardPage([raw(row) for row in taken], [position_of(row) for row in taken], len(taken) < len(in_order))


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def merged(pages: Mapping[int, ShardPage], order: Sequence[OrderColumn], size: int, before: Places) -> MergedPage:
    ranking = rank(order, [position for page in pages.values() for position in page.positions])
    assert ranking is not None
    return merge(pages, ranking, size, before)


@given(ROWS, ORDERS, st.integers(1, 9), st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_all_pages_together_are_the_table_in_order(
    rows: list[Row], directions: tuple[bool, ...], page_size: int, limits: list[int]
) -> None:
    """Also when shards end their pages early, after `limits` rows."""
    order = order_of(directions)
    shards = {shard: [row for row in rows if row[2] % 3 == shard] for shard in range(3)}
    places: Places = dict.fromkeys(shards)
    seen: list[Row] = []
    while places:
        pages = {
            shard: page_of(shards[shard], order, after, min(page_size, limits[shard]))
            for shard, after in places.items()
        }
        page = merged(pages, order, page_size, places)
        answered = msgspec.json.decode(page.rows_json, type=list[Row])
        assert len(answered) <= page_size
        assert answered or not page.places
        seen += answered
        places = page.places
    assert seen == in_order_of(order, rows)


@given(ROWS, ROWS, ORDERS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_rows_that_come_and_go_move_no_other_row(
    steady: list[Row], restless: list[Row], directions: tuple[bool, ...], page_size: int, random: Any
) -> None:
    order = order_of(directions)
    restless = [(a, b, c + 1000) for a, b, c in restless]
    places: Places = dict.fromkeys(range(3))
    seen: list[Row] = []
    while places:
        present = [*steady, *random.sample(restless, random.randint(0, len(restless)))]
        pages = {
            shard: page_of([row for row in present if row[2] % 3 == shard], order, after, page_size)
            for shard, after in places.items()
        }
        page = merged(pages, order, page_size, places)
        seen += msgspec.json.decode(page.rows_json, type=list[Row])
        places = page.places
    expected = in_order_of(order, steady)
    assert [row for row in seen if row[2] < 1000] == expected
    assert len(set(seen)) == len(seen)


def test_large_rows_end_a_page_early_but_never_before_the_first() -> None:
    large = "x" * (MAX_PAGE_BYTES // 2 - 10)
    huge = "x" * (MAX_PAGE_BYTES + 1)
    pages = {
        0: ShardPage([raw(large), raw(large), raw("c")], [["1"], ["2"], ["5"]], more=False),
        1: ShardPage([raw(huge), raw("d")], [["3"], ["6"]], more=False),
    }
    first = merged(pages, [integer("a", False)], 10, dict.fromkeys(pages))
    assert len(msgspec.json.decode(first.rows_json)) == 2
    assert first.places == {0: ["2"], 1: None}
    rest = {0: ShardPage([raw("c")], [["5"]], more=False), 1: pages[1]}
    second = merged(rest, [integer("a", False)], 10, first.places)
    assert msgspec.json.decode(second.rows_json) == [huge]
    assert second.places == {0: ["2"], 1: ["3"]}


def test_equal_rows_stay_in_the_order_of_the_shards() -> None:
    order = [integer("a", True), OrderColumn(ROW_PLACE, None, descending=True)]
    assert rank(order, [["1", "(0,1)"], ["2", "(0,2)"], ["2", "(0,9)"], ["1", "(9,9)"]]) == [1, 2, 0, 3]


@given(st.lists(st.uuids(), max_size=20), st.booleans())
def test_uuids_are_ordered_by_their_bytes(identifiers: list[uuid.UUID], descending: bool) -> None:
    order = [OrderColumn("id", Column("id", "uuid", "uuid", not_null=True), descending)]
    ranking = rank(order, [[str(identifier)] for identifier in identifiers])
    assert ranking is not None
    in_order = [identifiers[place] for place in ranking]
    assert in_order == sorted(identifiers, key=lambda identifier: identifier.bytes, reverse=descending)


def test_false_comes_before_true() -> None:
    order = [OrderColumn("flag", Column("flag", "boolean", "bool", not_null=False), descending=False)]
    assert rank(order, [[None], ["true"], ["false"]]) == [2, 1, 0]


def test_only_postgresql_can_rank_text() -> None:
    order = [OrderColumn("name", Column("name", "text", "text", not_null=True), descending=False)]
    assert rank(order, [["a"], ["B"]]) is None

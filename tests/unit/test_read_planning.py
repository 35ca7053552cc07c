"""Reads as what each shard is asked."""

from __future__ import annotations

import msgspec
import pytest

import crosskey
from crosskey import errors
from crosskey.catalog.model import Table, UniqueKey
from crosskey.router.planning import page_token
from crosskey.router.planning.orders import MAX_PAGE_SIZE, total_order
from crosskey.router.planning.reads import plan_count, plan_get, plan_list
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1.rows_pb2 import OrderBy
from tests.messenger_view import VIEW, user_on
from tests.schema_builders import column, table


def order_of(ordered: Table, *order_by: OrderBy | str) -> list[str]:
    """The total order, such as `name DESC`."""
    orders = [OrderBy(column=one) if isinstance(one, str) else one for one in order_by]
    return [f"{one.name}{' DESC' if one.descending else ''}" for one in total_order(ordered, orders)]


ITEMS = table(
    "items",
    "@shard_by shop",
    column("shop"),
    column("number"),
    column("name", "text", not_null=False),
    column("code", "text"),
    key=("shop", "number"),
)


def test_the_primary_key_makes_an_order_total() -> None:
    assert order_of(ITEMS) == ["shop", "number"]
    assert order_of(ITEMS, "name") == ["name", "shop", "number"]
    assert order_of(ITEMS, "number") == ["number", "shop"]
    assert order_of(ITEMS, "number", "shop") == ["number", "shop"]


def test_the_tie_break_has_the_direction_of_the_column_before() -> None:
    assert order_of(ITEMS, crosskey.desc("name")) == ["name DESC", "shop DESC", "number DESC"]
    assert order_of(ITEMS, crosskey.desc("code"), "name") == ["code DESC", "name", "shop", "number"]


def test_a_column_that_comes_twice_counts_once() -> None:
    assert order_of(ITEMS, "name", crosskey.desc("code"), crosskey.desc("name")) == [
        "name",
        "code DESC",
        "shop DESC",
        "number DESC",
    ]


def test_another_key_makes_an_order_total_unless_it_has_nulls_or_is_partial() -> None:
    keys = (
        UniqueKey("items_pkey", ("shop", "number"), primary=True),
        UniqueKey("items_name_key", ("name",)),
        UniqueKey("items_live", ("code",), plain=False),
    )
    assert order_of(msgspec.structs.replace(ITEMS, unique_keys=keys), "name") == ["name", "shop", "number"]
    assert order_of(msgspec.structs.replace(ITEMS, unique_keys=keys), "code") == ["code", "shop", "number"]
    whole = (*keys, UniqueKey("items_code_key", ("code",)))
    assert order_of(msgspec.structs.replace(ITEMS, unique_keys=whole), "code") == ["code"]
    assert order_of(msgspec.structs.replace(ITEMS, unique_keys=whole[1:])) == ["code"]


def test_without_a_key_the_place_of_a_row_makes_an_order_total() -> None:
    log = table("log", "@shard_by id", key=())
    assert order_of(log) == ["ctid"]
    assert order_of(log, crosskey.desc("id")) == ["id DESC", "ctid DESC"]


@pytest.mark.parametrize("name", ["colour", "ctid", ""])
def test_an_unknown_order_column(name: str) -> None:
    with pytest.raises(errors.UnknownColumn, match=f'column "{name}" does not exist'):
        order_of(ITEMS, name)


def test_get_by_a_locator_asks_one_shard() -> None:
    plan = plan_get(VIEW, crosskey.get("users", {"id": user_on(2)}))
    assert plan.shards == (2,)
    [condition] = plan.conditions
    assert (condition.column, condition.value_json) == ("id", f'"{user_on(2)}"'.encode())


def test_get_from_a_reference_table_asks_one_copy() -> None:
    assert plan_get(VIEW, crosskey.get("countries", {"code": "de"}), copy=4).shards == (1,)


def test_count_asks_the_shards_that_may_have_rows() -> None:
    assert plan_count(VIEW, crosskey.count("messages")).shards == (0, 1, 2)
    assert plan_count(VIEW, crosskey.count("messages", [crosskey.eq("sender_id", user_on(1))])).shards == (1,)


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (1001, MAX_PAGE_SIZE), (2**31 - 1, 1000)])
def test_page_sizes(asked: int, given: int) -> None:
    assert plan_list(VIEW, crosskey.list_rows("users", page_size=asked)).page_size == given


def test_a_negative_page_size() -> None:
    with pytest.raises(errors.InvalidRequest, match="page_size"):
        plan_list(VIEW, crosskey.list_rows("users", page_size=-1))


def test_the_first_page_begins_at_the_beginning() -> None:
    assert plan_list(VIEW, crosskey.list_rows("users")).places == {0: None, 1: None, 2: None}
    assert plan_list(VIEW, crosskey.list_rows("countries"), copy=1).places == {1: None}


def test_a_later_page_begins_where_its_token_says() -> None:
    query = plan_list(VIEW, crosskey.list_rows("users")).query
    token = page_token.encode(VIEW.token_key, query, {2: ["x"], 1: None})
    plan = plan_list(VIEW, crosskey.list_rows("users", page_token=token, page_size=7))
    assert plan.places == {1: None, 2: ["x"]}
    assert plan.shards == (1, 2)


def test_a_reference_table_is_read_on_from_the_same_copy() -> None:
    query = plan_list(VIEW, crosskey.list_rows("countries"), copy=1).query
    token = page_token.encode(VIEW.token_key, query, {1: ["de"]})
    assert plan_list(VIEW, crosskey.list_rows("countries", page_token=token), copy=2).shards == (1,)


def test_a_token_is_good_for_its_own_query_only() -> None:
    where = [crosskey.eq("name", "x")]
    token = plan_list(VIEW, crosskey.list_rows("users", where)).token({0: ["x"]})
    others = [
        crosskey.list_rows("users", page_token=token),
        crosskey.list_rows("users", [crosskey.ne("name", "x")], page_token=token),
        crosskey.list_rows("users", where, order_by="name", page_token=token),
        crosskey.list_rows("accounts", page_token=token),
    ]
    for request in others:
        with pytest.raises(errors.InvalidPageToken, match="another query"):
            plan_list(VIEW, request)
    with pytest.raises(errors.InvalidPageToken, match="another query"):
        plan_list(SchemaView(VIEW.plan, VIEW.shards + 1, ""), crosskey.list_rows("users", where, page_token=token))


def test_a_token_outlives_a_change_of_the_schema_that_leaves_its_order_alone() -> None:
    token = plan_list(VIEW, crosskey.list_rows("users")).token({0: ["x"]})
    changed = SchemaView(VIEW.plan, VIEW.shards, "changed")
    assert plan_list(changed, crosskey.list_rows("users", page_token=token)).shards == (0,)

"""Which shards must be asked for the rows that predicates select."""

from __future__ import annotations

import pytest

import crosskey
from crosskey import errors
from crosskey.catalog.slots import mint_uuid
from crosskey.router.planning.predicates import check_predicates
from crosskey.v1.rows_pb2 import Predicate
from tests.messenger_view import SHARDS, VIEW, user_on

ALL = tuple(range(SHARDS))


def shards_for(table_name: str, *predicates: Predicate, copy: int = 0) -> tuple[int, ...]:
    placed = VIEW.table(table_name)
    return VIEW.shards_for_where(placed, check_predicates(placed.table, predicates), copy)


def test_tables_are_found_by_their_api_name() -> None:
    assert VIEW.table("users") is VIEW.table("public.users")


@pytest.mark.parametrize("name", ["user", "", "Users", "other.users"])
def test_an_unknown_table(name: str) -> None:
    with pytest.raises(errors.UnknownTable, match=f'relation "{name}" does not exist'):
        VIEW.table(name)


def test_what_is_no_equality_on_a_locator_asks_every_shard() -> None:
    assert shards_for("users") == ALL
    assert shards_for("users", crosskey.eq("name", "x")) == ALL
    assert shards_for("users", crosskey.gt("id", user_on(1))) == ALL
    assert shards_for("users", crosskey.is_null("id")) == ALL


@pytest.mark.parametrize("shard", ALL)
def test_the_shard_key_tells_the_shard_in_every_spelling(shard: int) -> None:
    assert shards_for("users", crosskey.eq("id", user_on(shard))) == (shard,)
    assert shards_for("users", crosskey.eq("id", user_on(shard).upper())) == (shard,)
    assert shards_for("messages", crosskey.eq("sender_id", user_on(shard))) == (shard,)


def test_integers_in_every_spelling_are_one_value() -> None:
    spellings = [7, "7", " +07 ", 7.0]
    assert len({shards_for("accounts", crosskey.eq("id", spelling)) for spelling in spellings}) == 1


def test_an_id_that_carries_its_slot_tells_the_shard() -> None:
    identifier = str(mint_uuid(16_000))
    assert shards_for("messages", crosskey.eq("id", identifier)) == (16_000 % SHARDS,)


def test_a_list_of_values_asks_the_shards_of_all_of_them() -> None:
    assert shards_for("users", crosskey.in_("id", [user_on(2), user_on(0), user_on(2, 1), None])) == (0, 2)


def test_predicates_together_narrow_further() -> None:
    both = crosskey.in_("id", [user_on(0), user_on(2)])
    assert shards_for("users", both, crosskey.eq("id", user_on(2)), crosskey.eq("name", "x")) == (2,)


@pytest.mark.parametrize(
    "predicates",
    [
        [crosskey.eq("id", user_on(1)), crosskey.eq("id", user_on(2))],
        [crosskey.in_("id", [None])],
        [crosskey.in_("id", [])],
    ],
)
def test_where_no_shard_can_have_rows_one_is_asked_to_check_the_values(predicates: list[Predicate]) -> None:
    assert shards_for("users", *predicates) == (0,)


@pytest.mark.parametrize("value", ["x", 5, True, {"a": 1}])
def test_a_value_that_is_none_of_the_type_is_left_to_postgresql(value: object) -> None:
    assert shards_for("users", crosskey.eq("id", value)) == ALL
    assert shards_for("users", crosskey.in_("id", [user_on(1), value])) == ALL


def test_one_copy_of_a_reference_table_is_asked() -> None:
    asked = [shards_for("countries", crosskey.eq("name", "x"), copy=turn) for turn in range(4)]
    assert asked == [(0,), (1,), (2,), (0,)]

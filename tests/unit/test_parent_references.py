"""Which parents a write references, and which of them are pinned first."""

from __future__ import annotations

import crosskey
from crosskey.catalog.slots import mint_uuid, slot_of_value
from crosskey.router.planning.parent_references import references, remember_parents, unknown_parents
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.writes import plan_delete, plan_insert, plan_update
from tests.messenger_view import SHARDS, VIEW, user_on
from tests.schema_builders import column, foreign_key, plan_of, table

USERS_KEY = "public.users(id)"
MESSAGES_KEY = "public.messages(id)"


def test_each_parent_is_named_once_for_each_cross_shard_key_and_shard() -> None:
    plan = plan_insert(
        VIEW,
        crosskey.insert(
            "messages",
            [
                {"sender_id": user_on(0), "receiver_id": user_on(1)},
                {"sender_id": user_on(0), "receiver_id": user_on(1)},
                {"sender_id": user_on(2), "receiver_id": user_on(1)},
                {"sender_id": user_on(2), "receiver_id": None},
                {"sender_id": user_on(2)},
            ],
        ),
    )
    named = [(one.key.foreign_key.name, one.shard, one.parents) for one in references(VIEW, plan)]
    assert named == [
        ("messages_receiver_id_fkey", 0, [(user_on(1),)]),
        ("messages_receiver_id_fkey", 2, [(user_on(1),)]),
    ]


def test_a_local_key_is_no_reference_over_shards() -> None:
    plan = plan_insert(VIEW, crosskey.insert("users", {"id": user_on(0), "country": "FR"}))
    assert references(VIEW, plan) == []


def test_an_update_references_what_it_sets_and_a_delete_nothing() -> None:
    update = plan_update(VIEW, crosskey.update("users", {"invited_by": user_on(2)}, key={"id": user_on(0)}))
    assert [(one.shard, one.parents) for one in references(VIEW, update)] == [(0, [(user_on(2),)])]
    assert references(VIEW, plan_delete(VIEW, crosskey.delete("users", key={"id": user_on(0)}))) == []


def test_rows_of_a_reference_table_reference_their_parents_from_every_shard() -> None:
    plan = plan_insert(VIEW, crosskey.insert("favourites", {"place": 1, "user_id": user_on(1)}))
    assert [one.shard for one in references(VIEW, plan)] == [0, 1, 2]


def test_unknown_parents_are_grouped_by_their_shard_over_all_keys_and_plans() -> None:
    message = str(mint_uuid(slot_of_value("uuid", user_on(2))))
    row = {"sender_id": user_on(0), "receiver_id": user_on(1), "reply_to": message}
    plans = [
        plan_insert(VIEW, crosskey.insert("messages", row)),
        plan_insert(VIEW, crosskey.insert("follows", {"follower_id": user_on(0), "followee_id": user_on(1, 1)})),
    ]
    found = unknown_parents(VIEW, ShadowHints(), plans)
    assert [(one.referenced_key.id, one.parent_shard, one.child_shard, one.parents) for one in found] == [
        (USERS_KEY, 1, 0, [(user_on(1),), (user_on(1, 1),)]),
        (MESSAGES_KEY, 2, 0, [(message,)]),
    ]


def test_what_was_learned_is_not_unknown_any_more() -> None:
    hints = ShadowHints()
    plan = plan_insert(VIEW, crosskey.insert("follows", {"follower_id": user_on(0), "followee_id": user_on(1)}))
    remember_parents(VIEW, hints, [plan])
    assert unknown_parents(VIEW, hints, [plan]) == []


def test_an_unusual_spelling_is_made_canonical_and_learned_as_it_is() -> None:
    hints = ShadowHints()
    shouted = user_on(1, 10).upper()
    plan = plan_insert(VIEW, crosskey.insert("follows", {"follower_id": user_on(0), "followee_id": shouted}))
    assert unknown_parents(VIEW, hints, [plan])[0].parents == [(shouted.lower(),)]
    remember_parents(VIEW, hints, [plan])
    assert unknown_parents(VIEW, hints, [plan]) == []


def test_values_that_cannot_be_keys_are_left_to_postgresql() -> None:
    for value in ("no uuid", True, 1.5, ["x"], {"a": 1}):
        plan = plan_insert(VIEW, crosskey.insert("follows", {"follower_id": user_on(0), "followee_id": value}))
        assert unknown_parents(VIEW, ShadowHints(), [plan]) == []


def test_a_composite_key_is_placed_by_its_locator() -> None:
    rooms = table("rooms", "@shard_by house", column("floor", "text"), column("house"), key=("floor", "house"))
    beds = table("beds", "@shard_by id", column("id"), column("floor", "text"), column("house"))
    view = SchemaView(plan_of(rooms, beds, foreign_key("beds", "floor house", "rooms", "floor house")), SHARDS, "")
    row = {"id": 1, "floor": "first", "house": "7"}
    plan = plan_insert(view, crosskey.insert("beds", row))
    (found,) = unknown_parents(view, ShadowHints(), [plan])
    house = view.table("rooms").table.column("house")
    assert house is not None
    assert (found.parent_shard, found.parents) == (view.shard_of_value(house, 7), [("first", "7")])


def test_a_key_with_a_column_whose_equal_values_have_several_texts_is_left_to_the_node() -> None:
    prices = table("prices", "@shard_by shop", column("shop"), column("amount", "numeric"), key=("shop", "amount"))
    sales = table("sales", "@shard_by id", column("id"), column("shop"), column("amount", "numeric"))
    view = SchemaView(plan_of(prices, sales, foreign_key("sales", "shop amount", "prices", "shop amount")), SHARDS, "")
    plan = plan_insert(view, crosskey.insert("sales", {"id": 1, "shop": 2, "amount": "1.0"}))
    assert unknown_parents(view, ShadowHints(), [plan]) == []

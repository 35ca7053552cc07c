"""Which keys a delete or a change of a key sets off."""

from __future__ import annotations

from crosskey.catalog.model import ForeignKey, Table, TableName
from crosskey.router.planning.acting_keys import Change, acting_keys
from tests.messenger_view import VIEW
from tests.schema_builders import column, foreign_key, plan_of, table


def set_off(change: Change, *parts: Table | ForeignKey) -> list[tuple[str, str]]:
    keys = plan_of(*parts).keys if parts else VIEW.plan.keys
    return [(acting.key.foreign_key.name, acting.action) for acting in acting_keys(keys, change)]


def test_a_delete_sets_off_the_keys_that_reference_the_table_and_those_behind_cascades() -> None:
    assert set_off(Change(TableName("public", "users"))) == [
        ("favourites_user_id_fkey", "SET DEFAULT"),
        ("follows_followee_id_fkey", "NO ACTION"),
        ("follows_follower_id_fkey", "CASCADE"),
        ("messages_receiver_id_fkey", "CASCADE"),
        ("messages_sender_id_fkey", "CASCADE"),
        ("users_invited_by_fkey", "SET NULL"),
        ("messages_reply_to_fkey", "CASCADE"),
    ]


def test_restrict_goes_no_further() -> None:
    assert set_off(Change(TableName("public", "countries"))) == [("users_country_fkey", "RESTRICT")]


def test_a_change_of_other_columns_sets_off_nothing() -> None:
    assert set_off(Change(TableName("public", "users"), frozenset({"name"}))) == []


A = table("a", "@reference", column("code", "text"), key=("code",))
B = table("b", "@reference", column("a", "text"), column("kind", "text"), key=("a",))
C = table("c", "@reference", column("b", "text"), key=("b",))
B_TO_A = foreign_key("b", "a", "a", "code", on_update="CASCADE", on_delete="SET NULL")
C_TO_B = foreign_key("c", "b", "b", "a", on_update="RESTRICT", on_delete="CASCADE")


def test_a_changed_key_is_followed_through_cascades() -> None:
    assert set_off(Change(TableName("public", "a"), frozenset({"code"})), A, B, C, B_TO_A, C_TO_B) == [
        ("b_a_fkey", "CASCADE"),
        ("c_b_fkey", "RESTRICT"),
    ]


def test_set_null_is_a_change_of_the_child() -> None:
    assert set_off(Change(TableName("public", "a")), A, B, C, B_TO_A, C_TO_B) == [
        ("b_a_fkey", "SET NULL"),
        ("c_b_fkey", "RESTRICT"),
    ]


def test_a_cycle_ends() -> None:
    tree = table("tree", "@reference", column("id"), column("above", not_null=False))
    key = foreign_key("tree", "above", "tree", on_delete="CASCADE")
    assert set_off(Change(TableName("public", "tree")), tree, key) == [("tree_above_fkey", "CASCADE")]

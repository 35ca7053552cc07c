"""The data of the demo."""

from collections import Counter

from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.cli.demo.les_miserables import Characters, Row, user_id


def rows() -> dict[str, list[Row]]:
    return Characters().rows()


def test_the_graph_has_its_known_size() -> None:
    assert {table: len(found) for table, found in rows().items()} == {
        "languages": 1,
        "users": 77,
        "accounts": 77,
        "users_accounts": 77,
        "profiles": 77,
        "follows": 2 * 254,
        "messages": 77,
    }


def test_follows_go_in_both_directions_with_one_weight() -> None:
    weights = {(row["follower_id"], row["followee_id"]): row["weight"] for row in rows()["follows"]}
    assert weights[user_id("Valjean"), user_id("Cosette")] == 31
    assert all(weights[followee, follower] == weight for (follower, followee), weight in weights.items())


def test_every_row_names_users_that_exist() -> None:
    users = {row["id"] for row in rows()["users"]}
    named = {
        row[column]
        for table in ("users_accounts", "profiles", "follows", "messages")
        for row in rows()[table]
        for column in ("user_id", "follower_id", "followee_id", "recipient_id", "sender_id")
        if column in row
    }
    assert named == users


def test_no_two_accounts_share_a_username_or_address() -> None:
    for column in ("id", "username", "email"):
        assert len({row[column] for row in rows()["accounts"]}) == 77


def test_users_spread_over_the_shards() -> None:
    shards = Counter(shard_of_slot(slot_of_value("uuid", row["id"]), 3) for row in rows()["users"])
    assert shards == {0: 25, 1: 25, 2: 27}

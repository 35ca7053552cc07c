"""Rows whose shard only the claims of their parents tell: what is asked, and where rows go."""

import pytest

import crosskey
from crosskey import errors
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.router.planning.anchors import anchor_keys, anchors_of_insert, anchors_of_transaction, key_of
from crosskey.router.planning.generated_values import GeneratedValues
from crosskey.router.planning.loads import anchors_of_lines, plan_load
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.transactions import all_writes, plan_transact
from crosskey.router.planning.writes import plan_insert
from crosskey.v1 import router_pb2
from tests.schema_builders import USERS, column, foreign_key, plan_of, table

SHARDS = 3
CLAIM = "public.media_pkey"
VIEW = SchemaView(
    plan_of(
        USERS,
        table("media", "@shard_by owner", column("id"), column("owner")),
        table("comments", "@shard_with media", column("id"), column("media", "integer")),
        foreign_key("comments", "media", "media"),
    ),
    SHARDS,
    "fingerprint",
)
COMMENTS = VIEW.table("comments")


def shard_of(number: int) -> int:
    """The shard of an integer's slot."""
    return shard_of_slot(slot_of_value("int8", number), SHARDS)


def elsewhere(number: int) -> int:
    """Another one."""
    return (shard_of(number) + 1) % SHARDS


def test_each_parent_is_asked_for_once_in_canonical_text() -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "media": 7},
        {"id": 2, "media": "07"},
        {"id": 3, "media": 8},
        {"id": 4},
        {"id": 5, "media": None},
    ]
    parents = anchors_of_insert(VIEW, crosskey.insert("comments", rows), GeneratedValues({"media": [9]}))
    assert [(parent.claim.id, parent.columns, parent.claim_shard) for parent in parents] == [
        (CLAIM, {"id": f"{number}"}, shard_of(number)) for number in (7, 8, 9)
    ]


@pytest.mark.parametrize("value", ["seven", 2**40, [7]])
def test_what_names_no_parent_is_not_asked_for(value: object) -> None:
    assert anchors_of_insert(VIEW, crosskey.insert("comments", {"id": 1, "media": value})) == []


@pytest.mark.parametrize("name", ["users", "media", "nothing"])
def test_other_tables_ask_for_nothing(name: str) -> None:
    assert anchors_of_insert(VIEW, crosskey.insert(name, {"id": 1, "owner": 2, "media": 3})) == []


def test_a_row_goes_to_its_parent_or_to_where_that_would_be_claimed() -> None:
    rows = [{"id": n, "media": media} for n, media in enumerate([7, 8, "7"])]
    plan = plan_insert(VIEW, crosskey.insert("comments", rows), anchor_shards={(CLAIM, "7"): elsewhere(7)})
    shards = {position: part.shard for part in plan.parts for position in part.positions}
    assert shards == {0: elsewhere(7), 1: shard_of(8), 2: elsewhere(7)}


def test_a_row_without_a_parent() -> None:
    with pytest.raises(errors.ShardKeyMissing):
        plan_insert(VIEW, crosskey.insert("comments", {"id": 1}), anchor_shards={(CLAIM, "7"): 1})


def test_a_parent_of_the_same_transaction() -> None:
    owner = next(number for number in range(100) if shard_of(number) != shard_of(7))
    media = router_pb2.Statement(insert=crosskey.insert("media", {"id": 7, "owner": owner}))
    comment = router_pb2.Statement(insert=crosskey.insert("comments", {"id": 1, "media": 7}))
    group = router_pb2.Statement(group=router_pb2.Group(statements=[comment]))
    request = router_pb2.TransactRequest(statements=[media, group])
    assert [key_of(parent) for parent in anchors_of_transaction(VIEW, request.statements, {})] == [(CLAIM, "7")]
    first, second = all_writes(plan_transact(VIEW, request))
    assert first.shards == second.shards == [shard_of(owner)]
    assert anchor_keys(VIEW, first.table, first.parts[0].rows) == [(CLAIM, "7")]


def test_lines_to_load() -> None:
    lines = [b"1\t7", b"2\t8", b"3\t\\N", b"4\tx"]
    parents = anchors_of_lines(VIEW, COMMENTS, ["id", "media"], lines, ())
    assert [key_of(parent) for parent in parents] == [(CLAIM, "7"), (CLAIM, "8")]
    anchor_shards = {(CLAIM, "7"): elsewhere(7)}
    parts = plan_load(VIEW, COMMENTS, ["id", "media"], lines[:2], (), anchor_shards)
    assert {place: part.shard for part in parts for place in part.places} == {0: elsewhere(7), 1: shard_of(8)}

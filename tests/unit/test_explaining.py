"""What Explain says: the shards, keys and RPCs of every kind of request."""

from __future__ import annotations

import itertools

import pytest

import crosskey
from crosskey import errors, requests
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.router import explaining
from crosskey.router.planning import include_notes
from crosskey.router.planning.parent_references import remember_parents
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.writes import plan_insert
from crosskey.v1 import router_pb2
from tests.messenger_view import VIEW, user_on


def explain(request: requests.Request, hints: ShadowHints | None = None) -> router_pb2.ExplainResponse:
    return explaining.explain(VIEW, hints or ShadowHints(), requests.explanation(request))


def note_on(explanation: router_pb2.ExplainResponse, constraint: str) -> str:
    (note,) = [key.note for key in explanation.keys if key.constraint == constraint]
    return note


FOLLOW = crosskey.insert("follows", {"follower_id": user_on(0), "followee_id": user_on(1)})


def test_an_insert_without_cross_shard_parents_is_one_rpc_and_nothing_more() -> None:
    explanation = explain(crosskey.insert("accounts", {"id": 1}))
    (shard,) = explanation.shards
    assert list(explanation.rpcs) == [f"s{shard} ShardNode.Run"]
    assert not explanation.keys
    assert not explanation.notes


def test_a_first_reference_pins_the_parent_before_and_finishes_after() -> None:
    explanation = explain(FOLLOW)
    assert list(explanation.shards) == [0, 1]
    assert list(explanation.rpcs) == ["s1 ShardNode.Run", "s0 ShardNode.Run", "s1 ShardNode.FinishPrepared"]
    assert list(explanation.notes) == [
        explaining.AFTER_ANSWER_NOTE,
        explaining.FORGET_NOTE.format(home=0),
        explaining.NEW_PARENT_NOTE,
    ]
    assert [(key.constraint, key.table, key.parent, key.kind) for key in explanation.keys] == [
        ("follows_followee_id_fkey", "follows", "users", "cross-shard"),
        ("follows_follower_id_fkey", "follows", "users", "local"),
    ]
    assert note_on(explanation, "follows_followee_id_fkey") == (
        "PostgreSQL checks it against shadows on s0; of 1 needed, 1 not seen before:"
        " their parents are pinned on their own shards."
    )
    assert note_on(explanation, "follows_follower_id_fkey") == "PostgreSQL checks it on the row's own shard."


def test_a_later_reference_is_one_rpc() -> None:
    hints = ShadowHints()
    remember_parents(VIEW, hints, [plan_insert(VIEW, FOLLOW)])
    explanation = explain(FOLLOW, hints)
    assert list(explanation.shards) == [0]
    assert list(explanation.rpcs) == ["s0 ShardNode.Run"]
    assert list(explanation.notes) == [explaining.NEW_PARENT_NOTE]
    assert note_on(explanation, "follows_followee_id_fkey") == (
        "PostgreSQL checks it against shadows on s0, all seen before: no other shard is asked."
    )


def test_a_first_reference_on_the_childs_own_shard_is_one_rpc() -> None:
    explanation = explain(crosskey.insert("follows", {"follower_id": user_on(2), "followee_id": user_on(2, 1)}))
    assert list(explanation.rpcs) == ["s2 ShardNode.Run"]


def test_a_null_references_nothing() -> None:
    explanation = explain(crosskey.insert("messages", {"sender_id": user_on(0)}))
    assert note_on(explanation, "messages_receiver_id_fkey") == (
        "The request names no parent: there is nothing to check."
    )
    assert not explanation.notes


def test_rows_on_several_shards_are_a_distributed_transaction_whose_home_is_the_first_row() -> None:
    explanation = explain(crosskey.insert("users", [{"id": user_on(2)}, {"id": user_on(0)}]))
    assert list(explanation.shards) == [0, 2]
    assert list(explanation.rpcs) == [
        "s0 ShardNode.Run",
        "s2 ShardNode.Run",
        "s0 ShardNode.FinishPrepared",
    ]
    assert list(explanation.notes) == [explaining.FORGET_NOTE.format(home=2)]


def test_a_reference_table_is_written_on_all_shards() -> None:
    explanation = explain(crosskey.insert("favourites", {"place": 1, "user_id": user_on(1)}))
    assert list(explanation.shards) == [0, 1, 2]
    assert [rpc.split(".")[1] for rpc in explanation.rpcs] == ["Run"] * 3 + ["FinishPrepared"] * 2
    assert explaining.MORE_PARTICIPANTS_NOTE in explanation.notes


def test_a_delete_tells_what_every_key_does() -> None:
    explanation = explain(crosskey.delete("users", key={"id": user_on(1)}))
    assert list(explanation.rpcs) == ["s1 ShardNode.Run"]
    assert list(explanation.notes) == [explaining.PINNED_NOTE]
    everywhere = "on every shard that holds a pin for it"
    refused = 'Refused if a row of "follows" has a parent that is deleted'
    assert {key.constraint: key.note for key in explanation.keys} == {
        "favourites_user_id_fkey": (
            f'Rows of "favourites" whose parent is deleted have the key set to its default, {everywhere}.'
        ),
        "follows_followee_id_fkey": f"{refused}; looked for {everywhere}.",
        "follows_follower_id_fkey": 'Rows of "follows" whose parent is deleted are deleted too, on the same shard.',
        "messages_receiver_id_fkey": f'Rows of "messages" whose parent is deleted are deleted too, {everywhere}.',
        "messages_sender_id_fkey": 'Rows of "messages" whose parent is deleted are deleted too, on the same shard.',
        "users_invited_by_fkey": f'Rows of "users" whose parent is deleted have the key set to NULL, {everywhere}.',
        "messages_reply_to_fkey": f'Rows of "messages" whose parent is deleted are deleted too, {everywhere}.',
    }


def test_a_delete_that_no_cross_shard_key_follows_has_nothing_on_top() -> None:
    explanation = explain(crosskey.delete("follows", key={"follower_id": user_on(1), "followee_id": user_on(0)}))
    assert list(explanation.rpcs) == ["s1 ShardNode.Run"]
    assert not explanation.notes


def test_an_update_checks_only_the_keys_whose_columns_it_sets() -> None:
    key = {"id": user_on(0)}
    assert not explain(crosskey.update("users", {"name": "x"}, key=key)).keys
    explanation = explain(crosskey.update("users", {"invited_by": user_on(1)}, key=key))
    assert [key.constraint for key in explanation.keys] == ["users_invited_by_fkey"]
    assert list(explanation.shards) == [0, 1]


def test_an_update_of_a_referenced_key_tells_what_happens_to_its_children() -> None:
    explanation = explain(crosskey.update("countries", {"code": "FX"}, key={"code": "FR"}))
    assert note_on(explanation, "users_country_fkey") == (
        'Refused if a row of "users" has a parent that gets another key; looked for on the same shard.'
    )


def test_a_transaction_on_one_shard_is_one_rpc() -> None:
    user = user_on(1)
    writes: list[requests.Write] = [
        crosskey.insert("users", {"id": user}),
        crosskey.update("users", {"name": "x"}, key={"id": user}),
    ]
    assert list(explain(crosskey.transaction(writes)).rpcs) == ["s1 ShardNode.Run"]


def test_a_key_that_a_transaction_uses_twice_is_told_once() -> None:
    explanation = explain(crosskey.transaction([FOLLOW, FOLLOW]))
    assert len(explanation.keys) == 2


def test_reads_by_key_go_to_one_shard_and_others_to_all() -> None:
    assert list(explain(crosskey.get("users", {"id": user_on(1)})).rpcs) == ["s1 ShardNode.Read"]
    assert list(explain(crosskey.count("users")).rpcs) == [f"s{shard} ShardNode.CountRows" for shard in range(3)]


def test_groups_and_constraint_modes_are_coordinated_also_on_one_shard() -> None:
    insert = crosskey.insert("users", {"id": user_on(1)})
    explanation = explain(crosskey.transaction([crosskey.set_constraints(deferred=True), crosskey.group([insert])]))
    assert list(explanation.shards) == [1]
    assert list(explanation.rpcs) == ["s1 ShardNode.Run"]
    assert explaining.MODES_NOTE in explanation.notes
    assert explaining.GROUPS_NOTE in explanation.notes


def test_the_statement_that_would_be_refused_is_named() -> None:
    wrong = crosskey.group([crosskey.insert("users", {"nmae": "x"})])
    with pytest.raises(errors.UnknownColumn) as caught:
        explain(crosskey.transaction([crosskey.insert("users", {"id": user_on(1)}), wrong]))
    assert caught.value.metadata["statement"] == "1.0"


def test_a_list_over_several_shards_is_sorted_by_postgresql_where_only_it_can() -> None:
    reads = [f"s{shard} ShardNode.Read" for shard in range(3)]
    assert list(explain(crosskey.list_rows("users")).rpcs) == reads
    explanation = explain(crosskey.list_rows("users", order_by="name"))
    assert list(explanation.rpcs) == [*reads, "s0 ShardNode.Sort"]
    assert list(explanation.notes) == [explaining.SORT_NOTE]
    one_shard = crosskey.list_rows("users", where={"id": user_on(2)}, order_by="name")
    assert list(explain(one_shard).rpcs) == ["s2 ShardNode.Read"]


def test_a_reference_table_is_read_from_any_copy() -> None:
    for request in (crosskey.get("countries", {"code": "FR"}), crosskey.list_rows("countries")):
        explanation = explain(request)
        assert list(explanation.rpcs) == ["s0 ShardNode.Read"]
        assert list(explanation.notes) == [explaining.COPIES_NOTE]


def test_no_request_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="there is no request to explain"):
        explaining.explain(VIEW, ShadowHints(), router_pb2.ExplainRequest())


def test_a_request_that_would_be_refused_is_refused_here_too() -> None:
    with pytest.raises(errors.ShardKeyMissing):
        explain(crosskey.insert("messages", {"body": "x"}))


def account_on(shard: int) -> int:
    return next(number for number in itertools.count() if shard_of_slot(slot_of_value("int8", number), 3) == shard)


def test_an_update_that_moves_a_row_is_distributed() -> None:
    explanation = explain(crosskey.update("accounts", {"id": account_on(2)}, key={"id": account_on(1)}))
    assert (explanation.route, list(explanation.shards)) == ("distributed", [1, 2])
    assert list(explanation.rpcs) == ["s1 ShardNode.Run", "s2 ShardNode.Run", "s2 ShardNode.FinishPrepared"]


def test_an_update_with_a_shard_key_of_the_same_shard_is_local() -> None:
    explanation = explain(crosskey.update("accounts", {"id": account_on(1)}, key={"id": account_on(1)}))
    assert (explanation.route, list(explanation.shards), list(explanation.notes)) == ("local", [1], [])


def test_a_computed_shard_key_tells_no_shard() -> None:
    explanation = explain(crosskey.update("accounts", {"id": crosskey.column("id") + 1}, key={"id": account_on(1)}))
    assert (explanation.route, list(explanation.shards)) == ("local", [1])
    assert list(explanation.notes) == [explaining.MOVING_NOTE.format("id")]


def test_an_include_names_the_calls_of_each_step() -> None:
    include = {"sender": {"include": ["countries"]}, "receiver": {"include": ["followee"]}}
    explanation = explain(crosskey.get("messages", {"id": user_on(0)}, include=include))
    assert list(explanation.rpcs) == ["s0 ShardNode.Read"]
    each = "then ShardNode.ReadLinked, one call to each"
    assert list(explanation.notes) == [
        f'"sender": {each} of the same shards, as messages_sender_id_fkey is local.',
        f'"sender.countries": {each} of the same shards, which have all of countries.',
        f'"receiver": {each} shard that has such rows of users, as receiver_id tells.',
        f'"receiver.followee", its join table: {each} of the same shards, as follows_follower_id_fkey is local.',
        f'"receiver.followee": {each} shard that has such rows of users, as followee_id tells.',
        include_notes.WHOLE_NOTE,
    ]


def test_an_include_of_children_names_the_shards_with_pins() -> None:
    explanation = explain(crosskey.get("users", {"id": user_on(0)}, include=["favourites", "follower"]))
    each = "then ShardNode.ReadLinked, one call to each"
    assert list(explanation.notes) == [
        f'"favourites": {each} of the same shards, which have all of favourites.',
        (
            f'"follower", its join table: {each} shard that holds a pin on one of these rows of users, as they answer'
            " themselves."
        ),
        f'"follower": {each} of the same shards, as follows_follower_id_fkey is local.',
        include_notes.WHOLE_NOTE,
    ]


def test_a_condition_over_a_relation_is_looked_up_first() -> None:
    condition = crosskey.any_of(crosskey.some("sender", {"name": "x"}), {"body": "y"})
    [note] = explain(crosskey.count("messages", [condition])).notes
    assert note.startswith('First ShardNode.ReadKeys, for the rows that the condition on "sender" is about')


def test_an_aggregate_of_several_shards_is_put_together_by_the_first() -> None:
    explanation = explain(crosskey.aggregate("accounts", {"total": ("sum", "balance")}))
    assert list(explanation.rpcs) == [f"s{shard} ShardNode.Aggregate" for shard in (0, 1, 2, 0)]
    assert list(explanation.notes) == [explaining.TOGETHER_NOTE]
    explanation = explain(crosskey.aggregate("accounts", {"total": ("sum", "balance")}, where={"id": 1}))
    assert len(explanation.rpcs) == 1
    assert not explanation.notes

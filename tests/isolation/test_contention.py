"""Several sessions want the same parent or the same key."""

import pytest

from crosskey import column, delete, insert, update
from tests.isolation.families import DEFAULT_PARENT
from tests.isolation.script import Session
from tests.isolation.stage import Stage

FAR = 2
"""The shard of gates at which a session waits with a transaction over several shards."""


@pytest.fixture(params=[0, 1], ids=["together", "apart"])
def child_shard(request: pytest.FixtureRequest) -> int:
    """The shard of children whose parents live on shard 0."""
    shard: int = request.param
    return shard


@pytest.fixture(params=[0, FAR], ids=["one shard", "two shards"])
def gate_shard(request: pytest.FixtureRequest) -> int:
    """Where a session waits that writes to shard 0."""
    shard: int = request.param
    return shard


@pytest.fixture
def parent(stage: Stage) -> int:
    """A new parent on shard 0."""
    number = stage.pair.number(0)
    stage.pair.insert("parents", {"id": number, "name": f"name of {number}"})
    return number


def child_of(stage: Stage, parent: int, shard: int) -> dict[str, int]:
    """A child to insert."""
    return {"id": stage.pair.number(shard), "parent": parent}


def test_two_first_references_from_different_shards(stage: Stage, parent: int) -> None:
    gate = stage.gate(1)
    stage.play(
        Session("first", insert("cascade", child_of(stage, parent, 1)), gate),
        Session("second", insert("cascade", child_of(stage, parent, 2))),
        gate,
    )


def test_later_references_do_not_wait_for_each_other(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(child_shard)
    stage.play(
        Session("first", insert("cascade", child_of(stage, parent, child_shard)), gate),
        Session("second", insert("cascade", child_of(stage, parent, child_shard))),
        gate,
    )


def test_a_reference_does_not_wait_for_other_columns_of_its_parent(stage: Stage, parent: int, child_shard: int) -> None:
    gate = stage.gate(0)
    stage.play(
        Session("parent", update("parents", {"name": "changed"}, key={"id": parent}), gate),
        Session("child", insert("cascade", child_of(stage, parent, child_shard))),
        gate,
    )


def test_other_columns_of_a_parent_do_not_wait_for_a_reference(stage: Stage, parent: int, child_shard: int) -> None:
    gate = stage.gate(child_shard)
    stage.play(
        Session("child", insert("cascade", child_of(stage, parent, child_shard)), gate),
        Session("parent", update("parents", {"name": "changed"}, key={"id": parent})),
        gate,
    )


def test_three_sessions_add_to_one_row(stage: Stage, parent: int, gate_shard: int) -> None:
    add = update("parents", {"value": column("value") + 1}, key={"id": parent})
    gates = stage.gate(gate_shard), stage.gate(gate_shard)
    stage.play(Session("a", add, gates[0]), Session("b", add, gates[1]), gates[0], Session("c", add), gates[1])


@pytest.mark.parametrize("children", ["cascade", "set_null", "no_action"])
def test_two_deletes_of_one_parent(stage: Stage, parent: int, child_shard: int, children: str) -> None:
    stage.pair.insert(children, child_of(stage, parent, child_shard))
    deletion = [delete(children, where={"parent": parent})] if children == "no_action" else []
    deletion.append(delete("parents", key={"id": parent}))
    gate = stage.gate(0)
    stage.play(Session("first", *deletion, gate), Session("second", *deletion), gate)


@pytest.mark.parametrize("commits", [True, False])
def test_one_key_is_inserted_twice(stage: Stage, gate_shard: int, commits: bool) -> None:
    row = {"id": stage.pair.number(0)}
    refused = [] if commits else [insert("parents", {"id": 0, "value": -1})]
    gate = stage.gate(gate_shard)
    stage.play(
        Session("first", insert("parents", row), gate, *refused), Session("second", insert("parents", row)), gate
    )


def test_a_parent_is_inserted_and_a_child_does_not_wait_for_it(stage: Stage, child_shard: int) -> None:
    parent = stage.pair.number(0)
    gate = stage.gate(0)
    stage.play(
        Session("parent", insert("parents", {"id": parent}), gate),
        Session("child", insert("cascade", child_of(stage, parent, child_shard))),
        gate,
    )


def test_a_key_is_deleted_and_inserted_by_another(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(FAR)
    stage.play(
        Session("delete", delete("parents", key={"id": parent}), gate),
        Session("insert", insert("parents", {"id": parent}), insert("cascade", child_of(stage, parent, child_shard))),
        gate,
    )


@pytest.mark.parametrize("referenced", [True, False])
def test_a_key_is_deleted_and_reinserted_and_deleted(
    stage: Stage, parent: int, child_shard: int, referenced: bool
) -> None:
    if referenced:
        stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(FAR)
    stage.play(
        Session("again", delete("parents", key={"id": parent}), insert("parents", {"id": parent}), gate),
        Session("delete", delete("parents", key={"id": parent})),
        gate,
    )


@pytest.mark.parametrize("children", ["no_action", "restrict", "cascade"])
def test_the_last_child_goes_and_then_its_parent(stage: Stage, parent: int, child_shard: int, children: str) -> None:
    child = child_of(stage, parent, child_shard)
    stage.pair.insert(children, child)
    gate = stage.gate(child_shard)
    stage.play(
        Session("child", delete(children, key={"id": child["id"]}), gate),
        Session("parent", delete("parents", key={"id": parent})),
        gate,
    )


def test_two_new_keys_for_one_parent(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(FAR)
    stage.play(
        Session("stays", update("parents", {"id": stage.pair.number(0)}, key={"id": parent}), gate),
        Session("moves", update("parents", {"id": stage.pair.number(1)}, key={"id": parent})),
        gate,
    )


def test_two_parents_get_one_key(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    other, wanted = stage.pair.number(0), stage.pair.number(1)
    stage.pair.insert("parents", {"id": other})
    gate = stage.gate(FAR)
    stage.play(
        Session("first", update("parents", {"id": wanted}, key={"id": parent}), gate),
        Session("second", update("parents", {"id": wanted}, key={"id": other})),
        gate,
    )


def test_a_child_beside_its_parent_and_a_parent_that_moves(stage: Stage, parent: int) -> None:
    gate = stage.gate(0)
    stage.play(
        Session("companion", insert("companions", {"id": parent}), gate),
        Session("parent", update("parents", {"id": stage.pair.number(1)}, key={"id": parent})),
        gate,
    )


def test_a_parent_that_moves_and_a_child_beside_it(stage: Stage, parent: int) -> None:
    new_key = stage.pair.number(1)
    gate = stage.gate(FAR)
    stage.play(
        Session("parent", update("parents", {"id": new_key}, key={"id": parent}), gate),
        Session("beside the old key", insert("companions", {"id": parent})),
        Session("beside the new key", insert("companions", {"id": new_key})),
        gate,
    )


@pytest.mark.parametrize(("new_shard", "by"), [(0, "key"), (1, "key"), (0, "name")])
def test_an_update_waits_for_a_parent_that_gets_another_key(stage: Stage, parent: int, new_shard: int, by: str) -> None:
    where = {"id": parent} if by == "key" else {"name": f"name of {parent}"}
    gate = stage.gate(FAR)
    stage.play(
        Session("re-key", update("parents", {"id": stage.pair.number(new_shard)}, key={"id": parent}), gate),
        Session("update", update("parents", {"value": 7}, where=where)),
        gate,
    )


def test_a_delete_waits_for_one_child_and_a_new_child_for_the_delete(stage: Stage, parent: int) -> None:
    child = child_of(stage, parent, 1)
    stage.pair.insert("cascade", child, child_of(stage, parent, 2))
    gate = stage.gate(1)
    stage.play(
        Session("child", update("cascade", {"value": 1}, key={"id": child["id"]}), gate),
        Session("delete", delete("parents", key={"id": parent})),
        Session("new child", insert("cascade", child_of(stage, parent, 2))),
        gate,
    )


def test_rows_on_all_shards_are_selected_by_what_another_changes(stage: Stage) -> None:
    name = f"wanted {stage.pair.number(0)}"
    stage.pair.insert("parents", *[{"id": stage.pair.number(shard), "name": name} for shard in (0, 1, 2)])
    gate = stage.gate(FAR)
    stage.play(
        Session("takes them", update("parents", {"name": "taken"}, where={"name": name}), gate),
        Session("deletes them", delete("parents", where={"name": name})),
        Session("takes them too", update("parents", {"name": "taken"}, where={"name": name})),
        gate,
    )


def test_a_child_gets_a_default_parent_that_is_then_deleted(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.delete("set_default", where={"parent": DEFAULT_PARENT})
    stage.pair.insert("set_default", child_of(stage, parent, child_shard))
    gate = stage.gate(0)
    stage.play(
        Session("parent", delete("parents", key={"id": parent}), gate),
        Session("default", delete("parents", key={"id": DEFAULT_PARENT})),
        gate,
    )


def test_a_default_parent_is_deleted_in_vain_when_a_child_gets_it(stage: Stage, parent: int, child_shard: int) -> None:
    stage.pair.insert("set_default", child_of(stage, parent, child_shard))
    gate = stage.gate(FAR)
    deletion = (
        delete("set_default", where={"parent": DEFAULT_PARENT}),
        delete("parents", key={"id": DEFAULT_PARENT}),
    )
    stage.play(
        Session("default", *deletion, gate, insert("parents", {"id": 0, "value": -1})),
        Session("parent", delete("parents", key={"id": parent})),
        gate,
    )


def test_a_deferred_child_of_a_referenced_parent_is_inserted_and_the_parent_deleted(
    stage: Stage, parent: int, child_shard: int
) -> None:
    stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(child_shard)
    stage.play(
        Session("child", insert("deferred", child_of(stage, parent, child_shard)), gate),
        Session("parent", delete("parents", key={"id": parent})),
        gate,
    )


def test_a_parent_is_deleted_and_a_deferred_child_inserted(stage: Stage, parent: int, child_shard: int) -> None:
    gate = stage.gate(0)
    stage.play(
        Session("parent", delete("parents", key={"id": parent}), gate),
        Session("child", insert("deferred", child_of(stage, parent, child_shard))),
        gate,
    )

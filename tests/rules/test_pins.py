"""Pins and shadows under chosen interleavings: what is locked when, and who sees what."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import grpc
import msgspec
import psycopg
import pytest

from crosskey import errors, requests
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.v1.router_pb2 import LoadRequest
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.eventually import eventually
from tests.hand_coordinator import (
    CHECK,
    add_shadows,
    apply,
    commit,
    delete,
    effects_by_shard,
    insert,
    load,
    pin,
    prepare,
    update,
)
from tests.hot_keys.families import DEFAULT_PARENT, Family
from tests.rules.setting import CASCADE, NO_ACTION, RESTRICT, SET_DEFAULT, SET_NULL, Child, Setting
from tests.shard_sql import as_node, as_superuser, query, wait_for_waiters

Bring: TypeAlias = Callable[..., proto.Command]

DEFERRAL = "SELECT condeferrable, condeferred FROM pg_constraint WHERE conname = 'crosskey_pinned'"


def test_a_pin_is_checked_at_once_unless_a_transaction_asks_to_wait(setting: Setting) -> None:
    assert set(query(setting.cluster, 0, DEFERRAL)) == {(True, False)}
    absent = setting.number_on(0)
    with pytest.raises(errors.ForeignKeyViolation) as refused:
        setting.child_on(1, absent)
    assert refused.value.message == (
        'insert or update on table "cascade_children" violates foreign key constraint "cascade_children_parent_fkey"'
    )
    assert refused.value.metadata["detail"] == f'Key (parent)=({absent}) is not present in table "cascade_parents".'


def test_a_parent_is_locked_when_it_is_pinned_and_not_only_at_prepare(setting: Setting) -> None:
    parent = setting.parent_on(0)
    with setting.hand.branch(0) as branch, as_superuser(setting.cluster, 0) as other:
        branch.run(pin(CASCADE.referenced_key, 1, {"id": parent}))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(f"SELECT FROM {CASCADE.parents} WHERE id = {parent} FOR UPDATE NOWAIT")


def test_a_pin_that_was_there_already_is_locked_too(setting: Setting) -> None:
    parent = setting.parent_on(0)
    setting.child_on(1, parent)
    eventually(lambda: setting.pinned_for(parent) == {1}, "the pin is committed")
    with setting.hand.branch(0) as branch, as_superuser(setting.cluster, 0) as other:
        branch.run(pin(CASCADE.referenced_key, 1, {"id": parent}))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(f"SELECT FROM {CASCADE.pins} WHERE id = {parent} FOR UPDATE NOWAIT")


def test_a_pin_committed_while_a_delete_waits_is_seen(setting: Setting, background: ThreadPoolExecutor) -> None:
    parent = setting.parent_on(0)
    with setting.hand.branch(0) as branch, as_superuser(setting.cluster, 0) as holder:
        with holder.transaction():
            holder.execute(f"SELECT FROM {CASCADE.parents} WHERE id = {parent} FOR KEY SHARE")
            deletion = background.submit(branch.run, delete(CASCADE.parents, id=parent))
            wait_for_waiters(setting.cluster, 0)
            setting.child_on(1, parent)
            eventually(lambda: setting.pinned_for(parent) == {1}, "the pin is committed")
        assert list(effects_by_shard(deletion.result())) == [1]


@pytest.mark.parametrize(("family", "left"), [(CASCADE, 0), (SET_NULL, 0), (RESTRICT, 1), (NO_ACTION, 1)])
def test_a_delete_that_waited_carries_out_its_action_on_the_new_child(
    setting: Setting, background: ThreadPoolExecutor, family: Family, left: int
) -> None:
    label = f"waited for by {family.name}"
    parent = setting.parent_on(0, family, label)
    with as_superuser(setting.cluster, 0) as holder:
        with holder.transaction():
            holder.execute(f"SELECT FROM {family.parents} WHERE id = {parent} FOR KEY SHARE")
            deletion = background.submit(setting.client.delete, family.parents, where={"label": label})
            wait_for_waiters(setting.cluster, 0)
            setting.child_on(1, parent, family)
            eventually(lambda: setting.pinned_for(parent, family) == {1}, "the pin is committed")
        if left:
            assert isinstance(deletion.exception(), errors.ForeignKeyViolation)
        else:
            assert deletion.result() == 1
    assert setting.children_of(parent, family) == left
    assert setting.parent_exists(parent, family) == bool(left)


def test_a_child_is_included_while_its_pin_is_still_prepared(setting: Setting) -> None:
    """What is committed at home is answered to its client: from then on, it must be read."""
    parent = setting.parent_on(0)
    hand, gid = setting.hand, setting.hand.gid(home=1)
    hand.execute(0, pin(CASCADE.referenced_key, 1, {"id": parent}), prepare(gid, 0))
    child = setting.child(1, parent)
    hand.execute(1, add_shadows(CASCADE.referenced_key, {"id": parent}), insert(CASCADE.children, child), commit(gid))
    try:
        assert not setting.pinned_for(parent)
        got = setting.client.get(CASCADE.parents, id=parent, include=[CASCADE.children])
        assert [one["id"] for one in got[CASCADE.children]] == [str(child["id"])]
    finally:
        hand.finish(gid, 0, commit=True)
    again = setting.client.get(CASCADE.parents, id=parent, include=[CASCADE.children])
    assert again == got


def test_a_delete_waits_for_a_shadow_whose_pin_is_seen_before_it(
    setting: Setting, background: ThreadPoolExecutor
) -> None:
    """With a third shard as home, the pin's shard may carry out the decision before the shadow's shard does."""
    parent = setting.parent_on(0)
    hand, gid = setting.hand, setting.hand.gid(home=2)
    hand.execute(0, pin(CASCADE.referenced_key, 1, {"id": parent}), prepare(gid, 0))
    shadow_and_child = (
        add_shadows(CASCADE.referenced_key, {"id": parent}),
        insert(CASCADE.children, setting.child(1, parent)),
    )
    hand.execute(1, *shadow_and_child, prepare(gid, 1))
    hand.execute(2, commit(gid))
    hand.finish(gid, 0, commit=True)
    deletion = background.submit(setting.client.delete, CASCADE.parents, key={"id": parent})
    wait_for_waiters(setting.cluster, 1)
    hand.finish(gid, 1, commit=True)
    assert deletion.result() == 1
    assert setting.children_of(parent) == 0


@pytest.mark.parametrize("family", [CASCADE, SET_NULL, SET_DEFAULT])
def test_a_parent_deleted_and_reinserted_in_one_transaction_has_lost_its_children(
    setting: Setting, family: Family
) -> None:
    parent = setting.parent_on(0, family)
    for shard in range(3):
        setting.child_on(shard, parent, family)
    new_child = setting.child(2, parent)
    setting.client.transact(
        [
            requests.delete(family.parents, key={"id": parent}),
            requests.insert(family.parents, {"id": parent}),
            requests.insert(family.children, new_child),
        ]
    )
    assert setting.client.get(family.children, place=new_child["place"], id=new_child["id"])["parent"] == str(parent)
    assert setting.children_of(parent, family) == 1
    eventually(lambda: setting.pinned_for(parent, family) == {2}, "only the new child's shard has a pin")
    assert setting.shadowed_on(parent, family) == {2}


def test_the_default_parent_is_pinned_and_shadowed_before_a_child_gets_it(setting: Setting) -> None:
    parent = setting.parent_on(1, SET_DEFAULT)
    child = setting.child_on(2, parent, SET_DEFAULT)
    assert setting.client.delete(SET_DEFAULT.parents, key={"id": parent}) == 1
    stored = setting.client.get(SET_DEFAULT.children, place=child["place"], id=child["id"])
    assert stored["parent"] == str(DEFAULT_PARENT)
    assert 2 in setting.pinned_for(DEFAULT_PARENT, SET_DEFAULT)
    assert 2 in setting.shadowed_on(DEFAULT_PARENT, SET_DEFAULT)


def test_a_delete_is_refused_where_the_default_parent_does_not_exist(setting: Setting) -> None:
    parent = setting.parent_on(1, SET_DEFAULT)
    child = setting.child_on(2, parent, SET_DEFAULT)
    setting.client.update(SET_DEFAULT.children, {"parent": None}, where={"parent": DEFAULT_PARENT})
    setting.client.delete(SET_DEFAULT.parents, key={"id": DEFAULT_PARENT})
    with pytest.raises(errors.ForeignKeyViolation) as refused:
        setting.client.delete(SET_DEFAULT.parents, key={"id": parent})
    assert refused.value.metadata["detail"] == (
        f'Key (parent)=({DEFAULT_PARENT}) is not present in table "set_default_parents".'
    )
    setting.client.insert(SET_DEFAULT.parents, {"id": DEFAULT_PARENT})
    stored = setting.client.get(SET_DEFAULT.children, place=child["place"], id=child["id"])
    assert stored["parent"] == str(parent)


@pytest.mark.parametrize("way", ["insert", "load", "update"])
def test_a_shadow_is_held_from_the_statement_that_relies_on_it_to_the_check(
    setting: Setting, background: ThreadPoolExecutor, way: str
) -> None:
    parent = setting.parent_on(0)
    child = _leave_unused_shadow(setting, parent)
    new_child = setting.child(1, parent)
    change = {
        "insert": insert(CASCADE.children, new_child),
        "load": load(CASCADE.children, new_child),
        "update": update(CASCADE.children, {"parent": parent}, id=child["id"]),
    }
    with setting.hand.branch(1) as branch:
        branch.run(change[way])
        dropping = background.submit(setting.client.drop_unused_shadows)
        wait_for_waiters(setting.cluster, 1)
        branch.run(CHECK, commit())
    dropping.result()
    assert setting.shadowed_on(parent) == {1}
    assert setting.children_of(parent) == 1


def _leave_unused_shadow(setting: Setting, parent: int) -> Child:
    """A child on shard 1 that referenced the parent and does no longer."""
    child = setting.child_on(1, parent)
    setting.client.update(CASCADE.children, {"parent": None}, key={"place": child["place"], "id": child["id"]})
    assert setting.shadowed_on(parent) == {1}
    return child


@pytest.mark.parametrize("bring", [insert, load])
def test_a_shadow_that_goes_while_new_children_wait_for_it_is_missing(
    setting: Setting, background: ThreadPoolExecutor, bring: Bring
) -> None:
    """Beside one that stays and one that never was."""
    gone, kept, new = (setting.parent_on(0) for _ in range(3))
    for parent in (gone, kept):
        _leave_unused_shadow(setting, parent)
    children = [setting.child(1, parent) for parent in (gone, kept, new)]
    with setting.hand.branch(1) as branch, as_superuser(setting.cluster, 1) as holder:
        with holder.transaction():
            holder.execute(f"DELETE FROM {CASCADE.shadows} WHERE id = {gone}")
            bringing = background.submit(branch.run, bring(CASCADE.children, *children))
            wait_for_waiters(setting.cluster, 1)
        [effect] = effects_by_shard(bringing.result())[0]
    assert {key["id"] for key in msgspec.json.decode(effect.pin_parents.keys_json)} == {gone, new}


def test_a_parent_deleted_while_its_children_are_loaded_leaves_no_orphan(
    setting: Setting, background: ThreadPoolExecutor
) -> None:
    parent = setting.parent_on(0)
    setting.child_on(1, parent)
    hand, gid, line = setting.hand, setting.hand.gid(home=0), "{place}\t{id}\t{parent}\n"
    rows = LoadRequest(
        table=CASCADE.children,
        columns=["place", "id", "parent"],
        lines=line.format(**setting.child(1, parent)).encode(),
    )
    with grpc.insecure_channel(setting.cluster.address) as channel:
        with hand.branch(0) as of_parent, hand.branch(1) as of_children:
            [deletion] = effects_by_shard(of_parent.run(delete(CASCADE.parents, id=parent)))[1]
            of_children.run(apply(deletion))
            loading = background.submit(RouterStub(channel).Load, iter([rows]))
            wait_for_waiters(setting.cluster, 1)
            of_children.run(CHECK, prepare(gid, 1))
            of_parent.run(CHECK, commit(gid))
        hand.finish(gid, 1, commit=True)
        refused = loading.exception()
    assert isinstance(refused, grpc.RpcError)
    assert isinstance(errors.from_rpc_error(refused), errors.ForeignKeyViolation)
    assert setting.children_of(parent) == 0
    assert setting.shadowed_on(parent) == setting.pinned_for(parent) == set()


def test_everybody_else_waits_for_a_prepared_pin(setting: Setting, background: ThreadPoolExecutor) -> None:
    """A delete, and another first reference from the same shard: both go on when the first reference has ended."""
    parent = setting.parent_on(0)
    hand, gid = setting.hand, setting.hand.gid(home=1)
    hand.execute(0, pin(CASCADE.referenced_key, 1, {"id": parent}), prepare(gid, 0))
    reference = background.submit(setting.child_on, 1, parent)
    wait_for_waiters(setting.cluster, 0)
    with as_node(setting.cluster, 0) as connection:
        connection.execute("SET lock_timeout = 1")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(f"DELETE FROM {CASCADE.parents} WHERE id = {parent}")
    hand.execute(1, add_shadows(CASCADE.referenced_key, {"id": parent}), CHECK, commit(gid))
    hand.finish(gid, 0, commit=True)
    assert reference.result()["parent"] == parent
    assert setting.client.delete(CASCADE.parents, key={"id": parent}) == 1
    assert setting.children_of(parent) == 0

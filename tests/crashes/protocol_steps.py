"""The distributed transactions of the protocol, one step at a time.

Each is a generator that yields after every step; closing it is the coordinator's death: its streams break off.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from crosskey.router.committing.gids import Gid
from tests.hand_coordinator import (
    CHECK,
    HandCoordinator,
    add_shadows,
    apply,
    commit,
    delete,
    effects_by_shard,
    insert,
    pin,
    prepare,
)
from tests.hot_keys.families import Family

Child = dict[str, int]

PARENT_SHARD = 1
CHILD_SHARD = 0
THIRD_SHARD = 2


def first_reference(hand: HandCoordinator, family: Family, parent: int, child: Child) -> Iterator[Gid]:
    """The rows' own shard is home; another shard pins."""
    gid, key = hand.gid(home=CHILD_SHARD), {"id": parent}
    with hand.branch(PARENT_SHARD) as pinning:
        pinning.run(pin(family.referenced_key, CHILD_SHARD, key))
        yield gid
        pinning.run(prepare(gid, PARENT_SHARD))
        yield gid
    hand.execute(CHILD_SHARD, add_shadows(family.referenced_key, key), insert(family.children, child), commit(gid))
    yield gid
    hand.finish(gid, PARENT_SHARD, commit=True)
    yield gid
    hand.forget(gid)
    yield gid


def first_reference_with_a_third_home(
    hand: HandCoordinator, family: Family, parent: int, child: Child
) -> Iterator[Gid]:
    """As when a request has rows for several shards; the pin is committed before its shadow."""
    gid, key = hand.gid(home=THIRD_SHARD), {"id": parent}
    with hand.branch(PARENT_SHARD) as pinning, hand.branch(CHILD_SHARD) as writing:
        pinning.run(pin(family.referenced_key, CHILD_SHARD, key))
        yield gid
        writing.run(add_shadows(family.referenced_key, key), insert(family.children, child))
        yield gid
        pinning.run(prepare(gid, PARENT_SHARD))
        yield gid
        writing.run(prepare(gid, CHILD_SHARD))
        yield gid
    hand.execute(THIRD_SHARD, commit(gid))
    yield gid
    hand.finish(gid, PARENT_SHARD, commit=True)
    yield gid
    hand.finish(gid, CHILD_SHARD, commit=True)
    yield gid
    hand.forget(gid)
    yield gid


def delete_of_a_pinned_parent(hand: HandCoordinator, family: Family, parent: int, _: Child) -> Iterator[Gid]:
    """The parent's shard is home; the shards of its children take part."""
    gid = hand.gid(home=PARENT_SHARD)
    with ExitStack() as stack:
        home = stack.enter_context(hand.branch(PARENT_SHARD))
        effects = effects_by_shard(home.run(delete(family.parents, id=parent)))
        yield gid
        others = {}
        for shard in (CHILD_SHARD, THIRD_SHARD):
            others[shard] = stack.enter_context(hand.branch(shard))
            others[shard].run(*map(apply, effects[shard]))
            yield gid
        for branch in (home, *others.values()):
            branch.run(CHECK)
        yield gid
        for shard, branch in others.items():
            branch.run(prepare(gid, shard))
            yield gid
        home.run(commit(gid))
        yield gid
    for shard in others:
        hand.finish(gid, shard, commit=True)
        yield gid
    hand.forget(gid)
    yield gid

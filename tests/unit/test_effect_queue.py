"""The order in which effects are applied over all shards."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from crosskey.internal.v1 import effects_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import CommandResult
from crosskey.router.committing.effect_queue import EffectQueue, LockedTooLate, merge_rekeyed

KEY = "public.t(id)"
PIN = proto.Effect(shard=1, pin_parents=proto.PinParents(referenced_key=KEY))
SHADOWS = proto.Effect(shard=0, add_shadows=proto.AddShadows(referenced_key=KEY))
CLAIM = proto.Effect(shard=1, claim_values=proto.ClaimValues(claim=KEY))
RELEASE = proto.Effect(shard=1, release_values=proto.ReleaseValues(claim=KEY))
LEAVE = proto.Effect(shard=1, release_values=proto.ReleaseValues(claim=KEY, keep_pins=True))
CHANGE = proto.Effect(shard=1, change_values=proto.ChangeValues(referenced_key=KEY))
DELETE = proto.Effect(shard=1, delete_shadows=proto.DeleteShadows(referenced_key=KEY))
PLACE = proto.Effect(shard=1, place_rows=proto.PlaceRows(table="public.t"))
TAKE_OUT = proto.Effect(shard=2, take_out_displaced=proto.TakeOutDisplaced())
FIND = proto.Effect(shard=1, find_anchors=proto.FindAnchors(claim=KEY))


def queue_of(*effects: proto.Effect) -> EffectQueue:
    queue = EffectQueue()
    queue.add_from([CommandResult(effects=effects)])
    return queue


def test_an_empty_queue_has_no_turn() -> None:
    assert EffectQueue().next_turn() == {}


def test_parents_are_pinned_before_all_else_and_rows_leave_last() -> None:
    queue = queue_of(FIND, TAKE_OUT, DELETE, SHADOWS, PIN)
    turns = []
    while turn := queue.next_turn():
        turns.append([effect for effects in turn.values() for effect in effects])
    assert turns == [[PIN], [SHADOWS], [DELETE], [TAKE_OUT], [FIND]]


def test_what_a_turn_brings_about_comes_before_later_turns() -> None:
    queue = queue_of(TAKE_OUT, DELETE)
    queue.next_turn()
    queue.add(PIN)
    assert [*queue.next_turn()] == [PIN.shard]
    assert [*queue.next_turn()] == [TAKE_OUT.shard]


def test_claims_are_left_before_their_pins_change_and_taken_last() -> None:
    turn = queue_of(PLACE, DELETE, CLAIM, RELEASE, CHANGE, LEAVE).next_turn()
    assert turn == {1: [LEAVE, CHANGE, RELEASE, CLAIM, PLACE, DELETE]}


def test_a_shard_is_told_once_to_take_out_what_it_knows() -> None:
    assert queue_of(TAKE_OUT, TAKE_OUT).next_turn() == {2: [TAKE_OUT]}


def test_rows_that_were_locked_too_late_end_it() -> None:
    too_late = proto.Effect(origin=2, locked_too_late=proto.LockedTooLate())
    with pytest.raises(LockedTooLate, match="shard 2"):
        queue_of(PIN, too_late)


def rekeyed(*moves: tuple[int, int], shard: int = 0, key: str = KEY) -> proto.Effect:
    """Parents whose keys changed, as one shard answers them."""
    rekey = proto.RekeyShadows(
        referenced_key=key,
        old_keys_json=_keys(old for old, _ in moves),
        new_keys_json=_keys(new for _, new in moves),
    )
    return proto.Effect(shard=shard, rekey_shadows=rekey)


def _keys(numbers: Iterable[int]) -> bytes:
    return msgspec.json.encode([{"id": number} for number in numbers])


def moves(effect: proto.Effect) -> list[tuple[int, int]]:
    """The keys of an effect, old and new, in order."""
    rekey = effect.rekey_shadows
    old, new = (msgspec.json.decode(keys) for keys in (rekey.old_keys_json, rekey.new_keys_json))
    return [(before["id"], after["id"]) for before, after in zip(old, new, strict=True)]


def test_a_key_goes_after_the_one_whose_place_it_takes() -> None:
    [merged] = merge_rekeyed([rekeyed((3, 2), (6, 5)), rekeyed((2, 1), (5, 4)), rekeyed((4, 3))])
    assert moves(merged) == [(2, 1), (3, 2), (4, 3), (5, 4), (6, 5)]


def test_keys_in_no_relation_keep_their_order() -> None:
    [merged] = merge_rekeyed([rekeyed((7, 70), (5, 50)), rekeyed((6, 60))])
    assert moves(merged) == [(7, 70), (5, 50), (6, 60)]


def test_every_key_of_a_circle_is_there_once() -> None:
    [merged] = merge_rekeyed([rekeyed((1, 2)), rekeyed((2, 3), (3, 1))])
    assert sorted(moves(merged)) == [(1, 2), (2, 3), (3, 1)]


def test_only_shadows_of_one_kind_on_one_shard_are_put_together() -> None:
    effects = [rekeyed((1, 2)), rekeyed((2, 3), shard=1), rekeyed((2, 3), key="public.u(id)")]
    assert merge_rekeyed(effects) == effects


def test_new_keys_come_after_all_else() -> None:
    assert merge_rekeyed([rekeyed((1, 2)), DELETE]) == [DELETE, rekeyed((1, 2))]

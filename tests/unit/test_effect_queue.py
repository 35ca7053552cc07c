"""The order in which effects are applied over all shards."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from crosskey.internal.v1 import effects_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import CommandResult
from crosskey.router.committing.effect_queue import CopiesUnseen, EffectQueue, LockedTooLate
from crosskey.router.committing.new_keys import merge_rekeyed

KEY = "public.t(id)"
PIN = proto.Effect(shard=1, pin_parents=proto.PinParents(referenced_key=KEY))
SHADOWS = proto.Effect(shard=0, add_shadows=proto.AddShadows(referenced_key=KEY))
RESTORE = proto.Effect(shard=1, restore_pins=proto.RestorePins(referenced_key=KEY))
CLAIM = proto.Effect(shard=1, claim_values=proto.ClaimValues(claim=KEY, values_json=b'[{"id":1}]'))
RELEASE = proto.Effect(shard=1, release_values=proto.ReleaseValues(claim=KEY, values_json=b'[{"id":2}]'))
LEAVE = proto.Effect(shard=1, release_values=proto.ReleaseValues(claim=KEY, values_json=b'[{"id":3}]', keep_pins=True))
CHANGE = proto.Effect(shard=1, change_values=proto.ChangeValues(referenced_key=KEY))
DELETE = proto.Effect(shard=1, delete_shadows=proto.DeleteShadows(referenced_key=KEY))
PLACE = proto.Effect(shard=1, place_rows=proto.PlaceRows(table="public.t"))
TAKE_OUT = proto.Effect(shard=2, take_out_displaced=proto.TakeOutDisplaced())
FIND = proto.Effect(shard=1, find_anchors=proto.FindAnchors(claim=KEY))


def queue_of(*effects: proto.Effect) -> EffectQueue:
    """Each effect is that of another result."""
    queue = EffectQueue()
    queue.add_from(CommandResult(effects=[effect]) for effect in effects)
    return queue


def test_an_empty_queue_has_no_turn() -> None:
    assert EffectQueue().next_turn() == {}


def test_parents_are_pinned_when_keys_have_changed_and_rows_leave_last() -> None:
    queue = queue_of(FIND, TAKE_OUT, SHADOWS, PIN, DELETE)
    turns = []
    while turn := queue.next_turn():
        turns.append([effect for effects in turn.values() for effect in effects])
    assert turns == [[DELETE], [PIN], [SHADOWS], [TAKE_OUT], [FIND]]


def test_what_a_turn_brings_about_comes_before_later_turns() -> None:
    queue = queue_of(TAKE_OUT, DELETE)
    queue.next_turn()
    queue.add([PIN])
    assert [*queue.next_turn()] == [PIN.shard]
    assert [*queue.next_turn()] == [TAKE_OUT.shard]


def test_claims_are_left_before_their_pins_change_and_taken_last() -> None:
    turn = queue_of(PLACE, DELETE, CLAIM, RELEASE, CHANGE, LEAVE, RESTORE).next_turn()
    assert turn == {1: [RESTORE, LEAVE, CHANGE, RELEASE, CLAIM, PLACE, DELETE]}


def test_a_shard_is_told_once_to_take_out_what_it_knows() -> None:
    assert queue_of(TAKE_OUT, TAKE_OUT).next_turn() == {2: [TAKE_OUT]}


def test_rows_that_were_locked_too_late_end_it() -> None:
    too_late = proto.Effect(origin=2, locked_too_late=proto.LockedTooLate())
    with pytest.raises(LockedTooLate, match="shard 2"):
        queue_of(PIN, too_late)


def rekeyed(
    *moves: tuple[int, int], origin: int = 0, shard: int = 0, key: str = KEY, once: bool = False
) -> proto.Effect:
    """Parents whose keys changed, as the shard `origin` answers them."""
    rekey = proto.RekeyShadows(
        referenced_key=key,
        old_keys_json=_keys(old for old, _ in moves),
        new_keys_json=_keys(new for _, new in moves),
        once=once,
    )
    return proto.Effect(shard=shard, origin=origin, rekey_shadows=rekey)


def _keys(numbers: Iterable[int]) -> bytes:
    return msgspec.json.encode([{"id": number} for number in numbers])


def moves(effect: proto.Effect) -> list[tuple[int, int]]:
    """The keys of an effect, old and new, in order."""
    rekey = effect.rekey_shadows
    old, new = (msgspec.json.decode(keys) for keys in (rekey.old_keys_json, rekey.new_keys_json))
    return [(before["id"], after["id"]) for before, after in zip(old, new, strict=True)]


def test_a_key_goes_after_the_one_whose_place_it_takes() -> None:
    [merged] = merge_rekeyed([rekeyed((3, 2), (6, 5)), rekeyed((2, 1), (5, 4), origin=1), rekeyed((4, 3), origin=2)])
    assert moves(merged) == [(2, 1), (3, 2), (4, 3), (5, 4), (6, 5)]


def test_keys_in_no_relation_keep_their_order() -> None:
    [merged] = merge_rekeyed([rekeyed((7, 70), (5, 50)), rekeyed((6, 60))])
    assert moves(merged) == [(7, 70), (5, 50), (6, 60)]


def test_every_key_of_a_circle_is_there_once() -> None:
    [merged] = merge_rekeyed([rekeyed((1, 2)), rekeyed((2, 3), origin=1), rekeyed((3, 1), origin=2)])
    assert sorted(moves(merged)) == [(1, 2), (2, 3), (3, 1)]


def test_only_shadows_of_one_kind_on_one_shard_are_put_together() -> None:
    effects = [rekeyed((1, 2)), rekeyed((2, 3), shard=1), rekeyed((2, 3), key="public.u(id)")]
    assert merge_rekeyed(effects) == effects


def test_new_keys_come_after_all_else() -> None:
    assert merge_rekeyed([rekeyed((1, 2)), DELETE]) == [DELETE, rekeyed((1, 2))]


def test_a_key_that_one_shard_changed_twice_goes_to_the_last_one() -> None:
    [merged] = merge_rekeyed([rekeyed((1, 2), (5, 6)), rekeyed((2, 3)), rekeyed((7, 1), origin=1)])
    assert moves(merged) == [(1, 3), (5, 6), (7, 1)]


def test_keys_of_parents_that_claims_stand_for_are_those_of_different_rows() -> None:
    [merged] = merge_rekeyed([rekeyed((3, 2), once=True), rekeyed((2, 1), once=True)])
    assert moves(merged) == [(2, 1), (3, 2)]


def changed(*moves: tuple[int, int], shard: int, origin: int = 0) -> proto.Effect:
    """Values of rows of the shard `origin` changed, of which those that they had were claimed on a shard."""
    change = proto.ChangeValues(
        referenced_key=KEY,
        old_keys_json=_keys(old for old, _ in moves),
        new_keys_json=_keys(new for _, new in moves),
    )
    return proto.Effect(shard=shard, origin=origin, change_values=change)


def test_values_that_one_shard_changed_twice_go_from_the_first_to_the_last() -> None:
    turn = queue_of(changed((1, 2), shard=1), changed((2, 3), (4, 5), shard=2), changed((3, 9), shard=0)).next_turn()
    assert turn == {1: [changed((1, 9), shard=1)], 2: [changed((4, 5), shard=2)]}


def test_a_value_may_be_what_one_row_had_first_and_another_in_between() -> None:
    turn = queue_of(changed((2, 8), shard=2), changed((1, 2), shard=1), changed((2, 3), shard=2)).next_turn()
    assert turn == {1: [changed((1, 3), shard=1)], 2: [changed((2, 8), shard=2)]}


def test_values_of_different_shards_are_those_of_different_rows() -> None:
    effects = [changed((1, 2), shard=1), changed((2, 3), shard=1, origin=1)]
    assert queue_of(*effects).next_turn() == {1: effects}


def test_values_that_are_told_together_are_those_of_different_rows() -> None:
    effects = [changed((3, 2), shard=1), changed((2, 1), shard=2)]
    queue = EffectQueue()
    queue.add(effects)
    assert queue.next_turn() == {1: [effects[0]], 2: [effects[1]]}


def claimed(*values: int) -> proto.Effect:
    return proto.Effect(shard=1, claim_values=proto.ClaimValues(claim=KEY, values_json=_keys(values)))


def released(*values: int) -> proto.Effect:
    return proto.Effect(shard=1, release_values=proto.ReleaseValues(claim=KEY, values_json=_keys(values)))


def test_a_value_that_is_released_later_is_not_claimed() -> None:
    turn = queue_of(claimed(1), released(1, 2), claimed(2, 3), released(3)).next_turn()
    assert turn == {1: [released(1, 2), released(3), claimed(2)]}


def test_rows_that_were_written_without_their_copies() -> None:
    unseen = proto.Effect(shard=1, origin=1, copies_unseen=proto.CopiesUnseen())
    with pytest.raises(CopiesUnseen):
        EffectQueue().add([unseen])
    queue = EffectQueue(copies_may_wait=True)
    queue.add([unseen])
    assert queue.next_turn() == {}


def test_new_values_come_after_the_new_keys_that_they_name() -> None:
    revise = proto.Effect(shard=1, revise_shadows=proto.ReviseShadows(referenced_key=KEY))
    other = proto.Effect(shard=1, revise_shadows=proto.ReviseShadows(referenced_key="public.other(id)"))
    rekey = proto.RekeyShadows(referenced_key=KEY, old_keys_json=b"[1]", new_keys_json=b"[2]")
    queue = queue_of(revise, other, proto.Effect(shard=1, rekey_shadows=rekey))
    [(shard, effects)] = queue.next_turn().items()
    kinds = [effect.WhichOneof("effect") for effect in effects]
    assert (shard, kinds) == (1, ["revise_shadows", "rekey_shadows", "revise_shadows"])
    assert effects[-1] == revise

"""The order in which effects are applied over all shards: pure.

Effects that come in one round of answers are applied in turns. Whatever an earlier turn brings about is applied before
a later turn begins. So a row is taken out only when it is as it is to be, and rows follow their anchors when all
anchors are where they are to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from crosskey import errors
from crosskey.internal.v1 import effects_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import CommandResult
from crosskey.router.committing.changed_again import as_if_once
from crosskey.router.committing.new_keys import merge_rekeyed

_TURNS: Sequence[Sequence[str]] = (
    (
        "release_values",
        "change_values",
        "claim_values",
        "place_rows",
        "restore_pins",
        "delete_shadows",
        "rekey_shadows",
        "revise_shadows",
        "mark_dead",
        "forget_departed",
    ),
    # A re-keyed parent's child may ask for the shadow of a new key that the shadow of the old one is about to get.
    ("pin_parents",),
    ("add_shadows",),
    ("take_out_displaced",),
    ("find_anchors",),
    ("follow_anchors",),
)
_TURN_OF = {kind: turn for turn, kinds in enumerate(_TURNS) for kind in kinds}


class LockedTooLate(errors.Conflict):
    """Rows that are to move were changed before they were locked: the transaction is to be run again, locking early."""


class CopiesUnseen(errors.Conflict):
    """Rows may have been answered without the values that they copy: to be run again, with the parents pinned first."""


class EffectQueue:
    """The effects that are still to be applied."""

    def __init__(self, *, copies_may_wait: bool = False) -> None:
        """With `copies_may_wait`, rows that were written before the values that they copy are as they should be."""
        self._copies_may_wait = copies_may_wait
        self._turns: list[list[list[proto.Effect]]] = [[] for _ in _TURNS]
        """Of each turn, what the results had for it, a list for each result."""

    def add_from(self, results: Iterable[CommandResult]) -> None:
        """Adds the effects of results. Raises LockedTooLate and CopiesUnseen."""
        for result in results:
            self.add(result.effects)

    def add(self, effects: Iterable[proto.Effect]) -> None:
        """Adds those of one result. Raises LockedTooLate and CopiesUnseen."""
        batches: defaultdict[int, list[proto.Effect]] = defaultdict(list)
        for effect in effects:
            kind = effect.WhichOneof("effect")
            self._refuse_too_late(effect)
            if kind == "copies_unseen":
                continue
            assert kind is not None, "an effect is empty"
            batches[_TURN_OF[kind]].append(effect)
        for turn, batch in batches.items():
            self._turns[turn].append(batch)

    def _refuse_too_late(self, effect: proto.Effect) -> None:
        if effect.HasField("locked_too_late"):
            raise LockedTooLate(f"rows of shard {effect.origin} that are to move were changed before they were locked")
        if effect.HasField("copies_unseen") and not self._copies_may_wait:
            raise CopiesUnseen(f"rows of shard {effect.origin} were written before what they copy was known")

    def next_turn(self) -> dict[int, list[proto.Effect]]:
        """Takes out the effects of the earliest turn that has any, by shard and in order; nothing if none is left."""
        for turn, batches in enumerate(self._turns):
            if batches:
                self._turns[turn] = []
                return _by_shard(batches)
        return {}


def _by_shard(batches: Sequence[Sequence[proto.Effect]]) -> dict[int, list[proto.Effect]]:
    ordered: defaultdict[int, list[proto.Effect]] = defaultdict(list)
    effects = as_if_once(batches)
    if effects[0].HasField("take_out_displaced"):
        # Each branch knows by itself which rows are meant.
        return {effect.shard: [effect] for effect in effects}
    for effect in _revised_last(merge_rekeyed(sorted(effects, key=_rank))):
        ordered[effect.shard].append(effect)
    return dict(ordered)


def _revised_last(effects: Sequence[proto.Effect]) -> Sequence[proto.Effect]:
    """New values after new keys, as they name the new ones; else everything as it came."""
    rekeyed = {effect.rekey_shadows.referenced_key for effect in effects if effect.HasField("rekey_shadows")}
    return sorted(effects, key=lambda effect: effect.revise_shadows.referenced_key in rekeyed)


def _rank(effect: proto.Effect) -> int:
    """Values first; the rest as they came.

    A value may go from row to row, and with it what references it must not. A claim that is left waits for whoever is
    about to reference it, so that a change of the value then finds all who do. Pins that one change of a row's values
    moved are there before the next change of that row moves them on.
    """
    match effect.WhichOneof("effect"):
        case "restore_pins":
            return 0
        case "release_values":
            return 1 if effect.release_values.keep_pins else 3
        case "change_values":
            return 2
        case "claim_values":
            return 4
    return 5

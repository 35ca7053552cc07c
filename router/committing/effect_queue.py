"""The order in which effects are applied over all shards: pure.

Effects that come in one round of answers are applied in turns. Whatever an earlier turn brings about is applied before
a later turn begins. So a row is taken out only when it is as it is to be, and rows follow their anchors when all
anchors are where they are to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from crosskey import errors
from crosskey.internal.v1 import effects_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import CommandResult

_TURNS: Sequence[Sequence[str]] = (
    ("pin_parents",),
    ("add_shadows",),
    (
        "release_values",
        "change_values",
        "claim_values",
        "place_rows",
        "restore_pins",
        "delete_shadows",
        "rekey_shadows",
    ),
    ("take_out_displaced",),
    ("find_anchors",),
    ("follow_anchors",),
)
_TURN_OF = {kind: turn for turn, kinds in enumerate(_TURNS) for kind in kinds}

Key = bytes
"""A key as PostgreSQL wrote it."""


class LockedTooLate(errors.Conflict):
    """Rows that are to move were changed before they were locked: the transaction is to be run again, locking early."""


class EffectQueue:
    """The effects that are still to be applied."""

    def __init__(self) -> None:
        self._turns: list[list[proto.Effect]] = [[] for _ in _TURNS]

    def add_from(self, results: Iterable[CommandResult]) -> None:
        """Adds the effects of results. Raises LockedTooLate."""
        for result in results:
            for effect in result.effects:
                self.add(effect)

    def add(self, effect: proto.Effect) -> None:
        """Adds one. Raises LockedTooLate."""
        kind = effect.WhichOneof("effect")
        if kind == "locked_too_late":
            raise LockedTooLate(f"rows of shard {effect.origin} that are to move were changed before they were locked")
        assert kind is not None, "an effect is empty"
        self._turns[_TURN_OF[kind]].append(effect)

    def next_turn(self) -> dict[int, list[proto.Effect]]:
        """Takes out the effects of the earliest turn that has any, by shard and in order; nothing if none is left."""
        for turn, effects in enumerate(self._turns):
            if effects:
                self._turns[turn] = []
                return _by_shard(effects)
        return {}


def _by_shard(effects: Sequence[proto.Effect]) -> dict[int, list[proto.Effect]]:
    ordered: defaultdict[int, list[proto.Effect]] = defaultdict(list)
    if effects[0].HasField("take_out_displaced"):
        # Each branch knows by itself which rows are meant.
        return {effect.shard: [effect] for effect in effects}
    for effect in merge_rekeyed(sorted(effects, key=_rank)):
        ordered[effect.shard].append(effect)
    return dict(ordered)


def _rank(effect: proto.Effect) -> int:
    """Values first; the rest as they came.

    A value may go from row to row, and with it what references it must not. A claim that is left waits for whoever is
    about to reference it, so that a change of the value then finds all who do.
    """
    match effect.WhichOneof("effect"):
        case "release_values":
            return 0 if effect.release_values.keep_pins else 2
        case "change_values":
            return 1
        case "claim_values":
            return 3
    return 4


def merge_rekeyed(effects: Iterable[proto.Effect]) -> list[proto.Effect]:
    """The effects, with those that re-key shadows of the same kind on the same shard made one: as the last ones.

    Parents on several shards may have got new keys in one statement: `id = id - 1` moves many keys, each to where
    another one was. On one PostgreSQL the rows are changed one by one, so that each finds its place free; here each
    shard knows its own rows only.
    """
    merged: dict[tuple[str, int], dict[Key, Key]] = defaultdict(dict)
    others = []
    for effect in effects:
        if effect.HasField("rekey_shadows"):
            merged[effect.rekey_shadows.referenced_key, effect.shard].update(_pairs(effect.rekey_shadows))
        else:
            others.append(effect)
    return others + [_rekey(name, shard, dict(_in_order(pairs))) for (name, shard), pairs in merged.items()]


def _pairs(rekey: proto.RekeyShadows) -> Iterator[tuple[Key, Key]]:
    old, new = (
        msgspec.json.decode(keys, type=list[msgspec.Raw]) for keys in (rekey.old_keys_json, rekey.new_keys_json)
    )
    return zip(map(bytes, old), map(bytes, new), strict=True)


def _rekey(referenced_key: str, shard: int, pairs: dict[Key, Key]) -> proto.Effect:
    rekey = proto.RekeyShadows(
        referenced_key=referenced_key,
        old_keys_json=b"[" + b",".join(pairs) + b"]",
        new_keys_json=b"[" + b",".join(pairs.values()) + b"]",
    )
    return proto.Effect(shard=shard, rekey_shadows=rekey)


def _in_order(pairs: dict[Key, Key]) -> Iterator[tuple[Key, Key]]:
    """Each key after the one whose place it takes. Where they go in a circle there is no such order, and one is cut."""
    done: set[Key] = set()
    for start in pairs:
        chain = []
        key = start
        while key in pairs and key not in done:
            done.add(key)
            chain.append(key)
            key = pairs[key]
        yield from ((key, pairs[key]) for key in reversed(chain))

"""Rows that changed more than once before the router heard of what came of it: pure.

A shard tells each change of its row with the commands that brought it, as when two cascades reach the row in one turn.
All that is told in one turn goes to the shards at once, so it is told as if each row had changed once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from crosskey.catalog.changed_keys import compose_batches
from crosskey.internal.v1 import effects_pb2 as proto

_Key = bytes


def as_if_once(batches: Sequence[Sequence[proto.Effect]]) -> list[proto.Effect]:
    """The effects of one turn as if each row had changed once; a batch is what one command has brought.

    Values change from the first ones to the last. What a shard claims and releases later is not claimed.
    """
    return _without_left_claims(_composed(batches))


def _composed(batches: Sequence[Sequence[proto.Effect]]) -> list[proto.Effect]:
    told: defaultdict[tuple[str, int], dict[int, list[proto.ChangeValues]]] = defaultdict(lambda: defaultdict(list))
    for place, batch in enumerate(batches):
        for effect in batch:
            if effect.HasField("change_values"):
                told[effect.change_values.referenced_key, effect.origin][place].append(effect.change_values)
    last = {}
    for rows, several in told.items():
        changes = [[*chain.from_iterable(map(_changes, each))] for each in several.values() if len(several) > 1]
        composed = compose_batches(changes)
        if len(composed) < sum(map(len, changes)):
            last[rows] = dict(composed)
    return [*chain.from_iterable(_once(effect, last) for effect in chain.from_iterable(batches))]


def _once(effect: proto.Effect, last: dict[tuple[str, int], dict[_Key, _Key]]) -> Iterable[proto.Effect]:
    """The effect with the last values instead of the next ones, each of the first ones once."""
    change = effect.change_values
    news = last.get((change.referenced_key, effect.origin))
    if not effect.HasField("change_values") or news is None:
        return [effect]
    changed = [(old, news.pop(old)) for old, _ in _changes(change) if old in news]
    composed = proto.ChangeValues(
        referenced_key=change.referenced_key,
        old_keys_json=_array(old for old, _ in changed),
        new_keys_json=_array(new for _, new in changed),
    )
    return [proto.Effect(shard=effect.shard, origin=effect.origin, change_values=composed)] if changed else []


def _without_left_claims(effects: Sequence[proto.Effect]) -> list[proto.Effect]:
    if not any(effect.HasField("release_values") for effect in effects):
        return [*effects]
    released: defaultdict[tuple[str, int, int], set[_Key]] = defaultdict(set)
    kept: list[proto.Effect] = []
    for effect in reversed(effects):
        if effect.HasField("release_values"):
            release = effect.release_values
            released[release.claim, effect.shard, effect.origin].update(_keys(release.values_json))
        if effect.HasField("claim_values"):
            kept += _unless_released(effect, released[effect.claim_values.claim, effect.shard, effect.origin])
        else:
            kept.append(effect)
    return kept[::-1]


def _unless_released(effect: proto.Effect, released: set[_Key]) -> Iterable[proto.Effect]:
    """The effect for those of its values that are not released later; nothing if there are none."""
    claim = effect.claim_values
    values = [value for value in _keys(claim.values_json) if value not in released]
    if not values:
        return []
    claimed = proto.ClaimValues(claim=claim.claim, values_json=_array(values), in_advance=claim.in_advance)
    return [proto.Effect(shard=effect.shard, origin=effect.origin, claim_values=claimed)]


def _changes(change: proto.ChangeValues) -> Iterable[tuple[_Key, _Key]]:
    return zip(_keys(change.old_keys_json), _keys(change.new_keys_json), strict=True)


def _keys(keys_json: bytes) -> Iterable[_Key]:
    return map(bytes, msgspec.json.decode(keys_json, type=list[msgspec.Raw]))


def _array(keys: Iterable[_Key]) -> bytes:
    return b"[" + b",".join(keys) + b"]"

"""What triggers noted of rows that changed more than once, as when two cascades reach them.

Pins and claims of what a row had in between are not there yet when they are asked for, and nobody would take them away
later. So they are never made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from crosskey.catalog.changed_keys import compose
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.noted_effects import NotedEffects

_CHANGED = Effect.CHANGE_VALUES_FIELD_NUMBER
_CLAIMED = Effect.CLAIM_VALUES_FIELD_NUMBER
_RELEASED = Effect.RELEASE_VALUES_FIELD_NUMBER


class _Key(NamedTuple):
    """One key of noted effects: when it was noted, and its texts."""

    place: int
    old: bytes
    new: bytes


def as_if_once(noted: Sequence[NotedEffects]) -> list[NotedEffects]:
    """The effects as if each row had changed once: from the values that it had to those that it has.

    New keys of shadows stay as they are: these change in the same order as their parents did.
    """
    kinds = {one.kind for one in noted}
    if _CHANGED in kinds:
        noted = [*_composed(noted)]
    if kinds >= {_CLAIMED, _RELEASED}:
        noted = [*_without_left_claims(noted)]
    return [*noted]


def _composed(noted: Sequence[NotedEffects]) -> Iterator[NotedEffects]:
    """With each change of values from the first ones to the last, which is told where the first ones are claimed."""
    by_name: defaultdict[str, list[tuple[int, bytes, bytes, int]]] = defaultdict(list)
    for one in noted:
        if one.kind == _CHANGED:
            by_name[one.name] += [(*key, one.shard) for key in _keys(one)]
    last: dict[str, dict[bytes, bytes]] = {}
    for name, changes in by_name.items():
        composed = compose((old, new) for _, old, new, _ in sorted(changes))
        if len(composed) < len(changes):
            last[name] = dict(composed)
    for one in noted:
        if one.kind == _CHANGED and one.name in last:
            # Each once: a key may be what one row had first, and another in between.
            changed = ((key, last[one.name].pop(key.old, None)) for key in _keys(one))
            yield from _of(one, (key._replace(new=new) for key, new in changed if new is not None))
        else:
            yield one


def _without_left_claims(noted: Sequence[NotedEffects]) -> Iterator[NotedEffects]:
    """Without the claims on values that no row of the shard has any more: they were released later."""
    released: defaultdict[tuple[str, int], dict[bytes, int]] = defaultdict(dict)
    for one in noted:
        if one.kind == _RELEASED:
            released[one.name, one.shard] |= {key.old: key.place for key in _keys(one)}
    for one in noted:
        later = released.get((one.name, one.shard), {})
        if one.kind == _CLAIMED and later:
            kept = [key for key in _keys(one) if later.get(key.old, 0) < key.place]
            yield from _of(one, kept)
        else:
            yield one


def _keys(noted: NotedEffects) -> Iterator[_Key]:
    old, new = (msgspec.json.decode(keys, type=list[msgspec.Raw]) for keys in (noted.old_keys, noted.new_keys))
    places = msgspec.json.decode(noted.places, type=list[int])
    return map(_Key, places, map(bytes, old), map(bytes, new))


def _of(noted: NotedEffects, keys: Iterable[_Key]) -> Iterator[NotedEffects]:
    """The same for those keys; nothing if there are none."""
    keys = [*keys]
    if keys:
        yield msgspec.structs.replace(
            noted,
            old_keys=_array(key.old for key in keys),
            new_keys=_array(key.new for key in keys),
            places=msgspec.json.encode([key.place for key in keys]).decode(),
        )


def _array(keys: Iterable[bytes]) -> str:
    return f"[{b','.join(keys).decode()}]"

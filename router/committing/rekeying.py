"""The order in which shadows get new keys when parents on several shards got theirs in one statement: pure.

`id = id - 1` moves many keys, each to where another one was. On one PostgreSQL the rows are changed one by one, so that
each finds its place free; here each shard knows its own rows only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from crosskey.v1 import shard_node_pb2 as proto

_REKEYED = proto.Effect.KIND_PARENT_REKEYED

Key = bytes
"""A key as PostgreSQL wrote it."""


def merge_rekeyed(effects: Iterable[proto.Effect]) -> list[proto.Effect]:
    """The effects, with those that re-key shadows of the same kind on the same shard made one: as the last ones."""
    merged: dict[tuple[str, int], dict[Key, Key]] = defaultdict(dict)
    others = []
    for effect in effects:
        if effect.kind == _REKEYED:
            merged[effect.referenced_key, effect.shard].update(_pairs(effect))
        else:
            others.append(effect)
    return others + [_effect(name, shard, dict(_in_order(pairs))) for (name, shard), pairs in merged.items()]


def _pairs(effect: proto.Effect) -> Iterator[tuple[Key, Key]]:
    old, new = (msgspec.json.decode(keys, type=list[msgspec.Raw]) for keys in (effect.keys_json, effect.new_keys_json))
    return zip(map(bytes, old), map(bytes, new), strict=True)


def _effect(referenced_key: str, shard: int, pairs: Mapping[Key, Key]) -> proto.Effect:
    return proto.Effect(
        kind=_REKEYED,
        referenced_key=referenced_key,
        shard=shard,
        keys_json=b"[" + b",".join(pairs) + b"]",
        new_keys_json=b"[" + b",".join(pairs.values()) + b"]",
    )


def _in_order(pairs: Mapping[Key, Key]) -> Iterator[tuple[Key, Key]]:
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

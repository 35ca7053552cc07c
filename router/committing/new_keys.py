"""New keys of parents on several shards, put in one order: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from crosskey.catalog.changed_keys import compose
from crosskey.internal.v1 import effects_pb2 as proto

Key = bytes
"""A key as PostgreSQL wrote it."""


def merge_rekeyed(effects: Iterable[proto.Effect]) -> list[proto.Effect]:
    """The effects, with those that re-key shadows of the same kind on the same shard made one: as the last ones.

    Parents on several shards may have got new keys in one statement: `id = id - 1` moves many keys, each to where
    another one was. On one PostgreSQL the rows are changed one by one, so that each finds its place free; here each
    shard knows its own rows only. Of rows that it tells several times, the changes are in their order.
    """
    by_origin: defaultdict[tuple[str, int, int], list[tuple[Key, Key]]] = defaultdict(list)
    merged: defaultdict[tuple[str, int], dict[Key, Key]] = defaultdict(dict)
    others = []
    for effect in effects:
        rekey = effect.rekey_shadows
        if not effect.HasField("rekey_shadows"):
            others.append(effect)
        elif rekey.once:
            merged[rekey.referenced_key, effect.shard].update(_pairs(rekey))
        else:
            by_origin[rekey.referenced_key, effect.shard, effect.origin] += _pairs(rekey)
    for (name, shard, _), pairs in by_origin.items():
        merged[name, shard].update(compose(pairs))
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

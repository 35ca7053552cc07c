"""The order of new keys for shadows, whichever shards their parents are on."""

from collections.abc import Iterable

import msgspec

from crosskey.v1 import shard_node_pb2 as proto
from router.committing.rekeying import merge_rekeyed


def rekeyed(*moves: tuple[int, int], shard: int = 0, key: str = "public.t(id)") -> proto.Effect:
    """Parents whose keys changed, as one shard answers them."""
    return proto.Effect(
        kind=proto.Effect.KIND_PARENT_REKEYED,
        referenced_key=key,
        shard=shard,
        keys_json=_keys(old for old, _ in moves),
        new_keys_json=_keys(new for _, new in moves),
    )


def _keys(numbers: Iterable[int]) -> bytes:
    return msgspec.json.encode([{"id": number} for number in numbers])


def moves(effect: proto.Effect) -> list[tuple[int, int]]:
    """The keys of an effect, old and new, in order."""
    old, new = (msgspec.json.decode(keys) for keys in (effect.keys_json, effect.new_keys_json))
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


def test_other_effects_go_first() -> None:
    deleted = proto.Effect(kind=proto.Effect.KIND_PARENT_DELETED, referenced_key="public.t(id)", keys_json=b"[{}]")
    assert merge_rekeyed([rekeyed((1, 2)), deleted]) == [deleted, rekeyed((1, 2))]

"""The memory of shadows: what it knows, forgets and evicts."""

from crosskey.router.planning.shadow_hints import ShadowHints

USERS = "public.users(id)"
TEAMS = "public.teams(id)"


def test_nothing_is_known_at_first() -> None:
    assert ShadowHints().unknown(USERS, 0, [("a",), ("b",)]) == [("a",), ("b",)]


def test_a_learned_key_is_known_on_its_shard_and_of_its_referenced_key_only() -> None:
    hints = ShadowHints()
    hints.remember(USERS, 1, [("a",)])
    assert hints.unknown(USERS, 1, [("a",)]) == []
    assert hints.unknown(USERS, 2, [("a",)]) == [("a",)]
    assert hints.unknown(TEAMS, 1, [("a",)]) == [("a",)]


def test_unknown_keeps_the_order_and_leaves_out_only_the_known() -> None:
    hints = ShadowHints()
    hints.remember(USERS, 0, [("b", "1")])
    assert hints.unknown(USERS, 0, [("c", "1"), ("b", "1"), ("b", "2")]) == [("c", "1"), ("b", "2")]


def test_it_never_holds_more_than_its_capacity() -> None:
    hints = ShadowHints(capacity=100)
    for number in range(1_000):
        hints.remember(USERS, 0, [(str(number),)])
        assert len(hints) <= 100
    assert hints.unknown(USERS, 0, [("999",), ("0",)]) == [("0",)]


def test_a_key_that_is_asked_for_again_and_again_is_kept() -> None:
    hints = ShadowHints(capacity=100)
    hints.remember(USERS, 0, [("hot",)])
    for number in range(1_000):
        hints.remember(USERS, 0, [(str(number),)])
        assert hints.unknown(USERS, 0, [("hot",)]) == []

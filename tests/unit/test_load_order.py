"""The order in which tables are loaded."""

from crosskey.cli.load.order import load_order


def test_parents_come_before_children() -> None:
    references = [("follows", "users"), ("likes", "media"), ("media", "users")]
    assert load_order({"likes", "follows", "media", "users"}, references) == [
        (["users"], False),
        (["follows"], False),
        (["media"], False),
        (["likes"], False),
    ]


def test_circles_are_loaded_together() -> None:
    references = [("teams", "players"), ("players", "teams"), ("people", "people"), ("games", "teams")]
    assert load_order({"games", "players", "teams", "people"}, references) == [
        (["players", "teams"], True),
        (["games"], False),
        (["people"], True),
    ]


def test_tables_that_are_not_loaded_do_not_count() -> None:
    assert load_order({"a", "c"}, [("a", "b"), ("b", "c"), ("b", "a")]) == [(["a"], False), (["c"], False)]

"""Triggers against caught errors are made for schemas that may catch some, and for no others."""

import msgspec
import pytest

from crosskey.shard_node.guards.foreign_keys import guard_statements
from tests.schema_builders import FOLLOWS, NOTES, REGIONS, USERS, foreign_key, plan_of

PLAN = plan_of(USERS, REGIONS, FOLLOWS, NOTES, foreign_key("follows", "followee", "users"))


def triggers(*, catches_errors: bool) -> set[str]:
    """The names of the triggers that are made on tables of the user's, by table."""
    plan = msgspec.structs.replace(PLAN, catches_errors=catches_errors)
    statements = [statement.as_string().split() for statement in guard_statements(plan, 0, 3)]
    return {f"{words[words.index('ON') + 1]} {words[2]}" for words in statements if words[:2] == ["CREATE", "TRIGGER"]}


def test_a_schema_that_catches_errors_has_triggers_that_fire_first() -> None:
    assert triggers(catches_errors=True) - triggers(catches_errors=False) == {
        '"public"."users" "!crosskey_0_pinned"',
        '"public"."users" "~crosskey_displaced"',
        '"public"."follows" "!crosskey_0_unshadowed"',
        '"public"."follows" "~crosskey_displaced"',
        '"public"."notes" "~crosskey_displaced"',
    }


@pytest.mark.parametrize("name", ["!crosskey_0_pinned", "!crosskey_0_unshadowed"])
def test_their_names_come_before_those_of_foreign_keys(name: str) -> None:
    assert name.encode() < b"RI_ConstraintTrigger_"

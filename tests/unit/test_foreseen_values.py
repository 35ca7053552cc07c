"""What an index computes of a row, as far as it can be told without PostgreSQL. The texts are its own spelling."""

from typing import Any

import pytest

from crosskey.catalog.model import Column, Computed
from crosskey.router.planning.foreseen_values import Foresight, Unforeseen
from tests.schema_builders import column, table

PATRONS = table(
    "patrons",
    "@shard_by id",
    column("id"),
    column("email", "text"),
    column("Name", "character varying(9)", base_type="varchar", max_length=9),
    column("nick", "citext", base_type="public.citext"),
    column("left_at", "date"),
    column("found", "boolean", base_type="bool", default="true"),
    column("state", "text", default="'it''s'::text"),
    column("floor", "integer", base_type="int4", default="3"),
    column("drawn", "text", default="md5('x'::text)"),
    column("parent", "bigint", base_type="int8"),
    column("place", "uuid"),
)
READS = tuple(one.name for one in PATRONS.columns)
TEXT = column("value", "text")
NO_UUID = "00000000-0000-0000-0000-000000000000"


def foresight(expression: str = "email", predicate: str = "", value: Column = TEXT) -> Foresight:
    return Foresight.of(PATRONS, Computed((value,), (expression,), READS, expression, predicate))


@pytest.mark.parametrize(
    ("expression", "row", "text"),
    [
        ("email", {"email": "Ada"}, "Ada"),
        ("lower(email)", {"email": "Ada"}, "ada"),
        ('upper(("Name")::text)', {"Name": "Ada       "}, "ADA      "),
        ("lower((nick)::text)", {"nick": "Ada"}, "ada"),
        ("COALESCE(email, ''::text)", {}, ""),
        ("COALESCE(email, 'it''s'::text)", {"email": None}, "it's"),
        ("COALESCE(email, 'it''s'::text)", {"email": "x"}, "x"),
        ("state", {}, "it's"),
    ],
    ids=str,
)
def test_expressions_of_texts(expression: str, row: dict[str, Any], text: str) -> None:
    assert foresight(expression).value_to_insert(row) == {"value": text}


@pytest.mark.parametrize(
    ("expression", "value", "row", "text"),
    [
        ("COALESCE(parent, (0)::bigint)", column("coalesce", "bigint", base_type="int8"), {}, "0"),
        ("COALESCE(parent, ('-1'::integer)::bigint)", column("coalesce", "bigint", base_type="int8"), {}, "-1"),
        ("COALESCE(parent, (0)::bigint)", column("coalesce", "bigint", base_type="int8"), {"parent": "007"}, "7"),
        (f"COALESCE(place, '{NO_UUID}'::uuid)", column("coalesce", "uuid"), {}, NO_UUID),
    ],
)
def test_expressions_of_other_types(expression: str, value: Column, row: dict[str, Any], text: str) -> None:
    assert foresight(expression, "", value).value_to_insert(row) == {value.name: text}


@pytest.mark.parametrize(
    ("predicate", "row", "met"),
    [
        ("(left_at IS NULL)", {}, True),
        ("(left_at IS NULL)", {"left_at": "2020-01-01"}, False),
        ("(left_at IS NOT NULL)", {"left_at": "2020-01-01"}, True),
        ("found", {}, True),
        ("(NOT found)", {}, False),
        ("(NOT found)", {"found": False}, True),
        ("found", {"found": None}, False),
        ("(found IS TRUE)", {}, True),
        ("(found IS NOT TRUE)", {"found": None}, True),
        ("(found = false)", {}, False),
        ("(state = 'it''s'::text)", {}, True),
        ("(state <> 'it''s'::text)", {"state": "new"}, True),
        ("(state <> 'it''s'::text)", {"state": None}, False),
        ("(floor = 3)", {}, True),
        ("(floor = ANY (ARRAY[1, 2]))", {}, False),
        ("(floor = ANY (ARRAY[1, 2]))", {"floor": 2.0}, True),
        ("(state = ANY (ARRAY['a, b'::text, 'c'::text]))", {"state": "a, b"}, True),
        (
            """(("Name")::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))""",
            {"Name": "y"},
            True,
        ),
        ("(state = 'open'::public.mood)", {"state": "open"}, True),
        ("((left_at IS NULL) AND found AND (state = ' AND ('::text))", {"state": " AND ("}, True),
        ("((left_at IS NULL) AND found AND (state = ' AND ('::text))", {"state": "x"}, False),
    ],
    ids=str,
)
def test_predicates(predicate: str, row: dict[str, Any], met: bool) -> None:
    found = foresight(predicate=predicate).value_to_insert({"email": "x", **row})
    assert found == ({"value": "x"} if met else Unforeseen.NO_VALUE)


@pytest.mark.parametrize(
    ("expression", "predicate", "row"),
    [
        ("md5(email)", "", {}),
        ("((data ->> 'code'::text))", "", {}),
        ("email", "((left_at IS NULL) OR found)", {}),
        ("email", "(drawn = 'x'::text)", {}),
        ("drawn", "", {}),
        ("email", "found", {"found": "t"}),
        ("email", "(floor > 3)", {}),
        ("email", "(length(email) = 3)", {}),
        ("email", "(NOT (found IS NULL))", {}),
        ("COALESCE(email, state)", "", {"email": None}),
        ("email", "", {"email": None}),
        ('("Name")::text', "", {"Name": "much too long"}),
    ],
    ids=str,
)
def test_what_only_postgres_can_tell(expression: str, predicate: str, row: dict[str, Any]) -> None:
    found = foresight(expression, predicate).value_to_insert({"email": "x", **row})
    assert found is Unforeseen.UNKNOWN


def test_a_part_of_a_predicate_is_enough_to_rule_a_row_out() -> None:
    predicate = "((length(email) = 3) AND (left_at IS NULL))"
    assert foresight(predicate="(left_at IS NULL)").value_to_insert({"left_at": "x"}) is Unforeseen.NO_VALUE
    assert foresight(predicate=predicate).value_to_insert({"left_at": "x"}) is Unforeseen.UNKNOWN


def test_of_rows_that_are_selected_nothing_is_known_but_what_selects_them() -> None:
    live = foresight("lower(email)", "(left_at IS NULL)")
    assert live.value_selected({"email": "Ada"}) is Unforeseen.UNKNOWN
    assert live.value_selected({"email": "Ada", "left_at": None}) == {"value": "ada"}
    assert foresight("lower(email)", "found").value_selected({"email": "Ada"}) is Unforeseen.UNKNOWN
    # Of citext, rows that are equal need not be the same.
    assert foresight("lower((nick)::text)").value_selected({"nick": "Ada"}) is Unforeseen.UNKNOWN

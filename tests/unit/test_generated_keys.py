"""Which columns draw from a sequence, and which values come from one shard for the whole cluster."""

from typing import Any

import pytest

from crosskey.catalog.generated_keys import columns_to_generate
from crosskey.catalog.model import Column, TableName
from tests.schema_builders import column, placement_of, table

SEQUENCE = TableName("public", "numbers")
NEXT = "nextval('numbers'::regclass)"


def generated(*columns: Column, comment: str = "@shard_by id", key: tuple[str, ...] = ("id",)) -> list[str]:
    return [one.name for one in columns_to_generate(placement_of(table("things", comment, *columns, key=key)))]


@pytest.mark.parametrize(
    "attributes",
    [
        {"default": NEXT},
        {"default": "nextval('\"It''s\".\"a sequence\"'::regclass)"},
        {"identity": "ALWAYS"},
        {"identity": "BY DEFAULT"},
    ],
)
def test_columns_that_count(attributes: dict[str, Any]) -> None:
    assert column("id", sequence=SEQUENCE, **attributes).counts


@pytest.mark.parametrize(
    ("type_name", "attributes"),
    [
        ("bigint", {}),
        ("bigint", {"default": "7"}),
        ("bigint", {"default": f"({NEXT} * 2)", "sequence": SEQUENCE}),
        ("bigint", {"default": f"({NEXT} + nextval('others'::regclass))", "sequence": SEQUENCE}),
        ("text", {"default": NEXT, "sequence": SEQUENCE}),
    ],
)
def test_columns_that_do_not(type_name: str, attributes: dict[str, Any]) -> None:
    assert not column("id", type_name, **attributes).counts


def test_what_draws_from_a_sequence_is_generated_wherever_it_stands() -> None:
    number = column("number", sequence=SEQUENCE, default=NEXT)
    code = column("code", "text", sequence=SEQUENCE, default=f"('A'::text || {NEXT})")
    assert generated(column("id"), number, code, column("state", "text", default="'new'::text")) == ["number", "code"]


def test_a_shard_key_is_generated_whatever_its_default_is() -> None:
    assert generated(column("id", "text", default="md5((random())::text)")) == ["id"]
    assert generated(column("id")) == []


def test_what_the_router_mints_is_not_generated() -> None:
    minted = column("id", "uuid", default="gen_random_uuid()")
    assert generated(minted) == []
    assert generated(minted, column("owner"), comment="@shard_by owner") == []
    assert generated(minted, column("number"), key=("id", "number")) == ["id"]


def test_a_reference_table_counts_on_its_first_shard() -> None:
    assert generated(column("id", identity="ALWAYS", sequence=SEQUENCE), comment="@reference") == []

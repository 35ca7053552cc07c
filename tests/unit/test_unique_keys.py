"""Unique keys and exclusion constraints must hold a column that places the row."""

import msgspec
import pytest

from catalog.model import Exclusion, UniqueKey
from tests.schema_builders import NOTES, REGIONS, USERS, column, placement_of, plan_of, refusal_of, table


@pytest.mark.parametrize("columns", [("owner", "title"), ("title", "id"), ("owner",)])
def test_unique_keys_with_a_locator(columns: tuple[str, ...]) -> None:
    key = UniqueKey("notes_key", columns, plain=False)
    plan_of(msgspec.structs.replace(NOTES, unique_keys=(*NOTES.unique_keys, key)))


@pytest.mark.parametrize("columns", [("reply",), ()])
def test_unique_keys_without_a_locator(columns: tuple[str, ...]) -> None:
    key = UniqueKey("notes_key", columns, constraint=False, plain=False)
    message = refusal_of(msgspec.structs.replace(NOTES, unique_keys=(*NOTES.unique_keys, key)))
    assert 'unique index "notes_key" holds no column that places a row ("owner" or "id")' in message
    assert 'add "owner" to it' in message


def test_a_primary_key_without_the_shard_key() -> None:
    message = refusal_of(table("notes", "@shard_by owner", column("owner"), column("id")))
    assert 'PRIMARY KEY "notes_pkey" holds no column that places a row ("owner")' in message


def test_a_table_without_any_key() -> None:
    assert placement_of(table("log", "@shard_by id", key=())).shard_key == "id"


def test_exclusion_constraints() -> None:
    plan_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ("id",)),)))
    plan_of(msgspec.structs.replace(REGIONS, exclusions=(Exclusion("apart", ()),)))
    message = refusal_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ()),)))
    assert 'EXCLUDE constraint "apart" could not see rows on other shards' in message

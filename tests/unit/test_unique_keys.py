"""Unique keys and exclusion constraints must hold a column that places the row."""

import msgspec
import pytest

from catalog.model import Exclusion, TableName, UniqueKey
from tests.schema_builders import NOTES, REGIONS, USERS, column, placement_of, plan_of, refusal_of, table

TITLED_NOTES = msgspec.structs.replace(NOTES, columns=(*NOTES.columns, column("title", "text")))


@pytest.mark.parametrize("columns", [("owner", "title"), ("title", "id"), ("owner",)])
def test_unique_keys_with_a_locator(columns: tuple[str, ...]) -> None:
    key = UniqueKey("notes_key", columns, plain=False)
    plan_of(msgspec.structs.replace(NOTES, unique_keys=(*NOTES.unique_keys, key)))


@pytest.mark.parametrize("columns", [("reply",), ()])
def test_unique_keys_without_a_locator(columns: tuple[str, ...]) -> None:
    key = UniqueKey("notes_key", columns, constraint=False, plain=False)
    message = refusal_of(msgspec.structs.replace(NOTES, unique_keys=(*NOTES.unique_keys, key)))
    assert 'unique index "notes_key" holds no column that places a row ("owner" or "id"), and an index that' in message
    assert 'add "owner" to it' in message


def test_a_key_without_overlaps_needs_a_locator() -> None:
    """Claims compare for equality."""
    keys = [UniqueKey("notes_key", (first, "during"), without_overlaps=True) for first in ("title", "owner")]
    notes = msgspec.structs.replace(TITLED_NOTES, columns=(*TITLED_NOTES.columns, column("during", "daterange")))
    message = refusal_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, keys[0])))
    assert "WITHOUT OVERLAPS cannot see rows on other shards" in message
    plan_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, keys[1])))


def test_a_primary_key_without_the_shard_key_is_claimed() -> None:
    [claim] = plan_of(table("notes", "@shard_by owner", column("owner"), column("id"))).claims
    assert claim.id == "public.notes_pkey"
    assert claim.columns == claim.placing == ("id",)
    assert claim.claims == TableName("crosskey_claim_public", "notes")


def test_claims_of_one_table_are_in_schemas_of_their_own() -> None:
    keys = tuple(UniqueKey(f"{name}_key", (name,)) for name in ("title", "reply"))
    claims = plan_of(msgspec.structs.replace(TITLED_NOTES, unique_keys=(*NOTES.unique_keys, *keys))).claims
    assert [claim.claims.schema for claim in claims] == ["crosskey_claim_public", "crosskey_claim_public_2"]


def test_a_claim_is_placed_by_what_has_a_slot() -> None:
    both = UniqueKey("day_key", ("day", "title"))
    notes = msgspec.structs.replace(TITLED_NOTES, columns=(*TITLED_NOTES.columns, column("day", "date")))
    [claim] = plan_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, both))).claims
    assert claim.placing == ("title",)
    alone = UniqueKey("day_key", ("day",))
    message = refusal_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, alone)))
    assert 'UNIQUE constraint "day_key" holds no column that places a row' in message
    assert "so no slot can be told for its values" in message


def test_a_table_without_any_key() -> None:
    assert placement_of(table("log", "@shard_by id", key=())).shard_key == "id"


def test_exclusion_constraints() -> None:
    plan_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ("id",)),)))
    plan_of(msgspec.structs.replace(REGIONS, exclusions=(Exclusion("apart", ()),)))
    message = refusal_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ()),)))
    assert 'EXCLUDE constraint "apart" could not see rows on other shards' in message

"""Unique keys and exclusion constraints must hold a column that places the row."""

import msgspec
import pytest

from crosskey.catalog.model import Computed, Exclusion, Table, TableName, UniqueKey
from tests.schema_builders import NOTES, REGIONS, USERS, column, placement_of, plan_of, refusal_of, table

TITLED_NOTES = msgspec.structs.replace(NOTES, columns=(*NOTES.columns, column("title", "text")))


@pytest.mark.parametrize("columns", [("owner", "title"), ("title", "id"), ("owner",)])
def test_unique_keys_with_a_locator(columns: tuple[str, ...]) -> None:
    key = UniqueKey("notes_key", columns, plain=False)
    plan_of(msgspec.structs.replace(NOTES, unique_keys=(*NOTES.unique_keys, key)))


LOWERED = Computed((column("lower", "text"),), ("lower(title)",), ("title",), "lower(title)", "(reply IS NULL)")


def _with_index(key: UniqueKey) -> Table:
    return msgspec.structs.replace(TITLED_NOTES, unique_keys=(*NOTES.unique_keys, key))


def test_an_index_that_is_partial_and_over_an_expression_is_claimed() -> None:
    [claim] = plan_of(_with_index(UniqueKey("notes_key", (), constraint=False, plain=False, computed=LOWERED))).claims
    assert (claim.columns, claim.placing, claim.reads) == (("lower",), ("lower",), ("title",))
    assert claim.shown == "lower(title) WHERE (reply IS NULL)"


def test_an_index_beside_the_shard_key_is_not_claimed() -> None:
    key = UniqueKey("notes_key", ("owner",), constraint=False, plain=False, computed=LOWERED)
    assert not plan_of(_with_index(key)).claims


@pytest.mark.parametrize(
    ("computed", "why"),
    [
        (None, "compares values in another way"),
        (msgspec.structs.replace(LOWERED, alike=False), "compares values in another way"),
        (msgspec.structs.replace(LOWERED, of_whole_rows=True), "reads whole rows"),
        (
            msgspec.structs.replace(LOWERED, columns=(column("date_trunc", "timestamp"),)),
            'its values tell no slot, as those of integers, uuid, text and varchar do: "date_trunc" is timestamp',
        ),
    ],
    ids=str,
)
def test_indexes_that_cannot_be_claimed(computed: Computed | None, why: str) -> None:
    message = refusal_of(_with_index(UniqueKey("notes_key", (), constraint=False, plain=False, computed=computed)))
    assert f'unique index "notes_key" holds no column that places a row ("owner" or "id"), and {why}' in message
    assert 'add "owner" to it' in message


def test_a_key_without_overlaps_needs_a_locator() -> None:
    """Claims compare for equality."""
    keys = [UniqueKey("notes_key", (first, "during"), without_overlaps=True) for first in ("title", "owner")]
    notes = msgspec.structs.replace(TITLED_NOTES, columns=(*TITLED_NOTES.columns, column("during", "daterange")))
    message = refusal_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, keys[0])))
    assert "is WITHOUT OVERLAPS, whereas claims compare for equality" in message
    plan_of(msgspec.structs.replace(notes, unique_keys=(*NOTES.unique_keys, keys[1])))


@pytest.mark.parametrize(
    ("type_name", "why", "advice"),
    [
        ("citext", "is citext, where texts that differ in case are equal;", 'CHECK ("word" = lower("word"))'),
        ("numeric", "is numeric, where equal numbers", "unique index over an expression"),
        ("date", "is date, where its text depends on", "unique index over an expression"),
        ("mood", "is mood;", "unique index over an expression"),
        ("bool", "is bool, where there are only two values", "unique index over an expression"),
    ],
)
def test_a_key_whose_values_tell_no_slot(type_name: str, why: str, advice: str) -> None:
    word = column("word", type_name, base_type=type_name if type_name == "bool" else f"public.{type_name}")
    is_plain = type_name != "citext"
    key = UniqueKey("word_key", ("word",), plain=is_plain, by_equals=not is_plain)
    words = table("words", "@shard_by id", column("id"), word)
    message = refusal_of(msgspec.structs.replace(words, unique_keys=(*words.unique_keys, key)))
    assert f'its values tell no slot, as those of integers, uuid, text and varchar do: "word" {why}' in message
    assert advice in message


def test_a_key_of_which_one_column_is_of_an_extensions_type() -> None:
    key = UniqueKey("word_key", ("title", "word"), plain=False, by_equals=True)
    columns = column("id"), column("title", "text"), column("word", "citext", base_type="public.citext")
    words = table("words", "@shard_by id", *columns)
    message = refusal_of(msgspec.structs.replace(words, unique_keys=(*words.unique_keys, key)))
    assert """claims do not compare values of an extension's type as it does: "word" (citext);""" in message
    assert 'make it a unique index over lower("word"::text)' in message


def test_a_key_over_a_collation_that_is_not_deterministic() -> None:
    name = column("name", "text", deterministic_collation=False)
    keys = UniqueKey("t_pkey", ("id",), primary=True), UniqueKey("name_key", ("name",))
    message = refusal_of(table("t", "@shard_by id", column("id"), name, unique_keys=keys))
    assert '"name" has a collation that calls texts equal that differ;' in message


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
    assert "its values tell no slot" in message


def test_a_table_without_any_key() -> None:
    assert placement_of(table("log", "@shard_by id", key=())).shard_key == "id"


def test_exclusion_constraints() -> None:
    plan_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ("id",)),)))
    plan_of(msgspec.structs.replace(REGIONS, exclusions=(Exclusion("apart", ()),)))
    message = refusal_of(msgspec.structs.replace(USERS, exclusions=(Exclusion("apart", ()),)))
    assert 'EXCLUDE constraint "apart" could not see rows on other shards' in message

"""Ids for a shard key, before the row is written."""

from uuid import UUID

import pytest
from click.testing import CliRunner

import crosskey
from crosskey.catalog.slots import slot_of_uuid, slot_of_value
from crosskey.cli.mint import mint
from crosskey.slots import ShardKeyType

PARENT = UUID("018f4e3c-7b1a-7c3d-9e2f-0123456789ab")

KEYS: list[tuple[int | str | UUID, ShardKeyType | None, str]] = [
    (42, None, "int8"),
    (-(2**63), None, "int8"),
    ("42", "integer", "int4"),
    ("42", "text", "text"),
    ("Zoë", None, "varchar"),
    (PARENT, None, "uuid"),
    (str(PARENT), "uuid", "uuid"),
    (str(PARENT), "text", "text"),
]


@pytest.mark.parametrize(("key", "column_type", "base_type"), KEYS)
def test_an_id_carries_the_slot_that_the_router_computes(
    key: int | str | UUID, column_type: ShardKeyType | None, base_type: str
) -> None:
    minted = crosskey.mint_for(key, column_type)
    assert minted.version == 7
    assert slot_of_uuid(minted) == slot_of_value(base_type, key if isinstance(key, int) else str(key))


@pytest.mark.parametrize(
    ("key", "column_type", "message"),
    [
        (str(PARENT), None, "may be a uuid or a text"),
        ("x", "uuid", "badly formed"),
        ("x", "integer", "invalid literal"),
        (5, "text", "no shard key of type text"),
        (True, None, "not True"),
        (1.5, None, "not 1.5"),
    ],
)
def test_what_is_no_shard_key_is_refused(key: int, column_type: ShardKeyType | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crosskey.mint_for(key, column_type)


def test_the_command_mints_as_many_as_asked() -> None:
    result = CliRunner().invoke(mint, ["42", "--count", "3"])
    assert result.exit_code == 0, result.output
    minted = [UUID(line) for line in result.output.split()]
    assert {slot_of_uuid(one) for one in minted} == {13127}
    assert len(set(minted)) == 3
    refused = CliRunner().invoke(mint, [str(PARENT)])
    assert (refused.exit_code, "may be a uuid or a text" in refused.output) == (2, True)

"""Foreign keys that cannot be @enforce eventual, each refused with the reason; and what becomes of those that can."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crosskey.catalog.eventual import hidden_by
from crosskey.catalog.model import Exclusion, ForeignKey, UniqueKey
from tests.schema_builders import column, foreign_key, plan_of, refusal_of, refusals_of, table

DRIVERS = table("drivers", "@shard_by id", column("id"), column("place"))
TRIPS = table("trips", "@shard_by id", column("id"), column("driver", not_null=False), column("fixed"))
STOPS = table("stops", "@shard_by trip", column("trip"), column("number"), key=("trip", "number"))


def by(tag: str = "@enforce eventual", on_delete: Any = "CASCADE", column: str = "driver", **more: Any) -> ForeignKey:
    return foreign_key("trips", column, "drivers", on_delete=on_delete, comment=tag, **more)


def test_the_key_has_a_referenced_key_of_its_own_kind() -> None:
    [referenced] = plan_of(DRIVERS, TRIPS, by()).referenced_keys
    assert referenced.eventual
    assert (str(referenced.dead), str(referenced.departed)) == (
        "crosskey.dead_public_drivers_id",
        "crosskey.departed_public_drivers_id",
    )
    [plain] = plan_of(DRIVERS, TRIPS, by("")).referenced_keys
    assert not plain.eventual


def test_rows_that_share_a_shard_have_a_shadow_too() -> None:
    [key] = plan_of(DRIVERS, table("trips", "@shard_by driver", column("id"), column("driver")), by()).keys
    assert key.kind == "cross-shard"
    assert key.reason == "rows of trips and drivers share a shard, but are cleaned up later: @enforce eventual"


def test_children_of_children_are_hidden_too() -> None:
    local = foreign_key("stops", "trip", "trips", on_delete="CASCADE")
    hidden = hidden_by(plan_of(DRIVERS, TRIPS, STOPS, by(), local).keys)
    assert {str(name) for name in hidden} == {"trips", "stops"}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (by("@enforce"), "@enforce takes the word eventual, not ''"),
        (by("@enforce lazily"), "@enforce takes the word eventual, not 'lazily'"),
        (by(on_delete="RESTRICT"), "ON DELETE RESTRICT must be answered before the row goes"),
        (by(on_delete="NO ACTION"), "ON DELETE NO ACTION must be answered before the row goes"),
        (by(on_delete="SET NULL", column="fixed"), '"fixed" is NOT NULL'),
        (by(on_delete="SET DEFAULT", column="fixed"), '"fixed" is NOT NULL'),
        (by(on_delete="SET NULL", column="id"), '"id" places the row, which would move'),
    ],
)
def test_refusals(key: ForeignKey, why: str) -> None:
    assert why in refusal_of(DRIVERS, TRIPS, key)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (foreign_key("trips", "fixed", "drivers", on_delete="CASCADE"), "another key onto public.drivers(id) is"),
        (foreign_key("stops", "number", "trips", on_delete="CASCADE"), "rows of trips are hidden while they are"),
        (foreign_key("stops", "trip", "trips"), "rows of trips are hidden while they are"),
        (foreign_key("trips", "fixed", "trips", on_delete="CASCADE"), "rows of trips are hidden while they are"),
    ],
)
def test_keys_that_cannot_be_beside_it(other: ForeignKey, why: str) -> None:
    assert why in refusal_of(DRIVERS, TRIPS, STOPS, by(), other)


def test_a_live_copy_must_be_able_to_go() -> None:
    copied = column("place_of_driver", comment="@copy driver.place")
    trips = table("trips", "@shard_by id", column("id"), column("driver", not_null=False), copied)
    refusal = refusal_of(DRIVERS, trips, by(on_delete="SET NULL"))
    assert '"place_of_driver", a live copy along it, is NOT NULL' in refusal
    plan_of(DRIVERS, trips, by())


def test_reference_tables_are_refused() -> None:
    cities = table("drivers", "@reference", column("id"))
    assert "drivers is a reference table" in refusal_of(cities, TRIPS, by())


def test_parents_that_only_a_claim_finds_are_refused() -> None:
    placed = table("drivers", "@shard_by place", column("id"), column("place"))
    assert "are found by a claim on id" in refusal_of(placed, TRIPS, by())


def test_circles_of_hidden_rows_are_refused() -> None:
    trips = table("trips", "@shard_by id", column("id"), column("driver"), column("stop", not_null=False))
    stops = table("stops", "@shard_by id", column("id"), column("trip"), key=("id",))
    there = foreign_key("stops", "id", "trips", on_delete="CASCADE")
    back = foreign_key("trips", "id", "stops", on_delete="CASCADE")
    refusals = refusals_of(DRIVERS, trips, stops, by(), there, back)
    assert len(refusals) == 2
    assert all("reference each other in a circle" in refusal for refusal in refusals)
    plan_of(DRIVERS, trips, stops, by(), there)


@pytest.mark.parametrize(
    "apart",
    [
        {"unique_keys": (UniqueKey("apart", ("id",), constraint=False, plain=False),)},
        {"unique_keys": (UniqueKey("apart", ("id", "driver"), without_overlaps=True),)},
        {"exclusions": (Exclusion("apart", ("id",)),)},
    ],
)
def test_what_keeps_hidden_rows_apart_by_more_than_equal_columns_is_refused(apart: dict[str, Any]) -> None:
    trips = msgspec.structs.replace(TRIPS, **apart)
    assert 'by "apart" a hidden row could be in another\'s way' in refusal_of(DRIVERS, trips, by())
    plan_of(DRIVERS, trips, by(on_delete="SET NULL"))

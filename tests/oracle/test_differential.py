"""Generated schemas and operations: whatever is asked, a cluster and one plain PostgreSQL do the same.

`make soak-differential SECONDS=..` does so for longer, with other schemas each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.oracle.differential.arena import Arena
from tests.oracle.differential.failure_script import SCRIPT
from tests.oracle.differential.judge import Judge
from tests.oracle.differential.machine import SHRINK_SECONDS, Run, for_seconds, run_examples
from tests.oracle.differential.shapes import ACTIONS, GENERATED, SHAPES, TIMINGS, FamilyMaker
from tests.oracle.differential.stage import Stage

pytestmark = pytest.mark.searches

SEED = 1
SECONDS = 12.0
FAMILIES_OF_SCHEMA = 18

_maker = FamilyMaker(Random(SEED))
FAMILIES = [_maker.family() for _ in range(FAMILIES_OF_SCHEMA)]
TABLES = [table for family in FAMILIES for table in family.tables]
KEYS = [key for family in FAMILIES for key in family.foreign_keys]


@pytest.fixture(scope="module")
def pair(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Both sides with all families; at their end the cluster must be in perfect order."""
    stage = Stage(postgres, tmp_path_factory.mktemp("differential"))
    with stage.judge("\n".join(family.ddl for family in FAMILIES)) as judge:
        yield judge
        judge.check_health()


@pytest.mark.timeout(SECONDS + SHRINK_SECONDS + 60)
def test_both_sides_do_the_same(pair: Judge) -> None:
    run = Run(Arena(pair, FAMILIES), SCRIPT, for_seconds(SECONDS))
    run_examples(run, SEED)
    assert pair.counts["done"]
    assert pair.counts["refused"]


def test_the_families_have_everything() -> None:
    assert {family.shape for family in FAMILIES} == SHAPES.keys()
    assert {(key.on_delete, key.on_update) for key in KEYS} == {(one, other) for one in ACTIONS for other in ACTIONS}
    assert {key.timing for key in KEYS} == set(TIMINGS)
    assert {key.match for key in KEYS} == {"SIMPLE", "FULL"}
    assert any(key.on_delete_columns for key in KEYS)
    assert any(table.shard_key is None for table in TABLES)
    assert any(table.with_parent for table in TABLES)
    assert {table.generated for table in TABLES} == {*GENERATED, None}
    assert any(table.generated and table.shard_key == "id" for table in TABLES)
    assert {family.key_type for family in FAMILIES} == {"bigint", "integer", "text"}


def test_some_unique_keys_are_claimed(pair: Judge) -> None:
    assert Arena(pair, FAMILIES).claims


def test_some_foreign_keys_reference_claimed_keys(pair: Judge) -> None:
    generated = {table.name for table in TABLES if table.generated}
    claimed = [key for key in Arena(pair, FAMILIES).referenced_keys if key.claim is not None]
    assert any(key.parent.name in generated and "id" in key.columns for key in claimed)
    assert any(key.parent.name not in generated for key in claimed)

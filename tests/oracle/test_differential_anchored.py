"""Generated families whose rows live with parents that only claims find: a cluster and one PostgreSQL do the same."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.oracle.differential.anchored_families import anchored_families
from tests.oracle.differential.arena import Arena
from tests.oracle.differential.failure_script import SCRIPT
from tests.oracle.differential.judge import Judge
from tests.oracle.differential.machine import SHRINK_SECONDS, Run, for_seconds, run_examples
from tests.oracle.differential.stage import Stage

pytestmark = pytest.mark.searches

SEED = 1
SECONDS = 8.0
FAMILIES = [*anchored_families(Random(SEED), 8)]


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

"""Nodes and routers are killed while a migration is carried out: it is resumed, and nothing is ever half there."""

import random
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from tests.crashes.chaos import kill_node, kill_router, wait_until_quiet
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seed, say
from tests.migrations.schema import END, SCHEMA, fill, with_changes

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

KILLS = 4
CHANGED = with_changes(
    (
        ("age integer", "email text NOT NULL DEFAULT 'none', age integer"),
        ("home text", "home text NOT NULL CHECK (home <> '')"),
        ("about bigint", "about bigint REFERENCES users ON DELETE SET NULL"),
        (END, "CREATE INDEX homes ON users (home);"),
    )
)


@pytest.fixture
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(
        SCHEMA,
        shards=2,
        routers=2,
        router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"},
    )


@pytest.fixture
def address(cluster: LocalCluster) -> str:
    with Client(cluster.address, timeout=60) as client:
        fill(client)
    return cluster.address


def test_a_migration_whose_servers_are_killed_comes_to_its_end(cluster: LocalCluster, address: str) -> None:
    choices = random.Random(seed := run_seed())
    say(f"seed {seed}")
    for turn in range(KILLS):
        options: dict[str, Any]
        wanted, options = (CHANGED, {}) if turn % 2 == 0 else (SCHEMA, {"allow_destructive": True})
        migrating = threading.Thread(target=_migrate, args=(address, wanted, options))
        migrating.start()
        time.sleep(choices.uniform(0, 3))
        choices.choice([kill_node, kill_router])(cluster, choices)
        migrating.join()
        wait_until_quiet(cluster)
        with Client(address, timeout=120) as client:
            if client.list_migrations(1) and not client.list_migrations(1)[0].HasField("ended_at"):
                client.apply_migration(resume=True)
            client.apply_migration(wanted, **options)
            assert client.audit() == []
            assert client.plan_migration(wanted).steps == []
            assert client.count("users") == 40
            assert client.count("notes") == 400


def _migrate(address: str, wanted: str, options: dict[str, Any]) -> None:
    with suppress(errors.CrosskeyError), Client(address, timeout=60) as client:
        client.apply_migration(wanted, **options)

"""One cluster and one plain PostgreSQL for all scripts; after each script, all tables are the same on both."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from crosskey import Client
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.isolation.families import DEFAULT_PARENT, SCHEMA
from tests.isolation.stage import SESSIONS, Stage
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.plain import plain_postgres
from tests.shard_sql import as_superuser

DATABASE = "plain_isolation"
# Longer than a script makes a session wait, but for one that ends in a deadlock that no single server sees.
NODE_ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "2000"}
DETECT_DEADLOCKS_SOON = "-c deadlock_timeout=200ms"
CLIENT_SECONDS = 60.0


@pytest.fixture(scope="session")
def stage(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both sides with the families' tables; in the end the cluster must be in perfect order."""
    with ExitStack() as lifetime:
        fresh_cluster = FreshClusters(postgres, tmp_path_factory.mktemp("isolation"), lifetime)
        cluster = fresh_cluster(SCHEMA, shards=SHARDS, node_environment=NODE_ENVIRONMENT)
        plain = lifetime.enter_context(plain_postgres(postgres[0].dsn(), DATABASE, SCHEMA))
        client = lifetime.enter_context(Client(cluster.address, timeout=CLIENT_SECONDS))
        plain_dsn = postgres[0].dsn(database=DATABASE)
        plain_connections = [
            lifetime.enter_context(psycopg.connect(plain_dsn, autocommit=True, options=DETECT_DEADLOCKS_SOON))
            for _ in range(1 + SESSIONS)
        ]
        shards = [lifetime.enter_context(as_superuser(cluster, shard)) for shard in range(SHARDS)]
        executor = lifetime.enter_context(ThreadPoolExecutor())
        pair = Pair(cluster, client, plain, lifetime)
        pair.insert("parents", {"id": DEFAULT_PARENT})
        yield Stage(pair, plain_connections, shards, executor)
        pair.check_health()

"""Schemas that two clients apply at once: one is installed, and no client is told that its schema is at fault."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import admin_pb2
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import as_superuser, query, wait_for_waiters

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY);
COMMENT ON TABLE users IS '@shard_by id';
"""
OTHER_SCHEMA = SCHEMA.replace("users", "people")

PATIENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "20000"}

_END_WAITERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND wait_event_type = 'Lock'
"""

Applied = Future[admin_pb2.ApplySchemaResponse]


@pytest.fixture
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Without a schema."""
    return fresh_cluster(shards=2, routers=2, node_environment=PATIENT)


@contextmanager
def installing(cluster: LocalCluster, *schemas: str) -> Iterator[list[Applied]]:
    """Every schema is applied through a router of its own; none is installed before the context ends."""
    with ThreadPoolExecutor() as background, as_superuser(cluster, 0) as holder, holder.transaction():
        holder.execute("LOCK TABLE crosskey.schema IN EXCLUSIVE MODE")
        applied = []
        for schema, router in zip(schemas, cluster.routers, strict=False):
            applied.append(background.submit(apply, router.address, schema))
            wait_for_waiters(cluster, 0, len(applied))
        yield applied


def apply(address: str, schema: str) -> admin_pb2.ApplySchemaResponse:
    with Client(address, timeout=60) as client:
        return client.apply_schema(schema)


def test_one_schema_applied_twice_at_once_is_installed_once(cluster: LocalCluster) -> None:
    with installing(cluster, SCHEMA, SCHEMA) as applied:
        pass
    assert [each.result().changed for each in applied] == [True, False]
    with Client(cluster.routers[1].address) as client:
        client.insert("users", [{"id": number} for number in range(20)])


def test_of_two_schemas_applied_at_once_the_later_is_told_of_the_other(cluster: LocalCluster) -> None:
    with installing(cluster, SCHEMA, OTHER_SCHEMA) as (first, second):
        pass
    assert first.result().changed
    assert isinstance(second.exception(), errors.SchemaChanged)


def test_a_schema_is_not_at_fault_for_a_connection_that_is_ended(cluster: LocalCluster) -> None:
    with installing(cluster, SCHEMA) as (applied,):
        query(cluster, 0, _END_WAITERS)
        assert isinstance(applied.exception(), errors.ShardUnavailable)
    assert apply(cluster.address, SCHEMA).changed

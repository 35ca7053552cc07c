"""Clusters for the documentation's examples, on the PostgreSQL that their answers are from."""

import pytest

from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from tests.docs.examples import ROOT, fences
from tests.fresh_cluster import FreshClusters

ANSWERS_ARE_FROM = 18


@pytest.fixture(scope="module")
def messenger(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster as `make up` starts it."""
    schema = ROOT / "examples" / "messenger" / "schema.sql"
    return _on_documented_version(fresh_cluster(schema.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def members(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema of the examples of errors."""
    [schema] = [code for language, code in fences(ROOT / "docs" / "errors.md") if language == "sql"]
    return _on_documented_version(fresh_cluster(schema))


@pytest.fixture(scope="module")
def accounts(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema of the examples of upserts."""
    [schema] = [code for language, code in fences(ROOT / "docs" / "upserts.md") if language == "sql"]
    return _on_documented_version(fresh_cluster(schema))


@pytest.fixture(scope="module")
def things(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema of the examples of types."""
    [schema] = [code for language, code in fences(ROOT / "docs" / "types.md") if language == "sql"]
    return _on_documented_version(fresh_cluster(schema))


@pytest.fixture(scope="module")
def books(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema of the examples of the clients."""
    [schema] = [code for language, code in fences(ROOT / "docs" / "clients.md") if language == "sql"]
    return _on_documented_version(fresh_cluster(schema))


def _on_documented_version(cluster: LocalCluster) -> LocalCluster:
    with Client(cluster.address) as client:
        version = client.describe_topology().shards[0].postgres_version
    if not version.startswith(f"{ANSWERS_ARE_FROM}."):
        pytest.skip(f"PostgreSQL {version} words some errors otherwise")
    return cluster

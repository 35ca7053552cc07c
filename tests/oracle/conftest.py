"""A pair of Crosskey and PostgreSQL for each module, with the schema that the module gives in SCHEMA."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from crosskey import Client
from crosskey_cli.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.plain import plain_postgres

PARENT_SHARD = 0

_numbers = itertools.count()


@pytest.fixture(scope="module")
def pair(
    fresh_cluster: FreshClusters, postgres: list[PostgresServer], request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """Both sides with the module's schema; at its end the cluster must be in perfect order."""
    schema: str = request.module.SCHEMA
    cluster = fresh_cluster(schema, shards=SHARDS)
    with ExitStack() as lifetime:
        plain = lifetime.enter_context(plain_postgres(postgres[0].dsn(), f"plain_{next(_numbers)}", schema))
        client = lifetime.enter_context(Client(cluster.address))
        pair = Pair(cluster, client, plain, lifetime)
        yield pair
        pair.check_health()


@pytest.fixture(autouse=True)
def _same_tables(pair: Pair) -> Iterator[None]:
    """After each test, all tables are the same on both sides."""
    yield
    pair.check_tables()


@pytest.fixture(params=["together", "apart"])
def child_shard(request: pytest.FixtureRequest) -> int:
    """The shard of children whose parents live on PARENT_SHARD: the same one, or another."""
    return PARENT_SHARD if request.param == "together" else PARENT_SHARD + 1

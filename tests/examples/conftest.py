"""Clusters for the stories of the examples, one at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from crosskey import Client
from crosskey.local_cluster.postgres import PostgresServer
from tests.examples.telling import EXAMPLES, to_be_told, told
from tests.fresh_cluster import FreshClusters

Tell: TypeAlias = Callable[[str], Client]


@pytest.fixture
def tell(postgres: list[PostgresServer], tmp_path: Path) -> Iterator[Tell]:
    """Tells the story of an example on a cluster of its own, and returns a client to look at what it left.

    It must print what its README says, and leave nothing that the audit finds.
    """
    with ExitStack() as lifetime:

        def tell(name: str) -> Client:
            schema = (EXAMPLES / name / "schema.sql").read_text(encoding="utf-8")
            cluster = FreshClusters(postgres, tmp_path, lifetime)(schema)
            assert told(name, cluster.address) == to_be_told(name)
            client = lifetime.enter_context(Client(cluster.address))
            assert client.audit() == []
            return client

        yield tell

"""A pair of Crosskey and PostgreSQL for each module, with the schema that the module gives in SCHEMA."""

from collections.abc import Iterator

import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.oracle.pair import Pair
from tests.oracle.shared_pairs import SharedPairs

PARENT_SHARD = 0


@pytest.fixture(scope="session")
def shared_pairs(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPairs]:
    """The pairs of the session; what is still open at its end is stopped."""
    pairs = SharedPairs(postgres, tmp_path_factory.mktemp("pairs"))
    yield pairs
    pairs.close()


@pytest.fixture(scope="module")
def pair(shared_pairs: SharedPairs, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both sides with the module's schema."""
    module = _module(request.node)
    yield shared_pairs.open(module)
    modules = [_module(item) for item in request.session.items]
    last = len(modules) - modules[::-1].index(module)
    shared_pairs.close_unless_needed(module, modules[last:])


@pytest.fixture(autouse=True)
def _same_tables(pair: Pair) -> Iterator[None]:
    """After each test, all tables are the same on both sides."""
    yield
    pair.check_tables()


@pytest.fixture(params=["together", "apart"])
def child_shard(request: pytest.FixtureRequest) -> int:
    """The shard of children whose parents live on PARENT_SHARD: the same one, or another."""
    return PARENT_SHARD if request.param == "together" else PARENT_SHARD + 1


def _module(node: pytest.Item | pytest.Module) -> str:
    """The name of a test's module in its folder."""
    return node.path.stem

"""What all tests share: PostgreSQL servers for the session, and fresh clusters on them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from tests.fresh_cluster import FreshClusters
from tests.memory_folder import folder_in_memory
from tests.oracle.shared_pairs import family

POSTGRES_BIN_VARIABLE = "CROSSKEY_TEST_POSTGRES_BIN"
SERVERS = 3


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder of its own.

    Pytest's is the same for all runs of a user, and each that starts makes it private again: under the feet of the
    others' PostgreSQL servers, which run as another user.
    """
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="crosskey-tests-")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the run's folder; logs in it are kept if a test failed."""
    if exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL as service-level."""
    for item in items:
        if isinstance(item, pytest.Function) and "postgres" in item.fixturenames:
            item.add_marker(pytest.mark.service)


class SharedPairScheduling(LoadFileScheduling):  # type: ignore[misc]  # published without types
    """Keeps the tests of a module in one process, and modules that share a pair in one too."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        return "-".join(family(file.stem)) if file.parent.name == "oracle" else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedPairScheduling:
    """Choose how tests are dealt out to processes."""
    return SharedPairScheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[list[PostgresServer]]:
    """Three PostgreSQL servers, fast and forgetful; of the version in CROSSKEY_TEST_POSTGRES_BIN if that is set."""
    binaries = os.environ.get(POSTGRES_BIN_VARIABLE)
    with (
        tempfile.TemporaryDirectory(prefix="crosskey-test-", dir=folder_in_memory()) as folder,
        postgres_servers(Path(folder), SERVERS, binaries=Path(binaries) if binaries else None, fast=True) as servers,
    ):
        yield servers


@pytest.fixture(scope="module")
def fresh_cluster(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshClusters]:
    """A factory of running clusters, each with databases of its own.

    Each stops at the end of the module, and its databases go.
    """
    with ExitStack() as clusters:
        yield FreshClusters(postgres, tmp_path_factory.mktemp("cluster"), clusters)

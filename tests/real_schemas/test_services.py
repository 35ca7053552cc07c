"""Queues of tasks, and a store of experiments: nobody here wrote their schemas, or edits them."""

from pathlib import Path

import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.real_schemas.journey import Expected, go_all_the_way
from tests.real_schemas.published import Application

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

APPLICATIONS = [
    (Application("mlflow", ["mlflow_store.py"]), Expected(local=0.7, copied=0)),
    (
        Application("procrastinate", ["procrastinate_queue.py"]),
        Expected(local=0.3, copied=0, refused="procrastinate_jobs_lock_idx_v1"),
    ),
    (
        Application("pgqueuer", ["pgqueuer_queue.py"]),
        Expected(local=1.0, copied=1, refused="cannot PREPARE a transaction that has executed"),
    ),
    (
        Application("pg_boss", ["pg_boss.cjs"]),
        Expected(local=1.0, copied=0, without_rows=2, refused="pgboss.job"),
    ),
    (Application("graphile_worker", ["graphile_worker.cjs"]), Expected(local=1.0, copied=0)),
]


@pytest.mark.parametrize(("application", "expected"), APPLICATIONS, ids=lambda one: getattr(one, "name", ""))
def test_a_schema_goes_all_the_way(
    postgres: list[PostgresServer], tmp_path: Path, application: Application, expected: Expected
) -> None:
    go_all_the_way(postgres, tmp_path, application, expected)

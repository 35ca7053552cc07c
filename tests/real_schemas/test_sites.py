"""Websites: Django, and two large applications of it: nobody here wrote their schemas, or edits them."""

from pathlib import Path

import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.real_schemas.journey import Expected, go_all_the_way
from tests.real_schemas.published import Application

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

APPLICATIONS = [
    (Application("django", ["django_project.py", "django"]), Expected(local=0.6, copied=1)),
    (Application("wagtail", ["django_project.py", "wagtail"]), Expected(local=0.5, copied=2)),
    (Application("oscar", ["django_project.py", "oscar"]), Expected(local=0.45, copied=3)),
]


@pytest.mark.parametrize(("application", "expected"), APPLICATIONS, ids=lambda one: getattr(one, "name", ""))
def test_a_schema_goes_all_the_way(
    postgres: list[PostgresServer], tmp_path: Path, application: Application, expected: Expected
) -> None:
    go_all_the_way(postgres, tmp_path, application, expected)

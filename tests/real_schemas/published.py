"""Published applications, and how each makes its own tables in an empty database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "applications"
PYTHON = ROOT / ".real" / "bin" / "python"
MODULES = ROOT / ".real" / "node" / "node_modules"
MIGRATION_SECONDS = 400


@dataclass(frozen=True)
class Application:
    """A published application; `program` is the file of applications/ that brings it up, with its arguments."""

    name: str
    program: Sequence[str]

    def bring_up(self, dsn: str) -> None:
        """Run the application's own migrations in the empty database; the test is skipped where it is not installed."""
        done = subprocess.run(
            self._command(),
            cwd=PROGRAMS,
            env={**os.environ, **_environment(dsn)},
            capture_output=True,
            text=True,
            timeout=MIGRATION_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def _command(self) -> list[str]:
        node = self.program[0].endswith(".cjs")
        if node and (shutil.which("node") is None or not MODULES.exists()):
            pytest.skip(f"{self.name} is a package of Node: install node and npm, then run `make test-real`")
        if not node and not PYTHON.exists():
            pytest.skip("the applications are not installed: run `make test-real`")
        return ["node" if node else str(PYTHON), *self.program]


def _environment(dsn: str) -> dict[str, str]:
    """What every client of PostgreSQL's reads, for a database."""
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    return {**{name: str(given[part]) for name, part in names.items()}, "NODE_PATH": str(MODULES)}

"""Connections come from the DSN alone: libpq would take whatever a DSN leaves out from the environment."""

from __future__ import annotations

import os

PREFIX = "PG"
"""Of every variable that libpq reads, and PostgreSQL's own programs."""


def forget_postgres_variables() -> None:
    """Takes PGHOST, PGPORT, PGOPTIONS and all the others from the environment of this process and its children."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]

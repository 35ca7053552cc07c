"""What a command line says where the packages that it needs are not installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def end_where_packages_are_missing(remedy: str) -> Iterator[None]:
    """End the process with one line if an import fails: the package that is not installed, and what brings it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] == "crosskey":
            raise
        sys.exit(f"Error: {missing.name} is not installed: {remedy}")

"""Commands for grpcurl, to paste."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def grpcurl_lines(address: str, tables: Sequence[str]) -> list[str]:
    """Return three commands that talk to the router at `address`; the last counts the first table's rows."""
    calls = ["list", "crosskey.v1.Admin/DescribeSchema"]
    calls.append("crosskey.v1.Router/Count" if tables else "crosskey.v1.Admin/DescribeTopology")
    data = f"""-d '{{"table": "{tables[0]}"}}' """ if tables else ""
    start = f"{shlex.quote(_grpcurl())} -plaintext"
    return [*(f"{start} {address} {call}" for call in calls[:2]), f"{start} {data}{address} {calls[2]}"]


def _grpcurl() -> str:
    """Return how to call grpcurl here: by name if it is on the PATH, else the one beside this Python."""
    beside = Path(sys.executable).with_name("grpcurl")
    return "grpcurl" if shutil.which("grpcurl") or not beside.exists() else str(beside)

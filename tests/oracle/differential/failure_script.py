"""A disagreement as a script that runs by itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.oracle.differential.family import Family
from tests.oracle.differential.operations import Operation

ROOT = Path(__file__).parents[3]

SCRIPT = ROOT / "build" / "disagreement.py"
"""Where the last failure is written to."""

_SCRIPT = '''"""Crosskey and one PostgreSQL disagree after the last of these operations.

{why}
"""

import sys

sys.path[:0] = [{root!r}, {clients!r}]

from tests.oracle.differential.operations import (
    Aggregate,
    Associate,
    Delete,
    Drawn,
    Group,
    Include,
    Insert,
    Joined,
    NestedInsert,
    OnConflict,
    Plus,
    Read,
    Related,
    SetConstraints,
    Sweep,
    Transaction,
    Update,
    Where,
)
from tests.oracle.differential.replay import replay

SCHEMA = """
{schema}"""

OPERATIONS = [
{operations}
]

if __name__ == "__main__":
    replay(SCHEMA, OPERATIONS)
'''


def failure_script(family: Family, operations: Iterable[Operation], why: str) -> str:
    """The text of a script that makes the family's tables and does the operations on both sides."""
    return _SCRIPT.format(
        why=why.replace("\\", "\\\\").replace('"""', "'''"),
        root=str(ROOT),
        clients=str(ROOT / "clients"),
        schema=family.ddl,
        operations="\n".join(f"    {operation!r}," for operation in operations),
    )

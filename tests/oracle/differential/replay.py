"""Doing the operations of a failure again."""

from __future__ import annotations

from collections.abc import Sequence

from crosskey import CrosskeyError
from tests.oracle.differential.operations import Operation
from tests.oracle.differential.stage import stage


def replay(schema_sql: str, operations: Sequence[Operation]) -> None:
    """Prints what each operation comes to. Raises DisagreementError where the sides do not agree."""
    with stage() as servers, servers.judge(schema_sql) as judge:
        for operation in operations:
            try:
                operation.run(judge)
                print(operation, "is done")  # noqa: T201
            except CrosskeyError as error:
                print(operation, "is refused:", error.message)  # noqa: T201
            judge.check_tables()
        judge.check_health()
        print("Both sides agree.")  # noqa: T201

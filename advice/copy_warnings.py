"""Tables that are on every shard though they are big, or written often: each of their writes is one on all shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosskey.advice.lookup_tables import MAX_CHANGES_SHARE, MAX_ROWS
from crosskey.advice.report import Warned
from crosskey.advice.survey import Survey, TableFacts
from crosskey.catalog.model import TableName
from crosskey.catalog.plan import TablePlan

FEW_WRITES = 1000
"""So few that no share of them tells anything."""


def warn_of_copies(placed: Mapping[TableName, TablePlan], survey: Survey) -> Iterator[Warned]:
    """Reference tables, proposed or kept, that counts speak against."""
    writes = sum(_writes(facts) for facts in survey.tables)
    for plan in placed.values():
        if plan.placement == "reference" and (why := _why_not(survey.facts(plan.table.name), writes)):
            yield Warned(
                "copied-to-all",
                str(plan.table.name),
                f"{why}: every shard has all of it, and each write to it is a transaction over all shards",
                "shard it, by what its rows are read by",
                urgent=True,
            )


def _why_not(facts: TableFacts, writes: int) -> str | None:
    if facts.rows > MAX_ROWS:
        return f"it has {facts.rows} rows"
    if _writes(facts) >= FEW_WRITES and _writes(facts) > writes * MAX_CHANGES_SHARE:
        return f"{_writes(facts)} of {writes} writes are to it"
    return None


def _writes(facts: TableFacts) -> int:
    return facts.inserts + facts.updates + facts.deletes

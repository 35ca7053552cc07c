"""How good a placement is, in numbers that can be compared: of two proposals the better one is proposed."""

from __future__ import annotations

from typing import Final

import msgspec

from crosskey.advice.shard_key_faults import MIN_DISTINCT, is_hopeless
from crosskey.advice.statement_share import StatementShare
from crosskey.advice.survey import Survey
from crosskey.catalog.plan import Plan, TablePlan

SHARDS: Final = 3
"""As many as an estimate is made for; with more, an uneven placement is worse."""


class Score(msgspec.Struct, frozen=True):
    """What a placement comes to.

    `keys` and `local_keys` count foreign keys; `largest_shard` is the share of the sharded rows that the largest of
    three shards would have, as far as counts or the columns' form tell; `copied_tables` of `tables` are on every shard,
    with `copied_rows` of all rows. `one_shard` is the share of statements whose rows are on one shard; None if none was
    judged.
    """

    keys: int
    local_keys: int
    tables: int
    copied_tables: int
    copied_rows: float
    largest_shard: float
    one_shard: float | None = None

    @property
    def worth(self) -> float:
        """One number to compare by: a share of local keys is worth as much as the same share of evenness."""
        local = self.local_keys / self.keys if self.keys else 1.0
        return round(local - self.largest_shard - self.copied_rows + (self.one_shard or 0.0), 6)


def score(plan: Plan, survey: Survey, statements: StatementShare | None) -> Score:
    """Scores what planning makes of a placement."""
    rows = {planned.table.name: max(survey.facts(planned.table.name).rows, 1) for planned in plan.tables}
    sharded = [planned for planned in plan.tables if planned.placement == "sharded"]
    copied = [planned.table.name for planned in plan.tables if planned.placement == "reference"]
    spread = sum(rows[planned.table.name] for planned in sharded)
    largest = sum(rows[planned.table.name] * _largest_share(planned, survey) for planned in sharded)
    return Score(
        keys=len(plan.keys),
        local_keys=sum(key.kind == "local" for key in plan.keys),
        tables=len(plan.tables),
        copied_tables=len(copied),
        copied_rows=sum(rows[name] for name in copied) / sum(rows.values()),
        largest_shard=largest / spread if spread else 1.0,
        one_shard=None if statements is None or not statements.read else statements.single_shard / statements.read,
    )


def _largest_share(plan: TablePlan, survey: Survey) -> float:
    """The share of a table's rows on the shard that has most of them: all of one value, and its part of the others."""
    facts = survey.facts(plan.table.name)
    column = facts.column(plan.shard_key or "")
    if column is None or facts.rows < MIN_DISTINCT:
        return 1.0 if is_hopeless(plan, survey) else 1 / SHARDS
    distinct = column.distinct if column.distinct >= 0 else -column.distinct * facts.rows
    even = column.top_share + (1 - column.top_share) / SHARDS
    return max(even, 1 / max(min(distinct, SHARDS), 1))

"""What advice is made of."""

from __future__ import annotations

from typing import Literal

import msgspec

from crosskey.advice.score import Score
from crosskey.advice.statement_share import StatementShare
from crosskey.catalog.plan import Plan
from crosskey.catalog.refusals import Refusal
from crosskey.catalog.skipped import Skipped

WarningKind = Literal[
    "time",
    "sequence",
    "low-cardinality",
    "skew",
    "often-updated",
    "claimed-id",
    "foreign-ids",
    "copied-to-all",
    "over-normalised",
    "maybe-reference",
    "no-shard-key",
    "barred",
    "no-index",
]


class Candidate(msgspec.Struct, frozen=True):
    """A placement that a table could have, beside the placements proposed for the others.

    `local`, `crossing` and `refused` count the keys from and to the table; `statements_share` is the share of the calls
    of statements on the table that name what places its rows, None where that is not known.
    """

    tag: str
    local: int
    crossing: int
    refused: int
    statements_share: float | None = None


class TableAdvice(msgspec.Struct, frozen=True):
    """A table's placement: `kept` if the user has said it. `paste` is the statement that says it, empty if it is said.

    `tag` is empty for a table that cannot be placed at all.
    """

    table: str
    tag: str
    kept: bool
    reason: str
    paste: str = ""
    candidates: tuple[Candidate, ...] = ()


class Warned(msgspec.Struct, frozen=True):
    """A warning: what is wrong and why, what to do, and a statement to paste if there is one.

    What is `urgent` is told before everything else: with it, sharding brings little.
    """

    kind: WarningKind
    table: str
    reason: str
    advice: str
    constraint: str = ""
    column: str = ""
    paste: str = ""
    urgent: bool = False


class Advice(msgspec.Struct, frozen=True):
    """What is proposed for a schema.

    `plan` is what planning makes of the proposal; None if it refuses it, for the reasons in `refusals`. `score` is its
    score, None without a plan. `warnings` begin with those that are urgent. `statements` is None if none could be
    judged, and `why_no_statements` then says why.
    """

    tables: tuple[TableAdvice, ...]
    warnings: tuple[Warned, ...]
    plan: Plan | None = None
    refusals: tuple[Refusal, ...] = ()
    local_keys: int = 0
    crossing_keys: int = 0
    score: Score | None = None
    statements: StatementShare | None = None
    why_no_statements: str = ""
    has_statistics: bool = False
    skipped: tuple[Skipped, ...] = ()
    """What of the schema's text was not run, as it means nothing here."""

    @property
    def pastes(self) -> tuple[str, ...]:
        """The statements that say every placement that is proposed."""
        return tuple(table.paste for table in self.tables if table.paste)

"""From a survey to advice: a proposal, judged by planning itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crosskey.advice.choosing import Chooser
from crosskey.advice.copy_warnings import warn_of_copies
from crosskey.advice.foreign_ids import warn_of_foreign_ids
from crosskey.advice.index_warnings import warn_of_missing_indexes
from crosskey.advice.join_warnings import warn_of_lookups
from crosskey.advice.options import Barred, Option, column_of, is_placed, with_tag
from crosskey.advice.reasons import reason_of, tag_kept
from crosskey.advice.report import Advice, Candidate, TableAdvice
from crosskey.advice.score import Score, score
from crosskey.advice.shard_key_warnings import warn_of_shard_keys
from crosskey.advice.sql_text import comment_statement
from crosskey.advice.statement_reading import can_read_statements
from crosskey.advice.statement_share import (
    ReadStatements,
    StatementShare,
    names_locator,
    read_statements,
    share_statements,
)
from crosskey.advice.survey import Survey
from crosskey.catalog.anchoring import find_anchors
from crosskey.catalog.colocation import colocatable_columns
from crosskey.catalog.model import Database, Table, TableName
from crosskey.catalog.placement import place_table
from crosskey.catalog.plan import Plan, TablePlan
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.refusals import Refusal, SchemaRefused

NO_PARSER = "sqlglot is not installed: install crosskey[advice]"

MAX_CANDIDATES = 5
"""As many as one would weigh; the rest are columns that nothing leads to."""


class _Proposal(msgspec.Struct, frozen=True):
    """Placements that were chosen, and what planning makes of them."""

    known: Survey
    chooser: Chooser
    chosen: dict[TableName, Option]
    tags: dict[TableName, str]
    tagged: Database
    plan: Plan | None
    refusals: tuple[Refusal, ...]
    statements: StatementShare | None
    score: Score | None


def advise(survey: Survey) -> Advice:
    """Proposes a placement for every table that has none, and warns of what costs more than it must."""
    statements, why_none = _read(survey)
    best = _best(survey, statements, judged=not why_none)
    placed = {name: option.plan for name, option in best.chosen.items()}
    placed |= {table.table.name: table for table in best.plan.tables} if best.plan else _plans_of(best.tagged)
    barred = {name: found for name in best.chosen if (found := best.chooser.barred(name, placed))}
    advised = (
        _table_advice(table, best, placed, statements, barred.get(table.name)) for table in survey.database.tables
    )
    return Advice(
        tables=tuple(advised),
        warnings=tuple(
            sorted(
                (
                    *warn_of_shard_keys(placed, survey, statements, barred),
                    *warn_of_foreign_ids(placed, survey),
                    *warn_of_copies(placed, survey),
                    *warn_of_lookups(best.plan, survey),
                    *warn_of_missing_indexes(survey),
                ),
                key=lambda warning: not warning.urgent,
            )
        ),
        plan=best.plan,
        refusals=best.refusals,
        local_keys=best.score.local_keys if best.score else 0,
        crossing_keys=best.score.keys - best.score.local_keys if best.score else 0,
        score=best.score,
        statements=best.statements,
        why_no_statements=why_none,
        has_statistics=survey.has_statistics,
        skipped=survey.skipped,
    )


def _best(survey: Survey, statements: ReadStatements, *, judged: bool) -> _Proposal:
    """The proposal; with counts, the better of the one that they lead to and of that without them, judged by them."""
    with_counts = _propose(survey, survey, statements, judged=judged)
    if not survey.live:
        return with_counts
    without = _propose(survey.uncounted(), survey, statements, judged=judged)
    better = without.score and (with_counts.score is None or without.score.worth > with_counts.score.worth)
    return without if better else with_counts


def _propose(known: Survey, survey: Survey, statements: ReadStatements, *, judged: bool) -> _Proposal:
    """What is chosen by what is known, judged by the survey."""
    chooser = Chooser(known, statements if known.statements is not None else ReadStatements())
    chosen = chooser.choose()
    tags = _with_colocation(known.database, {name: option.tag for name, option in chosen.items()})
    tagged = tag_tables(known.database, tags)
    plan, refusals = _plan(tagged)
    share = share_statements(statements, plan) if plan and judged else None
    scored = score(plan, survey, share) if plan else None
    return _Proposal(known, chooser, chosen, tags, tagged, plan, refusals, share, scored)


def tag_tables(database: Database, tags: Mapping[TableName, str]) -> Database:
    """The schema with these placements said in the tables' comments."""
    tables = tuple(with_tag(table, tags[table.name]) if table.name in tags else table for table in database.tables)
    return msgspec.structs.replace(database, tables=tables)


def _read(survey: Survey) -> tuple[ReadStatements, str]:
    """The statements; or none, and why."""
    if survey.statements is None:
        return ReadStatements(), survey.why_no_statements
    if not can_read_statements():
        return ReadStatements(), NO_PARSER
    return read_statements(survey.statements, survey.database), ""


def _plan(tagged: Database) -> tuple[Plan | None, tuple[Refusal, ...]]:
    try:
        return plan_schema(tagged), ()
    except SchemaRefused as refused:
        return None, refused.refusals


def _plans_of(tagged: Database) -> dict[TableName, TablePlan]:
    """The tables that planning places, whatever it says of others and of keys."""
    plans = (place_table(table) for table in tagged.tables)
    return {plan.table.name: plan for plan in plans if isinstance(plan, TablePlan)}


def _with_colocation(database: Database, tags: dict[TableName, str]) -> dict[TableName, str]:
    """The tags, with @shard_with where a foreign key keeps that promise: it says more, and planning checks it."""
    tags = _with_anchors(database, tags)
    plan, _ = _plan(tag_tables(database, tags))
    together = colocatable_columns(plan.tables, plan.keys) if plan else frozenset()
    # A key onto a reference table is local too, and leads nowhere: its column is the empty one.
    return {
        name: _living_with(tag) if (column := column_of(tag)) and (name, column) in together else tag
        for name, tag in tags.items()
    }


def _living_with(tag: str) -> str:
    return tag.replace("@shard_by", "@shard_with", 1)


def _with_anchors(database: Database, tags: dict[TableName, str]) -> dict[TableName, str]:
    """The tags, with @shard_with where a claim finds the parent that rows can live with: then their key is local.

    Those that planning refuses stay as they are.
    """
    naming = {(key.table, key.columns) for key in database.foreign_keys if key.parent != key.table}
    hopeful = {name for name, tag in tags.items() if (name, (column_of(tag),)) in naming}
    while hopeful:
        wished = {name: _living_with(tag) if name in hopeful else tag for name, tag in tags.items()}
        anchored = find_anchors(tag_tables(database, wished))
        colocated = {name: wished[name] if name in anchored else tag for name, tag in tags.items()}
        plan, refusals = _plan(tag_tables(database, colocated))
        if plan:
            return colocated
        refused = _tables_of(refusals, database) & hopeful & set(anchored)
        if not refused:
            break
        hopeful -= refused
    return tags


def _tables_of(refusals: tuple[Refusal, ...], database: Database) -> set[TableName]:
    """The tables that refusals are about, and of refused keys the parents as well."""
    said = {(refusal.table, refusal.constraint) for refusal in refusals}
    tables = {table.name for table in database.tables if any(str(table.name) == name for name, _ in said)}
    return tables | {key.parent for key in database.foreign_keys if (str(key.table), key.name) in said}


def _table_advice(
    table: Table,
    proposal: _Proposal,
    placed: Mapping[TableName, TablePlan],
    statements: ReadStatements,
    barred: Barred | None,
) -> TableAdvice:
    tag = proposal.tags.get(table.name, "")
    if is_placed(table):
        return TableAdvice(str(table.name), tag_kept(table), True, "said in its comment, and kept")
    if not tag:
        return TableAdvice(str(table.name), "", False, "it cannot be placed at all; the reasons are below")
    ranked = [option for option, _ in proposal.chooser.rank(table.name, placed)]
    candidates = tuple(
        _candidate(option, proposal.chooser, placed, statements, table.name) for option in ranked[:MAX_CANDIDATES]
    )
    reason = reason_of(table, placed[table.name], tag, proposal.known, barred)
    paste = comment_statement(table, tag, proposal.known.quoted)
    return TableAdvice(str(table.name), tag, False, reason, paste, candidates)


def _candidate(
    option: Option,
    chooser: Chooser,
    placed: Mapping[TableName, TablePlan],
    statements: ReadStatements,
    name: TableName,
) -> Candidate:
    kinds = chooser.key_kinds(option.plan, placed)
    naming = [counted for counted in statements.shapes if name in counted.shape.tables.values()]
    calls = sum(counted.calls for counted in naming)
    found = sum(counted.calls for counted in naming if names_locator(counted.shape, option.plan))
    return Candidate(
        option.tag,
        kinds.count("local") + kinds.count("anchored"),
        kinds.count("cross-shard"),
        kinds.count("refused"),
        found / calls if calls and option.plan.placement == "sharded" else None,
    )

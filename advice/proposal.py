"""From a survey to advice: a proposal, judged by planning itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crosskey.advice.choosing import Chooser
from crosskey.advice.index_warnings import warn_of_missing_indexes
from crosskey.advice.join_warnings import warn_of_lookups
from crosskey.advice.options import Barred, Option, is_placed, with_tag
from crosskey.advice.reasons import reason_of, tag_kept
from crosskey.advice.report import Advice, Candidate, TableAdvice
from crosskey.advice.shard_key_warnings import warn_of_shard_keys
from crosskey.advice.sql_text import comment_statement
from crosskey.advice.statement_reading import can_read_statements
from crosskey.advice.statement_share import ReadStatements, names_locator, read_statements, share_statements
from crosskey.advice.survey import Survey
from crosskey.catalog.company import companions
from crosskey.catalog.leading import find_leaders
from crosskey.catalog.model import Database, Table, TableName
from crosskey.catalog.placement import place_table
from crosskey.catalog.plan import Plan, TablePlan
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.refusals import Refusal, SchemaRefused

NO_PARSER = "sqlglot is not installed: install crosskey[advice]"

MAX_CANDIDATES = 5
"""As many as one would weigh; the rest are columns that nothing leads to."""


def advise(survey: Survey) -> Advice:
    """Proposes a placement for every table that has none, and warns of what costs more than it must."""
    statements, why_none = _read(survey)
    chooser = Chooser(survey, statements)
    chosen = chooser.choose()
    tags = _with_company(survey.database, {name: option.tag for name, option in chosen.items()})
    tagged = tag_tables(survey.database, tags)
    plan, refusals = _plan(tagged)
    placed = {table.table.name: table for table in plan.tables} if plan else _plans_of(tagged)
    kinds = [key.kind for key in plan.keys] if plan else []
    barred = {name: best for name in chosen if (best := chooser.barred(name, placed))}
    return Advice(
        tables=tuple(
            _table_advice(table, tags.get(table.name, ""), survey, chooser, placed, statements, barred.get(table.name))
            for table in survey.database.tables
        ),
        warnings=(
            *warn_of_shard_keys(placed, survey, statements, barred),
            *warn_of_lookups(plan, survey),
            *warn_of_missing_indexes(survey),
        ),
        plan=plan,
        refusals=refusals,
        local_keys=kinds.count("local"),
        crossing_keys=kinds.count("cross-shard"),
        statements=share_statements(statements, plan) if plan and not why_none else None,
        why_no_statements=why_none,
        has_statistics=survey.has_statistics,
        skipped=survey.skipped,
    )


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


def _with_company(database: Database, tags: dict[TableName, str]) -> dict[TableName, str]:
    """The tags, with @shard_with where a foreign key keeps that promise: it says more, and planning checks it."""
    tags = _with_leaders(database, tags)
    plan, _ = _plan(tag_tables(database, tags))
    together = companions(plan.tables, plan.keys) if plan else frozenset()
    # A key onto a reference table is local too, and leads nowhere: its column is the empty one.
    return {
        name: f"@shard_with {column}" if (column := tag.partition(" ")[2]) and (name, column) in together else tag
        for name, tag in tags.items()
    }


def _with_leaders(database: Database, tags: dict[TableName, str]) -> dict[TableName, str]:
    """The tags, with @shard_with where a claim finds the parent that rows can live with: then their key is local."""
    naming = {(key.table, key.columns) for key in database.foreign_keys if key.parent != key.table}
    hopeful = {
        name: tag.replace("@shard_by", "@shard_with") if (name, (tag.partition(" ")[2],)) in naming else tag
        for name, tag in tags.items()
    }
    led = find_leaders(tag_tables(database, hopeful))
    company = {name: hopeful[name] if name in led else tag for name, tag in tags.items()}
    plan, _ = _plan(tag_tables(database, company))
    return company if plan else tags


def _table_advice(
    table: Table,
    tag: str,
    survey: Survey,
    chooser: Chooser,
    placed: Mapping[TableName, TablePlan],
    statements: ReadStatements,
    barred: Barred | None,
) -> TableAdvice:
    if is_placed(table):
        return TableAdvice(str(table.name), tag_kept(table), True, "said in its comment, and kept")
    if not tag:
        return TableAdvice(str(table.name), "", False, "it cannot be placed at all; the reasons are below")
    ranked = [option for option, _ in chooser.rank(table.name, placed)]
    candidates = tuple(
        _candidate(option, chooser, placed, statements, table.name) for option in ranked[:MAX_CANDIDATES]
    )
    reason = reason_of(table, placed[table.name], tag, survey, barred)
    paste = comment_statement(table, tag, survey.quoted)
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
        kinds.count("local"),
        kinds.count("cross-shard"),
        kinds.count("refused"),
        found / calls if calls and option.plan.placement == "sharded" else None,
    )

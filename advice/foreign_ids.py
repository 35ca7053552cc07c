"""Ids that exist already and carry no slots: what they cost where they do not place their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosskey.advice.options import is_placed
from crosskey.advice.report import Warned
from crosskey.advice.sql_text import comment_statement
from crosskey.advice.survey import Survey
from crosskey.catalog.model import Table, TableName
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.tags import parse_tags

_COST = (
    "each insert then claims its id, which is one more call to a node, and a commit on two shards, where the claim is"
    " on another shard"
)


def warn_of_foreign_ids(placed: Mapping[TableName, TablePlan], survey: Survey) -> Iterator[Warned]:
    """Tables with a uuid primary key beside the shard key whose rows have ids that do not carry its slot."""
    for table in survey.database.tables:
        plan, carried = placed.get(table.name), survey.facts(table.name).slots_carried
        if plan is None or plan.placement == "reference" or carried is None or plan.shard_key in carried:
            continue
        if not _is_uuid_beside(plan):
            continue
        claimed = any(tag.name == "claim" for tag in parse_tags(plan.table.comment))
        yield _warning(table, plan, survey, claimed=claimed)


def _is_uuid_beside(plan: TablePlan) -> bool:
    key = plan.table.primary_key
    column = plan.table.column(key[0]) if len(key) == 1 and key[0] != plan.shard_key else None
    return column is not None and column.base_type == "uuid" and not column.generated


def _warning(table: Table, plan: TablePlan, survey: Survey, *, claimed: bool) -> Warned:
    [key] = plan.table.primary_key
    why = f"the rows have ids that do not carry the slot of {plan.shard_key}, as those that the router mints do"
    by_id = comment_statement(table, f"@shard_by {key}", survey.quoted)
    if claimed:
        advice = f"@claim takes such ids: {_COST}; or shard the table by {key} itself, which needs no claim"
        paste = "" if is_placed(table) else by_id
        return Warned("foreign-ids", str(table.name), why, advice, column=key, paste=paste)
    advice = f"such rows are refused: say @claim as well ({_COST}), or shard the table by {key} itself"
    paste = comment_statement(table, "@claim", survey.quoted)
    return Warned("foreign-ids", str(table.name), why, advice, column=key, paste=paste, urgent=True)

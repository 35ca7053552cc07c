"""Why a placement is proposed, as a sentence."""

from __future__ import annotations

from crosskey.advice.lookup_tables import may_be_lookup, why_lookup, why_unknown
from crosskey.advice.options import PLACEMENT_TAGS, Barred
from crosskey.advice.survey import Survey
from crosskey.catalog.model import Table
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.tags import parse_tags


def tag_kept(table: Table) -> str:
    """The placement that a table's comment says, as written."""
    said = next(tag for tag in parse_tags(table.comment) if tag.name in PLACEMENT_TAGS)
    return f"@{said.name} {said.argument}".rstrip()


def reason_of(table: Table, plan: TablePlan, tag: str, survey: Survey, barred: Barred | None) -> str:
    """Why this tag is proposed for a table, whose plan it gives, and not what it is barred from."""
    if barred is None:
        return _why_proposed(table, plan, tag, survey)
    names = " and ".join(f'"{refusal.constraint}"' for refusal in barred.refusals)
    bar = f"{barred.option.tag} is refused because of {names}: see the warning"
    return bar if plan.placement == "reference" else f"{_why_proposed(table, plan, tag, survey)}; {bar}"


def _why_proposed(table: Table, plan: TablePlan, tag: str, survey: Survey) -> str:
    if plan.placement == "reference":
        why = why_lookup(table, survey)
        return f"others look it up: {why}" if why else "no column of it spreads its rows"
    if tag.startswith("@shard_with"):
        return _why_colocated(table, plan, survey)
    naming = sorted({str(key.table) for key in survey.database.foreign_keys if key.parent == table.name})
    reason = f"rows are placed by their own {plan.shard_key}"
    if plan.shard_key not in table.primary_key:
        reason = f"rows with one {plan.shard_key} are on one shard"
    if naming:
        reason += f", which {', '.join(naming)} can name"
    if may_be_lookup(table, survey):
        reason += f"; {why_unknown(survey)}: if it is one, make it @reference"
    return reason


def _why_colocated(table: Table, plan: TablePlan, survey: Survey) -> str:
    keys = [key for key in survey.database.foreign_keys if key.table == table.name and plan.shard_key in key.columns]
    parents = " and ".join(sorted({str(key.parent) for key in keys}))
    names = ", ".join(key.name for key in keys)
    return f"rows live with the row of {parents} that {plan.shard_key} names: {names} {_is_local(len(keys))}"


def _is_local(keys: int) -> str:
    return "is local and real" if keys == 1 else "are local and real"

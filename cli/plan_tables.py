"""A plan as tables for people."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crosskey.catalog.costs import cost_of_claim, cost_of_copy
from crosskey.catalog.plan import Claim, Copy, KeyPlan, Plan, TablePlan, ViewPlan
from crosskey.catalog.relations import ambiguity, find_relations

MIN_WIDTH = 120
"""Narrower, the sentences wrap after every other word; a pipe has no width of its own."""

_CLAIM_HEADER = ("Unique over all shards", "Table", "Columns", "How, and what it costs")
_RELATION_HEADER = ("Relation", "Leads to", "Kind", "Along", "To be named")
_COPY_HEADER = ("Copy", "Of", "Kind", "How, and what it costs")
_VIEW_HEADER = ("View", "Rows", "Placed by", "Told apart by", "Why it is not read")
_KEY_HEADER = ("Foreign key", "Class", "Why", "How, and what it costs", "To make it local")


def print_plan(plan: Plan) -> None:
    """Print where the tables live, which unique keys take claims, then how each foreign key is enforced."""
    console = Console()
    console.width = max(console.width, MIN_WIDTH)
    console.print(_grid(("Table", "Placement", "Shard key", "Carries the slot"), [_table_row(t) for t in plan.tables]))
    if plan.claims:
        console.print(_grid(_CLAIM_HEADER, [_claim_row(claim) for claim in plan.claims], leading=1))
    if plan.keys:
        console.print(_grid(_KEY_HEADER, [_key_row(key) for key in plan.keys], leading=1))
        console.print(_grid(_RELATION_HEADER, list(_relation_rows(plan))))
    telling = ", ".join(str(table.table.name) for table in plan.tables if table.events)
    if telling:
        console.print(Text(f"Changes of these tables are told as events: {telling}."))
    if plan.copies:
        console.print(_grid(_COPY_HEADER, [_copy_row(copy) for copy in plan.copies], leading=1))
    if plan.views:
        console.print(_grid(_VIEW_HEADER, [_view_row(view) for view in plan.views]))


def _table_row(plan: TablePlan) -> tuple[str, ...]:
    return str(plan.table.name), plan.placement, plan.shard_key or "", plan.slot_column or ""


def _view_row(view: ViewPlan) -> tuple[str, ...]:
    if view.read_as is None:
        return str(view.name), "", "", "", view.why_not
    locators, key = ", ".join(view.read_as.locators), ", ".join(view.read_as.table.primary_key)
    return str(view.name), view.read_as.placement, locators, key, ""


def _claim_row(claim: Claim) -> tuple[str, ...]:
    return claim.constraint, str(claim.table), claim.shown, cost_of_claim(claim)


def _copy_row(copy: Copy) -> tuple[str, ...]:
    return f"{copy.table}.{copy.column}", f"{copy.parent}.{copy.parent_column}", copy.kind, cost_of_copy(copy)


def _key_row(key: KeyPlan) -> tuple[str, ...]:
    foreign_key = key.foreign_key
    child = f"{foreign_key.table} ({', '.join(foreign_key.columns)})"
    parent = f"{foreign_key.parent} ({', '.join(foreign_key.parent_columns)})"
    return f"{foreign_key.name}\n{child}\n→ {parent}", key.kind, key.reason, key.cost, key.advice


def _relation_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    tables = [table.table for table in plan.tables]
    found = find_relations(tables, [key.foreign_key for key in plan.keys])
    for table in tables:
        for name, relations in sorted(found[table.name].items()):
            why_not = ambiguity(table, name, relations)
            for one in relations:
                along = one.key.name if one.far_key is None else f"{one.key.name}, {one.far_key.name}"
                yield f"{table.name}.{name}", str(one.target), one.kind, along, why_not


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], *, leading: int = 0) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, leading=leading)
    for title in header:
        # Folded, for a name that is cut off names nothing.
        grid.add_column(title, overflow="fold")
    for row in rows:
        # As Text: a name with square brackets is no markup.
        grid.add_row(*map(Text, row))
    return grid

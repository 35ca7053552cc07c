"""Advice as tables for people, and the statements to paste as they are."""

from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crosskey.advice.report import Advice, Candidate, TableAdvice, Warned
from crosskey.advice.score import Score
from crosskey.advice.statement_share import StatementShare
from crosskey.catalog.plan import KeyPlan
from crosskey.catalog.skipped import skipped_lines

MIN_WIDTH = 120
"""Narrower, the sentences wrap after every other word; a pipe has no width of its own."""


def print_advice(advice: Advice) -> None:
    """Print the proposal, its keys, the shares, the warnings, and what to paste."""
    console = Console()
    console.width = max(console.width, MIN_WIDTH)
    for warning in advice.warnings:
        if warning.urgent:
            click.echo(f"First of all: {warning.table}: {warning.reason}; {warning.advice}.")
    console.print(_grid(("Table", "Placement", "Why", "Other candidates"), [_table_row(t) for t in advice.tables]))
    if advice.plan is not None and advice.plan.keys:
        console.print(_grid(("Foreign key", "Class", "Why"), [_key_row(key) for key in advice.plan.keys]))
    if advice.warnings:
        console.print(_grid(("Warning", "Where", "Why", "What to do"), [_warning_row(w) for w in advice.warnings]))
    for line in (*_shares(advice), *skipped_lines(advice.skipped), *_pastes(advice)):
        click.echo(line)
    for refusal in advice.refusals:
        click.echo(refusal.message, err=True)


def _table_row(table: TableAdvice) -> tuple[str, ...]:
    others = "\n".join(_candidate(candidate) for candidate in table.candidates[1:])
    return table.table, f"{table.tag} (kept)" if table.kept else table.tag, table.reason, others


def _candidate(candidate: Candidate) -> str:
    keys = f"{candidate.local} local, {candidate.crossing} crossing"
    keys += f", {candidate.refused} refused" if candidate.refused else ""
    if candidate.statements_share is not None:
        keys += f", {candidate.statements_share:.0%} of statements"
    return f"{candidate.tag}: {keys}"


def _key_row(key: KeyPlan) -> tuple[str, ...]:
    foreign_key = key.foreign_key
    return f"{foreign_key.name}\n{foreign_key.table} → {foreign_key.parent}", key.kind, key.reason


def _warning_row(warning: Warned) -> tuple[str, ...]:
    where = "\n".join(filter(None, (warning.table, warning.constraint or warning.column)))
    return (
        warning.kind,
        where,
        warning.reason,
        f"{warning.advice}:\n{warning.paste}" if warning.paste else warning.advice,
    )


def _shares(advice: Advice) -> list[str]:
    keys = advice.local_keys + advice.crossing_keys
    lines = [f"Local keys: {advice.local_keys} of {keys}."] if keys else []
    if advice.score is not None:
        lines += _share_of_rows(advice.score)
    if advice.statements is None:
        return [*lines, f"Single-shard statements: not known, {advice.why_no_statements}."] if advice.plan else lines
    return [*lines, *_share_of_statements(advice.statements)]


def _share_of_rows(score: Score) -> list[str]:
    lines = [f"Copied to all shards: {score.copied_tables} of {score.tables} tables."]
    if score.copied_tables < score.tables:
        lines.append(f"Largest of three shards: about {score.largest_shard:.0%} of the sharded rows.")
    return lines


def _share_of_statements(share: StatementShare) -> list[str]:
    if not share.read:
        return [f"Single-shard statements: none was read that touches these tables; {share.not_read} calls not judged."]
    line = (
        f"Single-shard statements: {share.single_shard / share.read:.1%} of {share.read} calls"
        f", {share.by_claim / share.read:.1%} more through a claim; {share.not_read} further calls were not judged."
    )
    frequent = [f"  {statement.calls} calls: {_one_line(statement.query)}" for statement in share.most_frequent]
    return [line, "Most frequent statements on several shards:", *frequent] if frequent else [line]


def _one_line(query: str) -> str:
    words = " ".join(query.split())
    return words if len(words) <= MIN_WIDTH else f"{words[:MIN_WIDTH]}..."


def _pastes(advice: Advice) -> list[str]:
    return ["", "To paste:", *advice.pastes] if advice.pastes else []


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, leading=1)
    for title in header:
        # Folded, for a name that is cut off names nothing.
        grid.add_column(title, overflow="fold")
    for row in rows:
        # As Text: a name with square brackets is no markup.
        grid.add_row(*map(Text, row))
    return grid

"""`crosskey migrate`: changes of the schema in force, planned, carried out, looked at and given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from crosskey import SchemaRefused
from crosskey.catalog.skipped import Skipped, skipped_lines
from crosskey.cli.connection import connected, router_options
from crosskey.client import DEFAULT_TIMEOUT
from crosskey.v1 import admin_pb2

_Step = admin_pb2.MigrationStep
_State = admin_pb2.MigrationDescription.State
_PHASES = {_Step.PHASE_BEFORE: "before", _Step.PHASE_FLIP: "flip", _Step.PHASE_AFTER: "after"}
_PLAN_SECONDS = 300.0
"""A plan loads both schemas on every shard."""

_LONG_SECONDS = 30 * 24 * 3600.0

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def migrate() -> None:
    """Change the schema in force, while clients go on."""


def _migration_options(command: Command) -> Command:
    for option in reversed(
        (
            click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)),
            click.option(
                "--sql",
                "on_top",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="DDL to run on top of the schema in force, in place of a whole new schema.",
            ),
            click.option("--rename", multiple=True, help="What has another name: table=new, or table.column=new."),
            click.option("--allow-destructive", is_flag=True, help="Drop columns and tables with what is in them."),
            click.option("--allow-rewrites", is_flag=True, help="Rewrite tables that have rows."),
            click.option(
                "--orphans",
                type=click.Choice(["stop", "delete", "null"]),
                help="What becomes of rows without a parent, where a foreign key is added; by default they stop it.",
            ),
        )
    ):
        command = option(command)
    return command


@migrate.command()
@_migration_options
@router_options
def plan(file: Path | None, on_top: Path | None, router: str, timeout: float, **options: Any) -> None:
    """Print the steps to the schema in FILE; touch nothing."""
    with connected(router, _at_least(_PLAN_SECONDS, timeout)) as client:
        response = _naming(file, on_top, lambda asked: client.plan_migration(**asked), options)
    for line in skipped_lines(Skipped(each.line, each.statement, each.reason) for each in response.skipped):
        click.echo(line, err=True)
    _print_steps(response)
    if response.refusals:
        raise click.ClickException("\n".join(response.refusals))


@migrate.command()
@_migration_options
@click.option("--resume", is_flag=True, help="Go on with the migration that is under way.")
@router_options
def apply(file: Path | None, on_top: Path | None, resume: bool, router: str, timeout: float, **options: Any) -> None:
    """Change the schema in force to that in FILE."""
    with connected(router, _at_least(_LONG_SECONDS, timeout)) as client:
        if resume:
            _refuse_beside_resume(file, on_top, options)
            _print_progress(client.apply_migration(resume=True, orphans=options["orphans"] or ""))
        else:
            _print_progress(_naming(file, on_top, lambda asked: client.apply_migration(**asked), options))


@migrate.command()
@router_options
def status(router: str, timeout: float) -> None:
    """Print the migration that is under way, or the last one."""
    _print_migrations(router, timeout, 1)


@migrate.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@router_options
def history(limit: int, router: str, timeout: float) -> None:
    """Print the migrations that were begun, the newest first."""
    _print_migrations(router, timeout, limit)


@migrate.command()
@router_options
def abort(router: str, timeout: float) -> None:
    """Give up the migration that is under way, and take back what it did."""
    with connected(router, _at_least(_LONG_SECONDS, timeout)) as client:
        client.abort_migration()
    click.echo("aborted: the old schema is in force, and nothing of the migration is left")


def _at_least(seconds: float, timeout: float) -> float:
    """The time that a call may take: what was said, or if nothing was, more than others need."""
    return seconds if timeout == DEFAULT_TIMEOUT else timeout


def _refuse_beside_resume(file: Path | None, on_top: Path | None, options: Any) -> None:
    """Raises click.UsageError for what would be ignored."""
    if file or on_top or options["rename"] or options["allow_destructive"] or options["allow_rewrites"]:
        raise click.UsageError("--resume goes on with the migration as it was begun: it takes only --orphans")


def _naming(file: Path | None, on_top: Path | None, ask: Callable[[dict[str, Any]], Any], options: Any) -> Any:
    """Asks with the text of the one file; errors name it. Raises click.ClickException if it cannot be read."""
    if (file is None) == (on_top is None):
        raise click.UsageError("give a FILE with the whole new schema, or --sql with DDL on top of the one in force")
    path = file or on_top
    assert path is not None, "one of them is given"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None
    renames, orphans = _renames(options.pop("rename")), options.pop("orphans") or ""
    asked = {"sql": text, "on_top": on_top is not None, "renames": renames, "orphans": orphans, **options}
    try:
        return ask(asked)
    except SchemaRefused as refused:
        refused.message = f"{path}: {refused.message}"
        raise


def _renames(told: Iterable[str]) -> dict[str, str]:
    renames = {}
    for one in told:
        old, _, new = one.partition("=")
        if not old or not new:
            raise click.BadParameter(f"{one}: say table=new, or table.column=new", param_hint="--rename")
        renames[old] = new
    return renames


def _print_steps(plan: admin_pb2.PlanMigrationResponse) -> None:
    if not plan.steps and not plan.guard_statements:
        click.echo("nothing to do: the schema is in force, but perhaps for words that mean nothing")
        return
    for step in plan.steps:
        notes = [step.lock and f"{step.lock} on {step.table}" if step.table else ""]
        notes += ["REWRITES the table"] if step.rewrites else []
        notes += ["DESTRUCTIVE"] if step.destructive else []
        shown = ", ".join(filter(None, notes))
        click.echo(f"{_PHASES[step.phase]:6}  {step.what}{f' ({shown})' if shown else ''}\n        {step.sql.strip()}")
    if plan.guard_statements:
        click.echo(f"flip    {plan.guard_statements} statements on triggers, shadows, pins and claims")


def _print_progress(done: Iterable[admin_pb2.ApplyMigrationResponse]) -> None:
    for response in done:
        click.echo(response.message)


def _print_migrations(router: str, timeout: float, limit: int) -> None:
    with connected(router, timeout) as client:
        migrations = client.list_migrations(limit)
    if not migrations:
        click.echo("no migration was begun yet")
    for one in migrations:
        state = _State.Name(one.state).removeprefix("STATE_").lower()
        message = f": {one.message}" if one.message else ""
        click.echo(f"{one.id}  {one.began_at.ToDatetime():%Y-%m-%d %H:%M:%S}  {state}{message}")

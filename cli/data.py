"""Commands on rows: JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

import crosskey
from crosskey.cli.connection import (
    OBJECT,
    OBJECTS,
    connected,
    parse_message,
    print_json,
    print_message,
    router_options,
)
from crosskey.predicates import Where
from crosskey.requests import Association, Overriding
from crosskey.v1 import router_pb2, rows_pb2

key_option = click.option("--key", type=OBJECT, help="The row with this key, such as '{\"id\": 1}'.")
count_only_option = click.option("--count-only", is_flag=True, help="Print how many rows, not the rows.")
where_option = click.option(
    "--where",
    type=OBJECTS,
    help='The rows that meet this: \'{"name": "Ada"}\', or \'[{"column": "age", "op": "GE", "value": 18}]\'.',
)
include_option = click.option(
    "--include", multiple=True, help="Relations to read inside of rows, such as sender or messages.sender; may repeat."
)
columns_option = click.option(
    "--column", "columns", multiple=True, help="A column to print; all if absent; may repeat."
)


@click.command()
@click.argument("table")
@click.argument("rows", type=OBJECTS)
@click.option(
    "--overriding",
    type=click.Choice(["SYSTEM_VALUE", "USER_VALUE"]),
    help="SQL's clause for identity columns: insert the values given even if GENERATED ALWAYS, or ignore them.",
)
@click.option(
    "--on-conflict",
    type=OBJECT,
    help="What to do with rows whose unique key is taken, as gRPC takes it: '{\"nothing\": {}}' skips them,"
    ' \'{"columns": ["id"], "update": {"columns": ["name"]}}\' updates the rows with their id.',
)
@count_only_option
@include_option
@router_options
def insert(
    table: str,
    rows: Any,
    overriding: Overriding | None,
    on_conflict: Any,
    count_only: bool,
    include: tuple[str, ...],
    router: str,
    timeout: float,
) -> None:
    """Insert ROWS, a JSON object or a list of them (- reads standard input), and print them as stored.

    With --on-conflict, those that were updated are among them, and those that were skipped are not. A row may have rows
    of its relations: '{"name": "Ada", "accounts": {"create": [{"email": ".."}]}}'.
    """
    conflict = None if on_conflict is None else parse_message(on_conflict, rows_pb2.OnConflict())
    with connected(router, timeout) as client:
        written = client.insert(
            table, rows, overriding=overriding, on_conflict=conflict, count_only=count_only, include=include
        )
        _print_written(written, count_only=count_only)


@click.command()
@click.argument("table")
@click.argument("key", type=OBJECT)
@columns_option
@include_option
@router_options
def get(table: str, key: Any, columns: tuple[str, ...], include: tuple[str, ...], router: str, timeout: float) -> None:
    """Print the row whose primary or unique key is KEY, a JSON object."""
    with connected(router, timeout) as client:
        print_json(client.get(table, key, columns=columns, include=include))


@click.command()
@click.argument("table")
@click.option("--set", "values", type=OBJECT, required=True, help="The new values, a JSON object.")
@key_option
@where_option
@count_only_option
@include_option
@router_options
def update(
    table: str,
    values: Any,
    key: Any,
    where: Any,
    count_only: bool,
    include: tuple[str, ...],
    router: str,
    timeout: float,
) -> None:
    """Change rows and print them as stored."""
    with connected(router, timeout) as client:
        written = client.update(table, values, key=key, where=_to_where(where), count_only=count_only, include=include)
        _print_written(written, count_only=count_only)


@click.command()
@click.argument("table")
@click.argument("key", type=OBJECT)
@click.argument("relation")
@click.argument("operation", type=click.Choice(["append", "replace", "remove", "clear"]))
@click.argument("rows", type=OBJECTS, default="[]")
@click.option("--delete-detached", is_flag=True, help="Delete rows that would lose a key that is NOT NULL.")
@router_options
def associate(
    table: str,
    key: Any,
    relation: str,
    operation: Association,
    rows: Any,
    delete_detached: bool,
    router: str,
    timeout: float,
) -> None:
    """Give rows to the RELATION of the row with KEY, or take some, and print how many came, went and stayed.

    ROWS are a JSON object or a list of them, each with the columns of a unique key.
    """
    with connected(router, timeout) as client:
        done = client.associate(table, key, relation, operation, rows, delete_detached=delete_detached)
        print_json({"added": done.added, "removed": done.removed, "kept": done.kept})


@click.command()
@click.argument("table")
@key_option
@where_option
@router_options
def delete(table: str, key: Any, where: Any, router: str, timeout: float) -> None:
    """Delete rows and print how many."""
    with connected(router, timeout) as client:
        print_json(client.delete(table, key=key, where=_to_where(where)))


@click.command(name="list")
@click.argument("table")
@where_option
@click.option("--order-by", multiple=True, help="A column to sort by; several times for several.")
@click.option("--descending", is_flag=True, help="Sort by these columns with the largest first.")
@click.option("--limit", type=click.IntRange(min=1), help="Print this many rows at most; all if absent.")
@columns_option
@include_option
@router_options
def list_rows(
    table: str,
    where: Any,
    order_by: tuple[str, ...],
    descending: bool,
    limit: int | None,
    columns: tuple[str, ...],
    include: tuple[str, ...],
    router: str,
    timeout: float,
) -> None:
    """Print rows in order, one a line."""
    order = [crosskey.desc(column) for column in order_by] if descending else order_by
    with connected(router, timeout) as client:
        _print_rows(client.list(table, _to_where(where), order, limit=limit, columns=columns, include=include))


@click.command()
@click.argument("table")
@where_option
@router_options
def count(table: str, where: Any, router: str, timeout: float) -> None:
    """Print how many rows there are."""
    with connected(router, timeout) as client:
        print_json(client.count(table, _to_where(where)))


@click.command()
@click.argument("request_json", metavar="REQUEST", type=OBJECT)
@router_options
def explain(request_json: Any, router: str, timeout: float) -> None:
    """Print what a REQUEST would do, without doing it.

    REQUEST is what gRPC takes, such as '{"get": {"table": "users", "key": {"id": 1}}}'.
    """
    request = parse_message(request_json, router_pb2.ExplainRequest())
    kind = request.WhichOneof("request")
    if kind is None:
        raise click.UsageError("REQUEST names no request, such as insert, get or delete")
    with connected(router, timeout) as client:
        print_message(client.explain(getattr(request, kind)))


def _to_where(where: Any) -> Where | None:
    """A JSON object is a mapping of equalities; a JSON list has predicates as gRPC takes them."""
    if where is None or isinstance(where, Mapping):
        return where
    return [parse_message(predicate, rows_pb2.Predicate()) for predicate in where]


def _print_written(rows: crosskey.WrittenRows, *, count_only: bool) -> None:
    if count_only:
        print_json(rows.affected)
    else:
        _print_rows(rows)


def _print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        print_json(row)

"""Loading a database: its tables are matched with the cluster's, looked at, and sent, parents first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import click

from crosskey.catalog.model import Table
from crosskey.catalog.slots import FAMILIES, slot_of_value
from crosskey.cli.load.batches import BATCH_BYTES, Batch, LoadFailedError
from crosskey.cli.load.columns import base_types
from crosskey.cli.load.order import load_order
from crosskey.cli.load.run import LoadOptions, LoadRun
from crosskey.cli.load.source import DatabaseSource
from crosskey.cli.load.target import Target
from crosskey.copy_text import read_fields
from crosskey.v1.admin_pb2 import DescribeSchemaResponse, TableDescription

LOOKED_AT_ROWS = 1000


def load_database(source: DatabaseSource, target: Target, chosen: Sequence[str], options: LoadOptions) -> None:
    """Loads the chosen tables, or all. Raises LoadFailedError, BadStateError and what the target raises."""
    schema = target.describe()
    tables = _matched(source, schema, chosen)
    columns = {name: _columns(tables[name], description) for name, description in _by_name(schema, tables).items()}
    _check_ids(source, schema, tables, options)
    run = LoadRun(target, source.identity, [*tables], options)
    if run.state.finished:
        run.forget()
        return
    rows = run.state.batch_rows

    def batches(name: str) -> Iterator[Batch]:
        given = columns[name]
        first = 0
        for number, block in enumerate(source.blocks(tables[name].name, given, rows=rows, size=BATCH_BYTES)):
            locate = partial(_row_of_table, name, first)
            yield Batch(f"{name} {number}", name, given, block.lines, block.count, locate)
            first += block.count

    with run.sender({name: source.estimate(table.name) for name, table in tables.items()}) as sender:
        for group, together in load_order(tables, [(key.table, key.parent) for key in schema.keys]):
            if together:
                sender.send_together(", ".join(group), partial(_chained, batches, group))
            else:
                for name in group:
                    sender.send(batches(name))
    run.finish()


def _chained(batches: Callable[[str], Iterator[Batch]], tables: Sequence[str]) -> Iterator[Batch]:
    return chain.from_iterable(map(batches, tables))


def _row_of_table(table: str, first: int, row: int) -> str:
    return f"{table}, row {first + row}"


def _by_name(schema: DescribeSchemaResponse, names: Mapping[str, Table]) -> dict[str, TableDescription]:
    return {table.table: table for table in schema.tables if table.table in names}


def _matched(source: DatabaseSource, schema: DescribeSchemaResponse, chosen: Sequence[str]) -> dict[str, Table]:
    """The source's tables to load, by the target's names. Raises LoadFailedError if the two do not match."""
    found = {str(table.name): table for table in source.database.tables}
    known = {table.table for table in schema.tables}
    # What inherits is read with its parent.
    wanted = set(chosen) or {name for name, table in found.items() if name in known or not table.inherits} | known
    missing = [f'the source has no table "{name}"' for name in sorted(wanted - found.keys())]
    unknown = [f'the cluster has no table "{name}"' for name in sorted(wanted - known)]
    if missing or unknown:
        raise LoadFailedError("; ".join([*missing, *unknown]) + ": choose with --table")
    return {name: found[name] for name in sorted(wanted)}


def _columns(source: Table, target: TableDescription) -> list[str]:
    """The columns to load. Raises LoadFailedError if the target lacks one; one that the source lacks is told."""
    names = [column.name for column in source.columns]
    known = {column.name: column for column in target.columns}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LoadFailedError(f'table "{target.table}": the cluster has no column "{unknown[0]}"')
    for name, column in known.items():
        if name not in names and not column.generated:
            click.echo(f'table "{target.table}": the source has no column "{name}"; it takes its default', err=True)
    return [name for name in names if not known[name].generated]


def _check_ids(
    source: DatabaseSource, schema: DescribeSchemaResponse, tables: Mapping[str, Table], options: LoadOptions
) -> None:
    """Looks at the first rows of tables whose ids carry the slot: ids that were not made so cannot be loaded."""
    for name, description in _by_name(schema, tables).items():
        columns = [description.slot_column, description.shard_key]
        if "" in columns or not set(columns) <= {column.name for column in tables[name].columns}:
            continue
        types = base_types(description.columns)
        rows = min(options.batch_rows, LOOKED_AT_ROWS)
        for block in source.blocks(tables[name].name, columns, rows=rows, size=BATCH_BYTES, limit=rows):
            for line in block.lines.splitlines():
                _check_id(name, description, types[description.shard_key], line)


def _check_id(name: str, description: TableDescription, key_type: str, line: bytes) -> None:
    given, key = (read_fields([line], place)[0] for place in (0, 1))
    if given is None or key is None or key_type not in FAMILIES:
        return
    if slot_of_value("uuid", given.decode()) != slot_of_value(key_type, key.decode()):
        raise LoadFailedError(
            f'table "{name}": "{description.slot_column}" {given.decode()} does not carry the slot of'
            f' "{description.shard_key}" {key.decode()}, as ids of rows that are placed by another column must.'
            " Nothing was loaded. Tag the table @claim, give the rows new ids, or shard it by the id itself;"
            " docs/schema.md says which uuids carry a slot"
        )

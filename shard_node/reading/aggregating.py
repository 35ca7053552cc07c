"""Aggregates of one shard's rows, and the putting together of what several shards worked out: by PostgreSQL itself.

A shard answers, for each of its groups, what can be put together: of an average, sum and count. These rows come back as
rows of the same types, and PostgreSQL aggregates them once more: with its own rules for NULL, its own arithmetic, its
own equality and collation of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection, sql

from crosskey import errors
from crosskey.catalog.aggregates import average_type, sum_type
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.reading.reader import json_array, raw_column
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.conditions import JSON_TYPES, known_column, where_clause
from crosskey.shard_node.sql_text.hidden_rows import rows_of, where_read
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.keyset import order_clause, order_columns
from crosskey.shard_node.sql_text.row_json import row_expression, text_expression, text_of
from crosskey.shard_node.sql_text.sql_names import table_identifier, typed_columns
from crosskey.v1 import router_pb2

MAX_GROUPS = 50_000
"""How many groups one shard answers to be put together."""

Aggregate = router_pb2.AggregateRequest.Aggregate

_ALIAS = "t"
_PARTIAL = "partial"
_FOUND = "found"


@dataclass(frozen=True)
class _Part:
    """A value that shards answer for an aggregate, `sql` of their rows."""

    name: str
    type: str
    sql: sql.Composed
    lender: str = ""
    """The column whose collation it has, if it is a value of that."""


@dataclass(frozen=True)
class _Aggregation:
    """An aggregate: its column in the answer, what it is on one shard, what shards answer, and what that comes to."""

    column: Column
    whole: sql.Composed
    parts: tuple[_Part, ...]
    together: sql.Composed
    groups: tuple[sql.Composed, ...] = ()
    """What a shard groups its rows by, too."""


async def aggregate(
    connection: AsyncConnection[Any], table: Table, request: reads_pb2.AggregateRequest, schema: ShardSchema
) -> reads_pb2.AggregateResponse:
    """The rows of a request's part.

    Raises UnknownColumn, InvalidRequest (a column that has no sum), AnswerTooLarge (too many groups) and psycopg.Error.
    """
    groups = [known_column(table, name) for name in request.group_by]
    aggregations = [
        _different(table, number, one)
        if request.moves_values and one.function == Aggregate.FUNCTION_COUNT_DISTINCT
        else _aggregation(table, number, one)
        for number, one in enumerate(request.aggregates)
    ]
    if request.part == reads_pb2.AggregateRequest.PART_OF_SHARD:
        statement, parameters = _part_of_shard(table, request, groups, aggregations, schema)
    else:
        statement, parameters = _whole(table, request, groups, aggregations, schema)
    rows = raw_column(await connection.execute(statement, parameters), 0)
    if request.part == reads_pb2.AggregateRequest.PART_OF_SHARD and len(rows) > MAX_GROUPS:
        raise errors.AnswerTooLarge(
            f'a shard has more than {MAX_GROUPS} groups of "{table.name}"',
            hint="Narrow the rows by where, or group by the column that places rows: then no groups are put together."
            " A value whose different ones are counted over several shards is a group, too.",
        )
    return reads_pb2.AggregateResponse(rows_json=json_array(rows))


def _part_of_shard(
    table: Table,
    request: reads_pb2.AggregateRequest,
    groups: Sequence[Column],
    aggregations: Sequence[_Aggregation],
    schema: ShardSchema,
) -> tuple[sql.Composed, list[object]]:
    """The groups of one shard: the text of each value, as g0 and so on, and of each part of an aggregate."""
    where, parameters = where_read(table, request.where, _ALIAS, schema)
    values: list[tuple[str, sql.Composable]] = [
        (f"g{number}", identifier(_ALIAS, column.name)) for number, column in enumerate(groups)
    ]
    values += [(part.name, part.sql) for one in aggregations for part in one.parts]
    shown = [sql.SQL("{} AS {}").format(text_of(value), sql.Identifier(name)) for name, value in values]
    statement = sql.SQL(
        "SELECT row_to_json(part)::text"
        " FROM (SELECT {shown} FROM {table} AS {alias} WHERE {where}{group_by} LIMIT {most}) AS part"
    ).format(
        shown=sql.SQL(", ").join(shown),
        table=rows_of(table),
        alias=sql.Identifier(_ALIAS),
        where=where,
        group_by=_group_by(groups, aggregations),
        most=sql.Literal(MAX_GROUPS + 1),
    )
    return statement, parameters


def _whole(
    table: Table,
    request: reads_pb2.AggregateRequest,
    groups: Sequence[Column],
    aggregations: Sequence[_Aggregation],
    schema: ShardSchema,
) -> tuple[sql.Composed, list[object]]:
    """The answer, from the rows of this shard or from what all shards answered."""
    if request.part == reads_pb2.AggregateRequest.PART_OF_SHARDS:
        source = _partials(table, groups, aggregations)
        parameters: list[object] = [request.rows_json.decode()]
        values = [one.together for one in aggregations]
        by = [sql.Identifier(_PARTIAL, f"g{number}") for number in range(len(groups))]
    else:
        where, parameters = where_read(table, request.where, _ALIAS, schema)
        source = sql.SQL("{} AS {} WHERE {}").format(rows_of(table), sql.Identifier(_ALIAS), where)
        values = [one.whole for one in aggregations]
        by = [identifier(_ALIAS, column.name) for column in groups]
    answer = msgspec.structs.replace(table, columns=(*groups, *(one.column for one in aggregations)))
    having, having_parameters = where_clause(answer, request.having, _FOUND)
    shown = text_expression if request.as_text else row_expression
    named = zip((column.name for column in answer.columns), [*by, *values], strict=True)
    statement = sql.SQL(
        "SELECT {row}::text FROM (SELECT {named} FROM {source}{group_by}) AS {found} WHERE {having} {order} LIMIT %s"
    ).format(
        row=shown(answer, _FOUND),
        named=sql.SQL(", ").join(sql.SQL("{} AS {}").format(value, identifier(name)) for name, value in named),
        source=source,
        group_by=sql.SQL(" GROUP BY {}").format(sql.SQL(", ").join(by)) if by else sql.SQL(""),
        found=sql.Identifier(_FOUND),
        having=having,
        order=order_clause(order_columns(answer, request.order_by), _FOUND),
    )
    return statement, [*parameters, *having_parameters, str(request.limit)]


def _partials(table: Table, groups: Sequence[Column], aggregations: Sequence[_Aggregation]) -> sql.Composed:
    """What shards answered, as an item of FROM with one parameter, its columns of their own types and collations."""
    lent = [
        sql.SQL("{} AS {}").format(identifier("lender", column.name), sql.Identifier(f"g{number}"))
        for number, column in enumerate(groups)
    ]
    parts = [part for one in aggregations for part in one.parts]
    given = [
        *(msgspec.structs.replace(column, name=f"g{number}") for number, column in enumerate(groups)),
        *(Column(part.name, part.type, part.type, not_null=False) for part in parts),
    ]
    lent += map(_lent, parts)
    # The empty half of the union lends the columns' collations to the other half, which has only those of the types.
    return sql.SQL(
        "(SELECT {lent} FROM {table} AS lender WHERE FALSE UNION ALL SELECT {own} FROM json_to_recordset(%s)"
        " AS given({typed})) AS {partial}"
    ).format(
        lent=sql.SQL(", ").join(lent),
        table=table_identifier(table.name),
        own=sql.SQL(", ").join(_own_type(column) for column in given),
        typed=typed_columns([_readable(column) for column in given]),
        partial=sql.Identifier(_PARTIAL),
    )


def _lent(part: _Part) -> sql.Composed:
    """A column of the empty half."""
    name = sql.Identifier(part.name)
    if part.lender:
        return sql.SQL("{} AS {}").format(identifier("lender", part.lender), name)
    return sql.SQL("NULL::{} AS {}").format(sql.SQL(part.type), name)


def _readable(column: Column) -> Column:
    return msgspec.structs.replace(column, type="text") if column.base_type in JSON_TYPES else column


def _own_type(column: Column) -> sql.Composed:
    value = sql.Identifier("given", column.name)
    if column.base_type not in JSON_TYPES:
        return sql.SQL("{}").format(value)
    return sql.SQL("{}::{}").format(value, sql.SQL(column.type.replace("%", "%%")))


def _group_by(groups: Sequence[Column], aggregations: Sequence[_Aggregation]) -> sql.Composed:
    by: list[sql.Composable] = [identifier(_ALIAS, column.name) for column in groups]
    by += [group for one in aggregations for group in one.groups]
    return sql.SQL(" GROUP BY {}").format(sql.SQL(", ").join(by)) if by else sql.SQL("").format()


def _aggregation(table: Table, number: int, asked: Aggregate) -> _Aggregation:
    """How an aggregate is worked out. Raises UnknownColumn and InvalidRequest."""
    name = asked.name
    if asked.function == Aggregate.FUNCTION_UNSPECIFIED and not asked.column:
        return _counted(name, number, sql.SQL("count(*)").format())
    column = known_column(table, asked.column)
    value = identifier(_ALIAS, column.name)
    match asked.function:
        case Aggregate.FUNCTION_UNSPECIFIED:
            return _counted(name, number, sql.SQL("count({})").format(value))
        case Aggregate.FUNCTION_COUNT_DISTINCT:
            return _counted(name, number, sql.SQL("count(DISTINCT {})").format(value))
        case Aggregate.FUNCTION_MIN | Aggregate.FUNCTION_MAX:
            return _extreme(name, number, column, "min" if asked.function == Aggregate.FUNCTION_MIN else "max")
    if asked.function == Aggregate.FUNCTION_SUM:
        return _sum(name, number, column)
    return _average(name, number, column)


def _counted(name: str, number: int, count: sql.Composed) -> _Aggregation:
    part = _Part(f"c{number}", "int8", count)
    again = sql.SQL("coalesce(sum({}), 0)::int8").format(sql.Identifier(_PARTIAL, part.name))
    return _Aggregation(Column(name, "int8", "int8", not_null=False), count, (part,), again)


def _different(table: Table, number: int, asked: Aggregate) -> _Aggregation:
    """A count of the different values that shards may share: they are counted when those of all are together."""
    column = known_column(table, asked.column)
    value = sql.SQL("{}").format(identifier(_ALIAS, column.name))
    part = _Part(f"d{number}", column.type, value, column.name)
    together = sql.SQL("count(DISTINCT {})").format(sql.Identifier(_PARTIAL, part.name))
    whole = sql.SQL("count(DISTINCT {})").format(value)
    return _Aggregation(Column(asked.name, "int8", "int8", not_null=False), whole, (part,), together, (value,))


def _extreme(name: str, number: int, column: Column, function: LiteralString) -> _Aggregation:
    whole = sql.SQL("{}({})").format(sql.SQL(function), identifier(_ALIAS, column.name))
    part = _Part(f"m{number}", column.type, whole, column.name)
    again = sql.SQL("{}({})").format(sql.SQL(function), sql.Identifier(_PARTIAL, part.name))
    own = msgspec.structs.replace(column, name=name, not_null=False)
    return _Aggregation(own, whole, (part,), again)


def _sum(name: str, number: int, column: Column) -> _Aggregation:
    kind = _known(sum_type(column.base_type), column, "sum")
    whole = sql.SQL("sum({})").format(identifier(_ALIAS, column.name))
    part = _Part(f"s{number}", kind, whole)
    again = sql.SQL("sum({})::{}").format(sql.Identifier(_PARTIAL, part.name), sql.SQL(kind))
    return _Aggregation(Column(name, kind, kind, not_null=False), whole, (part,), again)


def _average(name: str, number: int, column: Column) -> _Aggregation:
    """Sum and count, divided as PostgreSQL's own average divides them."""
    kind = _known(average_type(column.base_type), column, "average")
    value = identifier(_ALIAS, column.name)
    total = _Part(f"s{number}", kind, sql.SQL("sum({}::{})").format(value, sql.SQL(kind)))
    count = _Part(f"n{number}", "int8", sql.SQL("count({})").format(value))
    again = sql.SQL("sum({}) / nullif(sum({}), 0)").format(
        sql.Identifier(_PARTIAL, total.name), sql.Identifier(_PARTIAL, count.name)
    )
    whole = sql.SQL("avg({})").format(value)
    return _Aggregation(Column(name, kind, kind, not_null=False), whole, (total, count), again)


def _known(kind: LiteralString | None, column: Column, what: str) -> LiteralString:
    if kind is None:
        raise errors.InvalidRequest(
            f'column "{column.name}" is {column.type}, which has no {what}', columns=column.name
        )
    return kind

"""Keys by which nested rows are found and linked: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crosskey import errors, exact_json
from crosskey.catalog.model import Column, ForeignKey, Table
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.router.planning.given_values import Row
from crosskey.router.planning.nesting.paths import add_path, naming_path
from crosskey.router.planning.nesting.tasks import NestedRow, Task
from crosskey.router.planning.predicates import Checked, CheckedPredicate, JoinedPredicates, check_key
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import rows_pb2


def target_of(view: SchemaView, relation: Relation) -> TablePlan:
    """The table that a relation leads to."""
    return view.table(relation.target.qualified)


def by_key(table: TablePlan, task: Task) -> tuple[Checked, ...]:
    """The predicates of the row that a task means. Raises what check_key raises, with the path."""
    with naming_path(task.path):
        return check_key(table.table, task.key)


def having(table: Table, columns: Sequence[str], values: Sequence[Any]) -> tuple[Checked, ...]:
    """The predicates of rows with these values, none of which is None."""
    return tuple(
        CheckedPredicate(_column(table, name), rows_pb2.Predicate.EQ, value)
        for name, value in zip(columns, values, strict=True)
    )


def any_of(alternatives: Sequence[tuple[Checked, ...]]) -> tuple[Checked, ...]:
    """The predicates of rows that meet all of one of the alternatives, of which there is one at least."""
    if len(alternatives) == 1:
        return alternatives[0]
    merged = _by_lists(alternatives)
    return merged[0] if len(merged) == 1 else (JoinedPredicates(tuple(map(JoinedPredicates, merged)), by_or=True),)


def _by_lists(alternatives: Sequence[tuple[Checked, ...]]) -> Sequence[tuple[Checked, ...]]:
    """The same with those as one that differ in one column only, which a list says: nodes bound the comparisons.

    The column is that which makes the fewest of them. Only alternatives that give the same columns values are merged.
    """
    keys = [
        [one for one in alternative if isinstance(one, CheckedPredicate) and one.op == rows_pb2.Predicate.EQ]
        for alternative in alternatives
    ]
    columns = [one.column for one in keys[0]]
    if not columns or any([one.column for one in key] != columns for key in keys):
        return alternatives
    if any(len(key) != len(alternative) for key, alternative in zip(keys, alternatives, strict=True)):
        return alternatives
    return min((_merged(keys, place) for place in range(len(columns))), key=len)


def _merged(keys: Sequence[Sequence[CheckedPredicate]], place: int) -> list[tuple[Checked, ...]]:
    groups: dict[tuple[bytes, ...], list[Sequence[CheckedPredicate]]] = {}
    for key in keys:
        others = tuple(one.digest() for number, one in enumerate(key) if number != place)
        groups.setdefault(others, []).append(key)
    merged: list[tuple[Checked, ...]] = []
    for group in groups.values():
        first = group[0]
        listed = CheckedPredicate(first[place].column, rows_pb2.Predicate.IN, [key[place].value for key in group])
        merged.append((*first[:place], listed if len(group) > 1 else first[place], *first[place + 1 :]))
    return merged


def none_of(alternatives: Sequence[tuple[Checked, ...]]) -> tuple[Checked, ...]:
    """The predicates of rows that meet none of the alternatives: of all rows if there are none."""
    return (JoinedPredicates(any_of(alternatives), negated=True, or_unknown=True),) if alternatives else ()


def values_of(values: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    """The values of columns, None for those that are not there."""
    return [values.get(name) for name in columns]


def assign(row: NestedRow, relation: Relation, columns: Sequence[str], values: Sequence[Any]) -> None:
    """Gives a row the key that a relation means. Raises InvalidRequest if the row gives another one, or gives it alone.

    A column that belongs to several keys may be given, if it is the same in all.
    """
    for name, value in zip(columns, values, strict=True):
        if name in row.values and (len(columns) == 1 or str(row.values[name]) != str(value)):
            raise errors.InvalidRequest(
                f'"{name}" is given, and the relation "{relation.name}" sets it, too; it takes one of them',
                table=str(row.table.table.name),
                columns=name,
            )
        row.values[name] = value


def nulls(view: SchemaView, key: ForeignKey) -> Row | None:
    """What a row's columns are set to that is to have no parent; None if all of them are NOT NULL."""
    table = view.table(key.table.qualified).table
    columns = key.on_delete_columns or key.columns
    nullable = [name for name in columns if not _column(table, name).not_null]
    if not nullable or (key.match == "FULL" and len(nullable) < len(key.columns)):
        return None
    return dict.fromkeys(nullable)


def not_null(key: ForeignKey, hint: str = "") -> errors.InvalidRequest:
    """The refusal of what would leave a row without a parent that must have one."""
    columns = ", ".join(f'"{name}"' for name in key.columns)
    return errors.InvalidRequest(
        f'rows of "{key.table}" cannot be detached: {columns} of "{key.name}" is NOT NULL',
        table=str(key.table),
        constraint=key.name,
        columns=", ".join(key.columns),
        hint=hint or "Delete the rows, or give them another parent.",
    )


def not_found(task: Task) -> errors.RowNotFound:
    """The error of a task whose row is not there."""
    with_key = f" with the key {exact_json.encode(task.key).decode()}" if task.key else ""
    error = errors.RowNotFound(
        f'the relation "{task.relation.name}" leads to no row of "{task.relation.target}"{with_key}',
        table=str(task.relation.target),
        key=exact_json.encode(task.key).decode() if task.key else None,
    )
    add_path(error, task.path)
    return error


def join_key(view: SchemaView, relation: Relation) -> tuple[str, ...]:
    """The columns of the key of a join table that consists of its two foreign keys."""
    far = relation.far_key
    assert far is not None, "only a relation through a join table has one"
    table = view.table(relation.key.table.qualified).table
    both = {*relation.key.columns, *far.columns}
    return next(key.columns for key in table.unique_keys if key.plain and set(key.columns) == both)


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    assert column is not None, f"{table.name} has a key with a column that it has not"
    return column

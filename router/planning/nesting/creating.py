"""The script of rows that are created along with others: first what they belong to, then they, then what is theirs.

Rows of one table on one level go by one statement. Their ids are minted or drawn before, so that rows which belong to
them know their keys without waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosskey import errors, exact_json
from crosskey.catalog.generated_keys import mints_shard_key
from crosskey.catalog.model import Column
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.router.planning.generated_values import GeneratedValues, Need, Overriding, override
from crosskey.router.planning.includes import join_columns
from crosskey.router.planning.nesting.actions import (
    KEY_SHARE,
    NO_KEY_UPDATE,
    Find,
    Found,
    Generate,
    Script,
    Wanted,
    Write,
)
from crosskey.router.planning.nesting.keys import any_of, assign, by_key, join_key, not_found, target_of, values_of
from crosskey.router.planning.nesting.paths import naming_path
from crosskey.router.planning.nesting.tasks import NestedRow, Task
from crosskey.router.planning.row_locks import RowLock
from crosskey.router.planning.row_placement import RowPlacement
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import RowForms, check_rows, unknown_column
from crosskey.v1 import router_pb2

Owned = tuple[Mapping[str, Any], Task]
"""The values of a row's referenced columns, and what is to be done with rows that are its own."""


@dataclass(slots=True)
class Brought:
    """How many rows were given to others, and how many were theirs already."""

    added: int = 0
    kept: int = 0


class Creating:
    """Scripts of one request. They raise what planning raises, RowNotFound, and InvalidRequest, all with the path."""

    def __init__(self, view: SchemaView, *, as_text: bool) -> None:
        """With `as_text`, rows are answered as ROW_FORM_TEXT has them."""
        self._view = view
        self._forms = RowForms(as_text=as_text)

    def create(
        self,
        rows: Sequence[NestedRow],
        needed: Collection[str] = (),
        forms: RowForms | None = None,
        overriding: Overriding.ValueType = router_pb2.InsertRequest.OVERRIDING_UNSPECIFIED,
    ) -> Script[None]:
        """Creates rows of one table, whose columns `needed` others are to know."""
        if not rows:
            return
        table = rows[0].table
        forms = forms or self._forms
        for relation, pairs in _by_relation(rows, to_parent=True).items():
            yield from self._give_parents(relation, pairs)
        for row in rows:
            with naming_path(row.path):
                check_rows(table.table, [row.values], forms)
                override(table.table, [row.values], overriding)
        yield from self._fill(table, rows, {*needed, *_referenced(rows)})
        yield Write("insert", table, rows[0].path, [row.values for row in rows], rows, forms=forms)
        for relation, pairs in _by_relation(rows, to_parent=False).items():
            yield from self.bring(relation, [(row.values, task) for row, task in pairs])

    def bring(self, relation: Relation, owned: Sequence[Owned], *, may_be_there: bool = False) -> Script[Brought]:
        """Gives rows to others: those to create, and those to connect; `may_be_there` if some may be theirs already."""
        if relation.far_key is not None:
            return (yield from self._join(relation, owned, may_be_there=may_be_there))
        key = relation.key
        tasks = [task for _, task in owned]
        found = yield from self.seek(relation, tasks, key.columns, NO_KEY_UPDATE)
        created: list[NestedRow] = []
        sought: dict[bytes, NestedRow] = {}
        attached: list[tuple[list[Any], list[tuple[Task, Found]]]] = []
        brought = Brought()
        for (values, task), one in zip(owned, found, strict=True):
            key_values = values_of(values, key.parent_columns)
            if one is None:
                row = _to_create(task)
                if row.sought is not None and sought.setdefault(exact_json.encode(row.sought), row) is not row:
                    continue
                created.append(row)
                with naming_path(task.path):
                    assign(row, relation, key.columns, key_values)
            elif [*map(str, key_values)] == values_of(one.texts, key.columns):
                brought.kept += 1
            elif attached and attached[-1][0] == key_values:
                attached[-1][1].append((task, one))
            else:
                attached.append((key_values, [(task, one)]))
        for key_values, pairs in attached:
            brought.added += int((yield self._attach(relation, key_values, pairs)))
        yield from self.create(created)
        brought.added += len(created)
        return brought

    def resolve(
        self, relation: Relation, tasks: Sequence[Task], columns: Sequence[str]
    ) -> Script[list[Mapping[str, Any]]]:
        """The values of columns of the rows that tasks mean, which others are to reference; some are created for it."""
        sought = [task for task in tasks if task.word == "connect_or_create" or task.key.keys() != {*columns}]
        found = yield from self.seek(relation, sought, columns, KEY_SHARE)
        places = {id(task): one for task, one in zip(sought, found, strict=True)}
        created: dict[int, NestedRow] = {}
        same: dict[bytes, NestedRow] = {}
        for task in sought:
            if places[id(task)] is None:
                row = _to_create(task)
                created[id(task)] = row if row.sought is None else same.setdefault(exact_json.encode(row.sought), row)
        yield from self.create([*dict.fromkeys(created.values())], needed=columns)
        resolved: list[Mapping[str, Any]] = []
        for task in tasks:
            one = places.get(id(task))
            made = created.get(id(task))
            resolved.append(made.values if made is not None else one.texts if one is not None else task.key)
        return resolved

    def seek(
        self,
        relation: Relation,
        tasks: Sequence[Task],
        columns: Sequence[str],
        lock: RowLock,
        *,
        required: bool = True,
    ) -> Script[list[Found | None]]:
        """The rows that tasks mean; None for those to create. Raises RowNotFound for one that is `required`."""
        table = target_of(self._view, relation)
        places = [place for place, task in enumerate(tasks) if task.key]
        found: list[Found | None] = [None] * len(tasks)
        if places:
            wanted = [
                Wanted(table, by_key(table, tasks[place]), tuple(columns), lock, tasks[place].path) for place in places
            ]
            for place, one in zip(places, (yield Find(wanted)), strict=True):
                found[place] = one
                if required and one is None and tasks[place].row is None:
                    raise not_found(tasks[place])
        return found

    def _give_parents(self, relation: Relation, pairs: Sequence[tuple[NestedRow, Task]]) -> Script[None]:
        key = relation.key
        parents = yield from self.resolve(relation, [task for _, task in pairs], key.parent_columns)
        for (row, task), parent in zip(pairs, parents, strict=True):
            with naming_path(task.path):
                assign(row, relation, key.columns, values_of(parent, key.parent_columns))

    def _attach(self, relation: Relation, values: Sequence[Any], pairs: Sequence[tuple[Task, Found]]) -> Write:
        table = target_of(self._view, relation)
        return Write(
            "update",
            table,
            pairs[0][0].path,
            [dict(zip(relation.key.columns, values, strict=True))],
            predicates=any_of([by_key(table, task) for task, _ in pairs]),
            forms=RowForms(count_only=True),
            shards={one.shard for _, one in pairs},
        )

    def _join(self, relation: Relation, owned: Sequence[Owned], *, may_be_there: bool) -> Script[Brought]:
        """Through a join table: the rows at its other side, and then its own."""
        far = relation.far_key
        assert far is not None, "it leads through a join table"
        tasks = [task for _, task in owned]
        resolved = yield from self.resolve(relation, tasks, far.parent_columns)
        table = self._view.table(relation.key.table.qualified)
        rows: dict[tuple[str, ...], tuple[dict[str, Any], Task]] = {}
        for (values, task), far_values in zip(owned, resolved, strict=True):
            row = NestedRow(table, _own_columns(relation, table, task), task.path)
            with naming_path(task.path):
                assign(row, relation, relation.key.columns, values_of(values, relation.key.parent_columns))
                assign(row, relation, far.columns, values_of(far_values, far.parent_columns))
                check_rows(table.table, [row.values], self._forms)
            name = tuple(str(row.values[column]) for column in join_key(self._view, relation))
            rows.setdefault(name, (row.values, task))
        added = yield from self._insert_joins(relation, table, [*rows.values()], may_be_there=may_be_there)
        return Brought(added, len(rows) - added)

    def _insert_joins(
        self, relation: Relation, table: TablePlan, rows: Sequence[tuple[dict[str, Any], Task]], *, may_be_there: bool
    ) -> Script[int]:
        """How many rows of the join table were not there yet."""
        if not rows:
            return 0
        holders = [NestedRow(table, values, task.path) for values, task in rows]
        yield from self._fill(table, holders, ())
        own = join_columns(relation, table.table)
        added = yield Write(
            "insert",
            table,
            rows[0][1].path,
            [values for values, _ in rows],
            holders,
            joins=[task for _, task in rows] if own and not may_be_there else (),
            forms=RowForms(count_only=not own, as_text=self._forms.as_text, columns=own),
            unless=join_key(self._view, relation) if may_be_there else (),
        )
        return len(rows) if added is None else int(added)

    def _fill(self, table: TablePlan, rows: Sequence[NestedRow], needed: Collection[str]) -> Script[None]:
        """Gives rows the values that are to be known before they are stored. Raises InvalidRequest if one is not."""
        counts = {
            column.name: sum(column.name not in row.values for row in rows)
            for column in self._to_generate(table, needed)
        }
        if any(counts.values()):
            generated: GeneratedValues = yield Generate(
                Need(table, {name: count for name, count in counts.items() if count})
            )
            generated.fill(row.values for row in rows)
        if table.placement == "sharded":
            placement = RowPlacement(table, self._view.shards)
            for number, row in enumerate(rows, start=1):
                with naming_path(row.path):
                    placement.place(row.values, number)
        for name in needed:
            for row in rows:
                if row.values.get(name) is None:
                    with naming_path(row.path):
                        raise _not_known(table, name)

    def _to_generate(self, table: TablePlan, needed: Collection[str]) -> list[Column]:
        minted = {table.slot_column, table.shard_key if table.shard_key and mints_shard_key(table) else None}
        generated = self._view.columns_to_generate(table)
        return [
            column
            for column in table.table.columns
            if column in generated
            or (
                column.name in needed
                and column.name not in minted
                and not column.generated
                and (column.default is not None or column.counts)
            )
        ]


def _by_relation(rows: Sequence[NestedRow], *, to_parent: bool) -> dict[Relation, list[tuple[NestedRow, Task]]]:
    found: dict[Relation, list[tuple[NestedRow, Task]]] = {}
    for row in rows:
        for task in row.tasks:
            if (task.relation.kind == "belongs to") == to_parent:
                found.setdefault(task.relation, []).append((row, task))
    return found


def _referenced(rows: Sequence[NestedRow]) -> set[str]:
    """The columns of rows that rows of their relations are to reference."""
    tasks = (task for row in rows for task in row.tasks if task.relation.kind != "belongs to")
    return {name for task in tasks for name in task.relation.key.parent_columns}


def _to_create(task: Task) -> NestedRow:
    assert task.row is not None, "what was not found is created"
    return task.row


def _own_columns(relation: Relation, table: TablePlan, task: Task) -> dict[str, Any]:
    """The other columns of the row of a join table, as they are given. Raises UnknownColumn and InvalidRequest."""
    known = join_columns(relation, table.table)
    with naming_path(task.path):
        for name in task.join:
            if table.table.column(name) is None:
                raise unknown_column(table.table, name)
            if name not in known:
                raise errors.InvalidRequest(f'"{name}" is set by the relation "{relation.name}" itself', columns=name)
    return dict(task.join)


def _not_known(table: TablePlan, name: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f'"{name}" of "{table.table.name}" is not known before the row is stored, and rows of its relations need it',
        table=str(table.table.name),
        columns=name,
        hint=f'Give the row a value for "{name}".',
    )

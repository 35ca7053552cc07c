"""The script of a row that is there and of the rows of its relations: they come, go, and are changed.

The row is locked first, FOR NO KEY UPDATE, so that of two scripts on one row the second sees what the first has done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crosskey import errors
from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.router.planning.nesting.actions import (
    KEY_SHARE,
    NO_KEY_UPDATE,
    Find,
    Found,
    Script,
    WaitForPrepared,
    Wanted,
    Write,
)
from crosskey.router.planning.nesting.creating import Creating
from crosskey.router.planning.nesting.keys import (
    any_of,
    assign,
    by_key,
    having,
    none_of,
    not_found,
    not_null,
    nulls,
    target_of,
    values_of,
)
from crosskey.router.planning.nesting.paths import add_path, naming_path
from crosskey.router.planning.nesting.tasks import NestedRow, Task
from crosskey.router.planning.predicates import Checked
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import RowForms, check_rows
from crosskey.v1 import rows_pb2

_ORDER = ("set", "disconnect", "delete", "update", "upsert", "connect", "connect_or_create", "create")
"""What is done first with rows of one relation: those that go make room for those that come."""

_COUNTED = RowForms(count_only=True)

SAY_DELETE = "Say delete_detached, and they are deleted, or give them another parent."


class Changing:
    """Scripts of one request. They raise as those of Creating."""

    def __init__(self, view: SchemaView, creating: Creating, *, as_text: bool) -> None:
        self._view = view
        self._creating = creating
        self._forms = RowForms(as_text=as_text)

    def change(
        self,
        row: NestedRow,
        predicates: tuple[Checked, ...],
        forms: RowForms | None = None,
        assignments: Sequence[rows_pb2.Assignment] = (),
    ) -> Script[bool]:
        """Changes the row that meets the predicates, and rows of its relations; False if it is not there."""
        found = yield from self.lock(row.table, predicates, _own_columns(row.tasks), row.path, forms)
        if found is None:
            return False
        yield from self._change_found(row, found, predicates, forms or self._forms, assignments)
        return True

    def _change_found(
        self,
        row: NestedRow,
        found: Found,
        predicates: tuple[Checked, ...],
        forms: RowForms,
        assignments: Sequence[rows_pb2.Assignment] = (),
    ) -> Script[None]:
        """What it belonged to goes, or is changed, when the row is: its key may follow that of its parent."""
        last: list[Script[None]] = []
        for task in _in_order(row.tasks, to_parent=True):
            yield from self._change_parent(row, task, found, last)
        with naming_path(row.path):
            check_rows(row.table.table, [row.values], forms)
        if row.values or assignments:
            changed = yield Write(
                "update",
                row.table,
                row.path,
                [row.values],
                [row],
                predicates=predicates,
                assignments=assignments,
                forms=forms,
                shards={found.shard},
            )
            if not changed:
                raise _not_changed(row)
        else:
            row.stored = found.json
        yield from self._change_others(row, _values_now(row, found, assignments))
        for script in last:
            yield from script

    def lock(
        self,
        table: TablePlan,
        predicates: tuple[Checked, ...],
        texts: Iterable[str],
        path: str,
        forms: RowForms | None = None,
    ) -> Script[Found | None]:
        """The row that meets the predicates, locked until the end."""
        names = tuple(dict.fromkeys(texts))
        [found] = yield Find([Wanted(table, predicates, names, NO_KEY_UPDATE, path, forms or self._forms)])
        result: Found | None = found
        return result

    def detach(
        self, key: ForeignKey, predicates: tuple[Checked, ...], path: str, *, delete: bool = False
    ) -> Script[int]:
        """Takes their parent from the rows that meet the predicates; how many there were.

        Raises InvalidRequest if they must have one, unless they are to be deleted then.
        """
        table = self._view.table(key.table.qualified)
        no_parent = nulls(self._view, key)
        if no_parent is not None:
            gone = yield Write("update", table, path, [no_parent], predicates=predicates, forms=_COUNTED)
        elif delete:
            gone = yield Write("delete", table, path, predicates=predicates)
        else:
            with naming_path(path):
                raise not_null(key, SAY_DELETE)
        return int(gone)

    def linked(self, key: ForeignKey, owner: Mapping[str, Any]) -> tuple[Checked, ...]:
        """The predicates of the children of a row."""
        return having(self._view.table(key.table.qualified).table, key.columns, values_of(owner, key.parent_columns))

    def wait_for_prepared(self, key: ForeignKey, owner: Mapping[str, Any]) -> Script[None]:
        """To be done once the owner is locked and before all its children go, or all but some.

        Whoever had it locked may be committed on its shard and only prepared where its children are. Where these are on
        the owner's own shard, the lock has waited for that.
        """
        parent = self._view.table(key.parent.qualified)
        of_owner = having(parent.table, key.parent_columns, values_of(owner, key.parent_columns))
        shards = self._view.shards_for_where(self._view.table(key.table.qualified), self.linked(key, owner))
        if len(shards) > 1 or shards != self._view.shards_for_where(parent, of_owner):
            yield WaitForPrepared(shards)

    def far_rows(
        self, relation: Relation, owner: Mapping[str, Any], far_values: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Checked, ...]]:
        """The predicates of the rows of a join table that lead from a row to others."""
        far = relation.far_key
        assert far is not None, "it leads through a join table"
        table = self._view.table(far.table.qualified).table
        own = self.linked(relation.key, owner)
        return [(*own, *having(table, far.columns, values_of(one, far.parent_columns))) for one in far_values]

    def _change_parent(self, row: NestedRow, task: Task, found: Found, last: list[Script[None]]) -> Script[None]:
        """What the row belongs to. What is to be done once the row is changed is added to `last`."""
        relation, key = task.relation, task.relation.key
        parent = values_of(found.texts, key.columns)
        has_parent = None not in parent
        target = target_of(self._view, relation)
        predicates = having(target.table, key.parent_columns, parent) if has_parent else ()
        if task.word in ("update", "upsert"):
            change = task.change if has_parent else None
            texts = () if change is None else _own_columns(change.tasks)
            there = None if change is None else (yield from self.lock(target, predicates, texts, change.path))
            if change is not None and there is not None:
                last.append(self._change_found(change, there, predicates, self._forms))
            elif task.row is None:
                raise not_found(task)
            else:
                yield from self._give_parent(row, task)
        elif task.word in ("disconnect", "delete"):
            if task.word == "delete" and not has_parent:
                raise not_found(task)
            no_parent = nulls(self._view, key)
            with naming_path(task.path):
                if no_parent is None:
                    raise not_null(key)
                assign(row, relation, [*no_parent], [*no_parent.values()])
            if task.word == "delete":
                last.append(_only(Write("delete", target, task.path, predicates=predicates)))
        else:
            yield from self._give_parent(row, task)

    def _give_parent(self, row: NestedRow, task: Task) -> Script[None]:
        key = task.relation.key
        [parent] = yield from self._creating.resolve(task.relation, [task], key.parent_columns)
        with naming_path(task.path):
            assign(row, task.relation, key.columns, values_of(parent, key.parent_columns))

    def _change_others(self, row: NestedRow, owner: Mapping[str, Any]) -> Script[None]:
        """What is the row's own, or joined with it. Rows that come do so together."""
        bringing: dict[Relation, list[Task]] = {}
        for task in _in_order(row.tasks, to_parent=False):
            with naming_path(task.path):
                _check_known(row, owner, task.relation.key)
            if task.word in ("connect", "connect_or_create", "create"):
                bringing.setdefault(task.relation, []).append(task)
            elif task.relation.far_key is not None:
                yield from self._change_far(owner, task)
            else:
                yield from self._change_child(owner, task)
        for relation, tasks in bringing.items():
            if relation.kind == "has one":
                yield from self._make_room(owner, tasks[0])
            yield from self._creating.bring(relation, [(owner, task) for task in tasks], may_be_there=True)

    def _make_room(self, owner: Mapping[str, Any], task: Task) -> Script[None]:
        """Detaches the one row that there may be, if that is possible; else PostgreSQL says that it is in the way."""
        key = task.relation.key
        if nulls(self._view, key) is not None:
            others = none_of([by_key(target_of(self._view, task.relation), task)] if task.key else [])
            yield from self.detach(key, (*self.linked(key, owner), *others), task.path)

    def _change_child(self, owner: Mapping[str, Any], task: Task) -> Script[None]:
        key = task.relation.key
        table = target_of(self._view, task.relation)
        if task.word == "set":
            yield from self.replace_children(owner, task.relation, task.keys, task.path, delete=task.delete_detached)
            return
        predicates = (*self.linked(key, owner), *(by_key(table, task) if task.key else ()))
        if task.word == "disconnect":
            yield from self.detach(key, predicates, task.path)
        elif task.word == "delete":
            if not (yield Write("delete", table, task.path, predicates=predicates)):
                raise not_found(task)
        else:
            changed = task.change is not None and (yield from self.change(task.change, predicates))
            if not changed and task.row is None:
                raise not_found(task)
            if not changed and task.row is not None:
                with naming_path(task.path):
                    assign(task.row, task.relation, key.columns, values_of(owner, key.parent_columns))
                yield from self._creating.create([task.row])

    def _change_far(self, owner: Mapping[str, Any], task: Task) -> Script[None]:
        """What a row is joined with."""
        relation, far = task.relation, task.relation.far_key
        assert far is not None, "it leads through a join table"
        if task.word == "set":
            yield from self.replace_joined(owner, relation, task.keys, task.path)
            return
        table = target_of(self._view, relation)
        join = self._view.table(far.table.qualified)
        key = by_key(table, task)
        [found] = yield Find([Wanted(table, key, far.parent_columns, KEY_SHARE, task.path)])
        joins = [] if found is None else self.far_rows(relation, owner, [found.texts])
        if task.word == "disconnect":
            if joins:
                yield Write("delete", join, task.path, predicates=joins[0])
            return
        is_joined = bool(joins) and (yield from self.lock(join, joins[0], (), task.path)) is not None
        if not is_joined and task.word != "upsert":
            raise not_found(task)
        if task.word == "delete":
            yield Write("delete", join, task.path, predicates=joins[0])
            yield Write("delete", table, task.path, predicates=key)
        elif is_joined and task.change is not None:
            yield from self.change(task.change, key)
        else:
            yield from self._creating.bring(relation, [(owner, _creating_only(task))])

    def replace_children(
        self, owner: Mapping[str, Any], relation: Relation, tasks: Sequence[Task], path: str, *, delete: bool
    ) -> Script[tuple[int, int, int]]:
        """Has a row have exactly these children: how many came, went and stayed."""
        table = target_of(self._view, relation)
        yield from self.wait_for_prepared(relation.key, owner)
        kept = none_of([any_of([by_key(table, task) for task in tasks])] if tasks else [])
        removed = yield from self.detach(relation.key, (*self.linked(relation.key, owner), *kept), path, delete=delete)
        brought = yield from self._creating.bring(relation, [(owner, task) for task in tasks], may_be_there=True)
        return brought.added, removed, brought.kept

    def replace_joined(
        self, owner: Mapping[str, Any], relation: Relation, tasks: Sequence[Task], path: str
    ) -> Script[tuple[int, int, int]]:
        """Has a row be joined with exactly these rows: how many came, went and stayed."""
        far = relation.far_key
        assert far is not None, "it leads through a join table"
        resolved = yield from self._creating.resolve(relation, tasks, far.parent_columns)
        join = self._view.table(far.table.qualified)
        kept = [having(join.table, far.columns, values_of(one, far.parent_columns)) for one in resolved]
        predicates = (*self.linked(relation.key, owner), *none_of([any_of(kept)] if kept else []))
        yield from self.wait_for_prepared(relation.key, owner)
        removed = yield Write("delete", join, path, predicates=predicates)
        brought = yield from self._creating.bring(relation, [(owner, task) for task in tasks], may_be_there=True)
        return brought.added, int(removed), brought.kept


def _only(write: Write) -> Script[None]:
    yield write


def _not_changed(row: NestedRow) -> errors.RowNotFound:
    """The error of a row that was locked, and that its update did not meet."""
    table = row.table.table.name
    error = errors.RowNotFound(
        f'the row of "{table}" was not changed: what it belongs to gave it another key before, or a trigger kept it',
        table=str(table),
    )
    add_path(error, row.path)
    return error


def _own_columns(tasks: Iterable[Task]) -> list[str]:
    """The columns of a row that lead to the rows of its relations."""
    keys = ((task.relation.key, task.relation.kind == "belongs to") for task in tasks)
    return [name for key, is_child in keys for name in (key.columns if is_child else key.parent_columns)]


def _in_order(tasks: Iterable[Task], *, to_parent: bool) -> list[Task]:
    chosen = (task for task in tasks if (task.relation.kind == "belongs to") == to_parent)
    return sorted(chosen, key=lambda task: _ORDER.index(task.word))


def _values_now(row: NestedRow, found: Found, assignments: Iterable[rows_pb2.Assignment]) -> dict[str, Any]:
    """What leads to rows of its relations once the row is changed; what is computed is not known."""
    computed = {assignment.column for assignment in assignments}
    return {name: text for name, text in {**found.texts, **row.values}.items() if name not in computed}


def _check_known(row: NestedRow, owner: Mapping[str, Any], key: ForeignKey) -> None:
    for name in key.parent_columns:
        if owner.get(name) is None:
            raise errors.InvalidRequest(
                f'"{name}" of "{row.table.table.name}" is NULL or computed, and rows of its relations need it',
                table=str(row.table.table.name),
                columns=name,
            )


def _creating_only(task: Task) -> Task:
    """The task of an upsert whose row is not there: to create it."""
    return Task(task.relation, "create", task.path, row=task.row, join=task.join)

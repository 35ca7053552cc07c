"""The script of an association: which rows a relation of one row has. All calls on one row come one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosskey import errors, exact_json
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.router.planning.given_values import given_key, given_rows
from crosskey.router.planning.nesting.actions import KEY_SHARE, Outcome, Script, Write
from crosskey.router.planning.nesting.changing import Changing
from crosskey.router.planning.nesting.creating import Creating
from crosskey.router.planning.nesting.keys import any_of, by_key, not_null, nulls, target_of, values_of
from crosskey.router.planning.nesting.tasks import Task, TaskReader
from crosskey.router.planning.predicates import Checked, check_key
from crosskey.router.planning.rights import allow_association
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import RowForms
from crosskey.v1 import router_pb2

Operation = router_pb2.AssociateRequest.Operation

Texts = Mapping[str, str | None]


def associate(view: SchemaView, table: TablePlan, request: router_pb2.AssociateRequest) -> Script[Outcome]:
    """What the request says. Raises InvalidRequest, RowNotFound, and what planning raises."""
    relation = view.relation(table, request.relation)
    allow_association(relation, request)
    # Each once: what becomes of rows is counted.
    rows = [*{exact_json.encode(row): row for row in given_rows(request)}.values()]
    _check_operation(relation, request, len(rows))
    key = check_key(table.table, given_key(request))
    tasks = TaskReader(view).keys(relation, rows)
    creating = Creating(view, as_text=False)
    changing = Changing(view, creating, as_text=False)
    to_parent = relation.kind == "belongs to"
    names = relation.key.columns if to_parent else relation.key.parent_columns
    found = yield from changing.lock(table, key, names, "")
    if found is None:
        text = exact_json.encode(given_key(request)).decode()
        raise errors.RowNotFound(f'"{request.table}" has no row with the key {text}', table=request.table, key=text)
    associating = _Associating(view, relation, creating, changing, request.delete_detached)
    if to_parent:
        return (yield from associating.parent(table, key, found.texts, tasks, request.operation))
    if None in values_of(found.texts, names):
        message = f'the row has no "{relation.name}": its {", ".join(names)} is NULL'
        raise errors.InvalidRequest(message, table=request.table, columns=", ".join(names))
    if relation.far_key is not None:
        return (yield from associating.joined(found.texts, tasks, request.operation))
    return (yield from associating.children(found.texts, tasks, request.operation))


@dataclass(frozen=True, slots=True)
class _Associating:
    """What is done once the row is locked, whose referenced columns, or own key, are given as texts."""

    view: SchemaView
    relation: Relation
    creating: Creating
    changing: Changing
    delete: bool

    def parent(
        self,
        table: TablePlan,
        key: tuple[Checked, ...],
        texts: Texts,
        tasks: Sequence[Task],
        operation: Operation.ValueType,
    ) -> Script[Outcome]:
        """Sets what the row belongs to, or takes it away."""
        foreign_key = self.relation.key
        current = values_of(texts, foreign_key.columns)
        had_one = None not in current
        found = yield from self.creating.seek(
            self.relation, tasks, foreign_key.parent_columns, KEY_SHARE, required=operation in _ADDING
        )
        named = [values_of(one.texts, foreign_key.parent_columns) for one in found if one is not None]
        if operation in _ADDING and named:
            if named[0] == current:
                return Outcome(kept=1)
            values = dict(zip(foreign_key.columns, named[0], strict=True))
            yield Write("update", table, "", [values], predicates=key, forms=RowForms(count_only=True))
            return Outcome(added=1, removed=int(had_one))
        if not had_one or (operation == router_pb2.AssociateRequest.REMOVE and current not in named):
            return Outcome()
        no_parent = nulls(self.view, foreign_key)
        if no_parent is None:
            raise not_null(foreign_key)
        yield Write("update", table, "", [no_parent], predicates=key, forms=RowForms(count_only=True))
        return Outcome(removed=1)

    def children(self, owner: Texts, tasks: Sequence[Task], operation: Operation.ValueType) -> Script[Outcome]:
        """Sets the key of children, or takes it from them."""
        key = self.relation.key
        linked = self.changing.linked(key, owner)
        if operation == router_pb2.AssociateRequest.APPEND and self.relation.many:
            brought = yield from self.creating.bring(self.relation, [(owner, task) for task in tasks])
            return Outcome(added=brought.added, kept=brought.kept)
        if operation in _ADDING:
            added, removed, kept = yield from self.changing.replace_children(
                owner, self.relation, tasks, "", delete=self.delete
            )
            return Outcome(added=added, removed=removed, kept=kept)
        if operation == router_pb2.AssociateRequest.REMOVE:
            if not tasks:
                return Outcome()
            table = target_of(self.view, self.relation)
            linked = (*linked, *any_of([by_key(table, task) for task in tasks]))
        else:
            yield from self.changing.wait_for_prepared(key, owner)
        removed = yield from self.changing.detach(key, linked, "", delete=self.delete)
        return Outcome(removed=removed)

    def joined(self, owner: Texts, tasks: Sequence[Task], operation: Operation.ValueType) -> Script[Outcome]:
        """Adds rows of a join table, and deletes some; never those at its other side."""
        far = self.relation.far_key
        assert far is not None, "it leads through a join table"
        join = self.view.table(far.table.qualified)
        if operation == router_pb2.AssociateRequest.APPEND:
            owned = [(owner, task) for task in tasks]
            brought = yield from self.creating.bring(self.relation, owned, may_be_there=True)
            return Outcome(added=brought.added, kept=brought.kept)
        if operation == router_pb2.AssociateRequest.REPLACE:
            added, removed, kept = yield from self.changing.replace_joined(owner, self.relation, tasks, "")
            return Outcome(added=added, removed=removed, kept=kept)
        predicates = self.changing.linked(self.relation.key, owner)
        if operation == router_pb2.AssociateRequest.REMOVE:
            found = yield from self.creating.seek(self.relation, tasks, far.parent_columns, KEY_SHARE, required=False)
            rows = self.changing.far_rows(self.relation, owner, [one.texts for one in found if one is not None])
            if not rows:
                return Outcome()
            predicates = any_of(rows)
        else:
            yield from self.changing.wait_for_prepared(self.relation.key, owner)
        removed = yield Write("delete", join, "", predicates=predicates)
        return Outcome(removed=int(removed))


_ADDING = (router_pb2.AssociateRequest.APPEND, router_pb2.AssociateRequest.REPLACE)


def _check_operation(relation: Relation, request: router_pb2.AssociateRequest, rows: int) -> None:
    """Raises InvalidRequest for no operation, and for rows that it does not take."""
    if request.operation not in Operation.values() or not request.operation:
        raise errors.InvalidRequest("an association has one operation of APPEND, REPLACE, REMOVE and CLEAR")
    if request.operation == router_pb2.AssociateRequest.CLEAR and rows:
        raise errors.InvalidRequest("CLEAR takes no rows: it leaves none", table=request.table)
    if request.operation in _ADDING and not relation.many and rows > 1:
        raise errors.InvalidRequest(f'"{relation.name}" leads to one row at most, not to {rows}', table=request.table)
    if request.operation == router_pb2.AssociateRequest.APPEND and not relation.many and not rows:
        raise errors.InvalidRequest("APPEND takes the row that there is to be", table=request.table)

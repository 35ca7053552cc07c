"""Which rows of relations a read answers inside of each row, and what it must know of each row for that: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosskey import errors
from crosskey.catalog.model import ForeignKey, Table
from crosskey.catalog.plan import KeyPlan, TablePlan
from crosskey.catalog.relations import Relation
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.orders import OrderColumn, page_size, total_order
from crosskey.router.planning.predicates import Checked, check_predicates, existing_column
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import rows_pb2

MAX_DEPTH = 6
"""How deep includes nest. Each level takes its calls after those of the one above it."""

MAX_INCLUDES = 30
"""How many includes a request has, those inside others too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is answered of each row of a table, and beside it: see the message RowShape."""

    columns: tuple[str, ...] = ()
    no_columns: bool = False
    texts: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    def to_message(self) -> reads_pb2.RowShape | None:
        """The shape as nodes take it; None for all columns and nothing else."""
        if self == ALL_COLUMNS:
            return None
        return reads_pb2.RowShape(columns=self.columns, no_columns=self.no_columns, texts=self.texts, pins=self.pins)


ALL_COLUMNS = Shape()


@dataclass(frozen=True, slots=True)
class Step:
    """From rows at one end of a key to those at the other: `to_parent`, or to the children."""

    key: KeyPlan
    to_parent: bool
    target: TablePlan

    @property
    def foreign_key(self) -> ForeignKey:
        """The key."""
        return self.key.foreign_key

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns at the end where it begins, whose texts tell where it leads."""
        return self.foreign_key.columns if self.to_parent else self.foreign_key.parent_columns

    @property
    def end(self) -> reads_pb2.KeyEnd:
        """The end where it leads, as nodes take it."""
        return key_end(self.foreign_key, at_parent=self.to_parent)


@dataclass(frozen=True, slots=True)
class IncludePlan:
    """Rows of a relation to answer inside of each row.

    `step` leads to them, through the rows of a join table if there is a `join`: then that leads to these. `order` is
    that of the rows, and `join_order` that of the rows of the join table, in which the rows come unless `sorted`.
    """

    relation: Relation
    request: rows_pb2.Include
    step: Step
    join: Step | None
    shape: Shape
    join_shape: Shape
    predicates: tuple[Checked, ...]
    order: tuple[OrderColumn, ...]
    join_order: tuple[OrderColumn, ...]
    limit: int
    includes: tuple[IncludePlan, ...]

    @property
    def name(self) -> str:
        """What the relation is called."""
        return self.relation.name

    @property
    def sorted(self) -> bool:
        """Whether rows of a join table's other side are chosen or sorted, so that all must be read."""
        return bool(self.request.order_by or self.predicates)

    @property
    def has_rows(self) -> bool:
        """Whether rows are answered, and not only how many there are."""
        return self.request.count != rows_pb2.Include.COUNT_ONLY

    @property
    def has_count(self) -> bool:
        """Whether it is answered how many there are."""
        return self.request.count != rows_pb2.Include.COUNT_UNSPECIFIED


def key_end(key: ForeignKey, *, at_parent: bool) -> reads_pb2.KeyEnd:
    """An end of a key, as nodes take it."""
    return reads_pb2.KeyEnd(table=key.table.qualified, constraint=key.name, parent=at_parent)


def plan_includes(
    view: SchemaView, table: TablePlan, includes: Sequence[rows_pb2.Include], *, of_one_row: bool = False
) -> tuple[IncludePlan, ...]:
    """The plans of a request's includes.

    Raises InvalidRequest (no such relation, too many includes or too deep, what a relation to one row does not take, a
    page token where there may be several rows), UnknownColumn and NumberNotExact.
    """
    if not includes:
        return ()
    _check_size(includes)
    return _plan_all(view, table, includes, of_one_row=of_one_row)


def shape_of(view: SchemaView, table: TablePlan, columns: Iterable[str], includes: Sequence[IncludePlan]) -> Shape:
    """What is to be answered of rows of a table, and beside them for the includes. Raises UnknownColumn."""
    shown = tuple(dict.fromkeys(existing_column(table.table, name).name for name in columns))
    first_steps = [include.join or include.step for include in includes]
    return Shape(shown, False, _texts(first_steps), _pins(view, first_steps))


def _plan_all(
    view: SchemaView, table: TablePlan, includes: Sequence[rows_pb2.Include], *, of_one_row: bool
) -> tuple[IncludePlan, ...]:
    names = [include.relation for include in includes]
    for name in names:
        if names.count(name) > 1:
            raise errors.InvalidRequest(f'the relation "{name}" is included twice', table=str(table.table.name))
    return tuple(_plan(view, table, include, of_one_row=of_one_row) for include in includes)


def _plan(view: SchemaView, table: TablePlan, include: rows_pb2.Include, *, of_one_row: bool) -> IncludePlan:
    relation = view.relation(table, include.relation)
    _check_fields(relation, include, of_one_row=of_one_row)
    target = view.table(relation.target.qualified)
    step = _step(view, relation.far_key or relation.key, to_parent=relation.kind in ("belongs to", "many to many"))
    join = None if relation.far_key is None else _step(view, relation.key, to_parent=False)
    inner = _plan_all(view, target, include.include, of_one_row=False)
    return IncludePlan(
        relation=relation,
        request=include,
        step=step,
        join=join,
        shape=shape_of(view, target, include.columns, inner),
        join_shape=Shape() if join is None else _join_shape(relation, join.target, step),
        predicates=check_predicates(target.table, include.where),
        order=total_order(target.table, include.order_by) if relation.many else (),
        join_order=() if join is None else total_order(join.target.table, ()),
        limit=page_size(include.limit, "limit") if relation.many else 1,
        includes=inner,
    )


def _step(view: SchemaView, key: ForeignKey, *, to_parent: bool) -> Step:
    target = view.table((key.parent if to_parent else key.table).qualified)
    return Step(view.key_plan(key), to_parent, target)


def _join_shape(relation: Relation, join: TablePlan, step: Step) -> Shape:
    """Of a join table's rows, the columns that are in neither key."""
    own = join_columns(relation, join.table)
    return Shape(own, not own, _texts([step]), ())


def join_columns(relation: Relation, join: Table) -> tuple[str, ...]:
    """The columns of a join table beside its two keys."""
    far = () if relation.far_key is None else relation.far_key.columns
    keys = {*relation.key.columns, *far}
    return tuple(column.name for column in join.columns if column.name not in keys)


def _texts(steps: Iterable[Step]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for step in steps for name in step.columns))


def _pins(view: SchemaView, steps: Iterable[Step]) -> tuple[str, ...]:
    """The referenced keys whose pins are beside the parents themselves, and tell where children are."""
    keys = (step.key.referenced_key for step in steps if not step.to_parent and step.target.placement == "sharded")
    known = dict.fromkeys(key for key in keys if key is not None)
    return tuple(key for key in known if view.plan.referenced_key(key).claim is None)


def _check_size(includes: Sequence[rows_pb2.Include], depth: int = 1) -> int:
    """How many includes there are, those inside others too."""
    if depth > MAX_DEPTH:
        raise errors.InvalidRequest(f"includes nest at most {MAX_DEPTH} deep")
    number = len(includes) + sum(_check_size(one.include, depth + 1) for one in includes if one.include)
    if number > MAX_INCLUDES:
        raise errors.InvalidRequest(f"a request has at most {MAX_INCLUDES} includes, those inside others too")
    return number


def _check_fields(relation: Relation, include: rows_pb2.Include, *, of_one_row: bool) -> None:
    if include.count not in rows_pb2.Include.Count.values():
        raise _refused(relation, f"there is no count {include.count}")
    if not relation.many and (include.order_by or include.limit or include.page_token or include.count):
        raise _refused(relation, "it leads to one row at most, and takes columns, where and include only")
    if include.page_token and not of_one_row:
        raise _refused(relation, "a page_token goes on for one row: get that row, with this include at the top")
    if include.count == rows_pb2.Include.COUNT_ONLY and (include.page_token or include.include):
        raise _refused(relation, "a count alone has no pages, and no rows to include others in")


def _refused(relation: Relation, why: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f'the include of "{relation.name}": {why}', table=str(relation.table))

"""What a read includes: rows of relations, inside of the rows that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from crosskey.predicates import Order, Where, to_orders, to_predicates
from crosskey.v1 import rows_pb2


class Included(TypedDict, total=False):
    """What to read of one relation: of its rows, which columns, which of them, in which order, and what inside of them.

    At most `limit` rows are read for each row that has them; if there are more, that row's `crosskey_next` has the
    `page_token` to go on with, under the relation's name. With `count`, its `crosskey_counts` has how many there are;
    with `count="only"`, that is all.
    """

    columns: Iterable[str]
    where: Where
    order_by: Order
    limit: int
    page_token: str
    count: bool | Literal["only"]
    include: Include


Include: TypeAlias = Mapping[str, Any] | Iterable[str] | str
"""Relations by name, each with what to read of it (Included), or with {}; or names alone, such as "messages.sender"."""

_COUNTS: dict[bool | str, rows_pb2.Include.Count.ValueType] = {
    False: rows_pb2.Include.COUNT_UNSPECIFIED,
    True: rows_pb2.Include.COUNT_TOO,
    "only": rows_pb2.Include.COUNT_ONLY,
}


def to_includes(include: Include | None) -> list[rows_pb2.Include]:
    """The includes of a request; none for None. Raises KeyError for another count, and TypeError for other fields."""
    if include is None:
        return []
    if isinstance(include, Mapping):
        return [_to_include(name, **(included or {})) for name, included in include.items()]
    found: list[rows_pb2.Include] = []
    for path in [include] if isinstance(include, str) else include:
        _add_path(found, path.split("."))
    return found


def _to_include(
    relation: str,
    *,
    columns: Iterable[str] = (),
    where: Where | None = None,
    order_by: Order | None = None,
    limit: int = 0,
    page_token: str = "",
    count: bool | Literal["only"] = False,
    include: Include | None = None,
) -> rows_pb2.Include:
    return rows_pb2.Include(
        relation=relation,
        columns=columns,
        where=to_predicates(where),
        order_by=to_orders(order_by),
        limit=limit,
        page_token=page_token,
        count=_COUNTS[count],
        include=to_includes(include),
    )


def _add_path(includes: Any, names: list[str]) -> None:
    """Adds the relations of a path to those that are there, each inside of the one before."""
    for name in names:
        known = next((one for one in includes if one.relation == name), None)
        if known is None:
            includes.append(rows_pb2.Include(relation=name))
            known = includes[-1]
        includes = known.include

"""Writes of rows that meet conditions over relations: the rows at the other end are looked up before and after.

The conditions are looked up as others see the shards, the statement runs, and they are looked up once more. If nothing
has changed, it was so at the moment of the statement too, and the write is what one statement on one server would be.
If it has, somebody was in between, and the transaction is run again. What the transaction itself has changed before is
not seen so: it is looked up within the transaction besides, right before the statement, and that is what is written by.
"""

from __future__ import annotations

from collections.abc import Sequence

from crosskey import errors
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.predicates import Checked, JoinedPredicates, LinkedPredicate, check_predicates
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.relating import resolve
from crosskey.router.reading.sources import BranchSources, Sources
from crosskey.v1 import router_pb2


class RelatedSelection:
    """What selects the rows of one write."""

    def __init__(
        self,
        view: SchemaView,
        transaction: DistributedTransaction,
        request: router_pb2.UpdateRequest | router_pb2.DeleteRequest,
    ) -> None:
        self._view = view
        self._transaction = transaction
        self._request = request
        self._table = view.table(request.table)
        self._before: Sequence[Checked] = ()

    async def resolve(self) -> Sequence[Checked]:
        """The predicates, those over relations resolved. Raises what resolve raises."""
        self._before = await self._look_up(self._transaction.nodes)
        if not self._transaction.has_begun:
            return self._before
        return await self._look_up(BranchSources(self._transaction))

    async def confirm(self) -> None:
        """Raises Conflict if others have changed what was looked up."""
        after = await self._look_up(self._transaction.nodes)
        if _keys(after) != _keys(self._before):
            raise errors.Conflict(
                "other transactions changed which rows meet the conditions over relations", table=self._request.table
            )

    async def _look_up(self, sources: Sources) -> Sequence[Checked]:
        checked = check_predicates(self._table.table, self._request.where)
        return await resolve(sources, self._view, self._table, checked)


def _keys(predicates: Sequence[Checked]) -> list[frozenset[tuple[tuple[str, str], ...]]]:
    """The keys that were found for each predicate over a relation, in the order of the predicates."""
    found: list[frozenset[tuple[tuple[str, str], ...]]] = []
    for one in predicates:
        if isinstance(one, LinkedPredicate):
            found.append(frozenset(tuple(sorted(key.items())) for key in one.keys))
        elif isinstance(one, JoinedPredicates):
            found += _keys(one.parts)
    return found

"""Predicates over relations: the keys of the rows at the other end are looked up first, wherever these may be.

Then the predicate is one on the row itself: it has one of these keys at its end of the foreign key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from crosskey import errors
from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.includes import MAX_DEPTH, key_end
from crosskey.router.planning.predicates import (
    Checked,
    JoinedPredicates,
    LinkedPredicate,
    RelatedPredicate,
    check_predicates,
    to_conditions,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.sources import Sources
from crosskey.v1 import rows_pb2

MAX_KEYS = 10_000
"""How many rows may meet the predicate at the other end: their keys are sent to the shards of the rows asked for."""

Related = rows_pb2.Predicate.Related


async def resolve(
    sources: Sources, view: SchemaView, table: TablePlan, predicates: Sequence[Checked], depth: int = 0
) -> tuple[Checked, ...]:
    """The predicates, those over relations resolved.

    Raises InvalidRequest (no such relation, nested too deep), AnswerTooLarge (more than MAX_KEYS), what
    check_predicates raises, and what nodes raise.
    """
    return tuple([await _resolve_one(sources, view, table, one, depth) for one in predicates])


async def _resolve_one(sources: Sources, view: SchemaView, table: TablePlan, one: Checked, depth: int) -> Checked:
    if isinstance(one, JoinedPredicates):
        return replace(one, parts=await resolve(sources, view, table, one.parts, depth))
    if not isinstance(one, RelatedPredicate):
        return one
    if depth == MAX_DEPTH:
        raise errors.InvalidRequest(f"predicates over relations nest at most {MAX_DEPTH} deep")
    relation = view.relation(table, one.related.relation)
    target = view.table(relation.target.qualified)
    inner = await resolve(sources, view, target, _wanted(target, one.related), depth + 1)
    negated = one.related.quantifier != Related.QUANTIFIER_UNSPECIFIED
    return await _Look(sources, view, one.related, relation).linked(target, inner, negated=negated)


def _wanted(target: TablePlan, related: Related) -> tuple[Checked, ...]:
    """The rows to look for: those that meet the predicates, or for `every` those that do not."""
    if related.quantifier not in Related.Quantifier.values():
        raise errors.InvalidRequest(f'there is no quantifier {related.quantifier}, on "{related.relation}"')
    predicates = check_predicates(target.table, related.where)
    if related.quantifier != Related.QUANTIFIER_EVERY:
        return predicates
    return (JoinedPredicates(predicates, negated=True, or_unknown=True),)


class _Look:
    """The look for the rows of one predicate."""

    def __init__(self, sources: Sources, view: SchemaView, related: Related, relation: Relation) -> None:
        self._sources = sources
        self._view = view
        self._related = related
        self._relation = relation

    async def linked(self, target: TablePlan, wanted: Sequence[Checked], *, negated: bool) -> LinkedPredicate:
        """The predicate on the row, for the rows at the other end that are wanted."""
        key, far = self._relation.key, self._relation.far_key
        if self._relation.kind == "belongs to":
            return self._link(
                key, await self._keys(target, wanted, key.parent_columns), at_parent=False, negated=negated
            )
        if far is not None:
            found = await self._keys(target, wanted, far.parent_columns)
            target, wanted = self._view.table(key.table.qualified), [self._link(far, found, at_parent=False)]
        return self._link(key, await self._keys(target, wanted, key.columns), at_parent=True, negated=negated)

    def _link(
        self, key: ForeignKey, keys: Sequence[dict[str, str]], *, at_parent: bool, negated: bool = False
    ) -> LinkedPredicate:
        table = self._view.table((key.parent if at_parent else key.table).qualified).table
        names = key.parent_columns if at_parent else key.columns
        columns = tuple(column for column in map(table.column, names) if column is not None)
        return LinkedPredicate(self._related, key_end(key, at_parent=at_parent), columns, tuple(keys), negated)

    async def _keys(
        self, table: TablePlan, wanted: Sequence[Checked], columns: Sequence[str]
    ) -> Sequence[dict[str, str]]:
        """The keys of the rows that are wanted, each once."""
        request = reads_pb2.ReadKeysRequest(
            table=table.table.name.qualified, where=to_conditions(wanted), columns=columns, limit=MAX_KEYS + 1
        )
        shards = self._view.shards_for_where(table, wanted)
        with safe_to_retry():
            answers = await self._sources.ask_all({shard: self._sources[shard].read_keys(request) for shard in shards})
        found = {
            tuple(key.items()): key
            for answer in answers.values()
            for key in msgspec.json.decode(answer.keys_json, type=list[dict[str, str]])
        }
        if len(found) > MAX_KEYS:
            raise errors.AnswerTooLarge(
                f'more than {MAX_KEYS} rows of "{table.table.name}" meet the predicate on "{self._related.relation}"',
                table=str(table.table.name),
                hint="Narrow it, or ask from the other side: list those rows, and include these.",
            )
        return list(found.values())

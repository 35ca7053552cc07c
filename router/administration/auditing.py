"""The audit: what each shard finds by itself, and what only a look at several shards tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.router.administration.guard_comparison import PresentGuards, compare_guards
from crosskey.router.administration.reference_comparison import Digests, compare_references
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1.admin_pb2 import AuditResponse

Reports = Mapping[int, list[proto.AuditShardResponse]]
"""What each shard answered."""


async def audit(view: SchemaView, nodes: Nodes) -> AsyncIterator[AuditResponse]:
    """Streams what is damaged, while clients go on writing; nothing means that all is well.

    Raises ShardUnavailable if a shard does not answer, and Conflict if transactions stay in doubt for so long that
    damage and unfinished work cannot be told apart.
    """
    reports = await fan_out({shard: _report(nodes, shard) for shard in view.all_shards})
    for shard, report in reports.items():
        for response in report:
            if not response.digest and not response.guards_here:
                yield _finding(shard, response)
    for finding in await _late_cleanups(view, nodes):
        yield finding
    async for finding in compare_references(nodes, _digests(reports), partial(_look_at_references, view, nodes)):
        yield finding
    present = _present_guards(reports)
    guards: list[ReferencedKey | Claim] = [*view.plan.referenced_keys, *view.plan.claims]
    for guarded in guards:
        for distance in range(len(view.all_shards)):
            for findings in (await fan_out(_comparisons(view, nodes, guarded, distance, present))).values():
                for finding in findings:
                    yield finding


async def _late_cleanups(view: SchemaView, nodes: Nodes) -> list[AuditResponse]:
    """Clean-ups that are older than the nodes' settings allow."""
    if not view.cleans_up:
        return []
    listed = await fan_out(
        {shard: nodes[shard].list_cleanups(proto.ListCleanupsRequest()) for shard in view.all_shards}
    )
    return [
        AuditResponse(
            kind=AuditResponse.KIND_LATE_CLEANUP,
            shard=cleanup.shard,
            table=cleanup.table,
            message=f"{cleanup.deleted} rows were deleted, the first {cleanup.age_ms // 1000} s ago, and what"
            " references them here is not cleaned up: the logs of routers and of this shard's node say why",
        )
        for response in listed.values()
        for cleanup in response.cleanups
        if cleanup.late
    ]


def _comparisons(
    view: SchemaView, nodes: Nodes, guarded: ReferencedKey | Claim, distance: int, present: PresentGuards
) -> dict[int, Coroutine[Any, Any, list[AuditResponse]]]:
    """The comparisons of each shard with the one `distance` further on; what each finds is bounded.

    So each shard takes part in two comparisons at a time, however many shards there are: an audit leaves room for
    other work.
    """
    shards = view.all_shards
    return {
        child: _collected(compare_guards(nodes, guarded, present, child_shard=child, parent_shard=parent))
        for child, parent in zip(shards, [*shards[distance:], *shards[:distance]], strict=True)
    }


async def _collected(findings: AsyncIterator[AuditResponse]) -> list[AuditResponse]:
    return [finding async for finding in findings]


async def _look_at_references(view: SchemaView, nodes: Nodes) -> Digests:
    return _digests(await fan_out({shard: _report(nodes, shard, digests_only=True) for shard in view.all_shards}))


async def _report(nodes: Nodes, shard: int, *, digests_only: bool = False) -> list[proto.AuditShardResponse]:
    """What a shard finds; each kind of finding is bounded, so that the whole is too."""
    responses = []
    async with aclosing(nodes[shard].audit_shard(proto.AuditShardRequest())) as report:
        async for response in report:
            if digests_only and not response.digest:
                # The digests come first.
                break
            responses.append(response)
    return responses


def _present_guards(reports: Reports) -> PresentGuards:
    return {
        (shard, guards.referenced_key, guards.pins)
        for shard, report in reports.items()
        for response in report
        for guards in response.guards_here
    }


def _digests(reports: Reports) -> Digests:
    digests: dict[str, dict[int, str]] = defaultdict(dict)
    for shard, report in reports.items():
        for response in report:
            if response.digest:
                digests[response.table][shard] = response.digest
    return digests


def _finding(shard: int, response: proto.AuditShardResponse) -> AuditResponse:
    return AuditResponse(
        kind=response.kind,
        shard=shard,
        table=response.table,
        constraint=response.constraint,
        key=response.key_json.decode(),
        message=response.message,
    )

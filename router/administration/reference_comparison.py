"""The audit's look at reference tables: the same rows on every shard."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from crosskey import errors
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.waiting_for_prepared import wait_for_prepared
from crosskey.v1.admin_pb2 import AuditResponse

MAX_LOOKS = 10
LOOK_PAUSE_SECONDS = 0.1

Digests = Mapping[str, Mapping[int, str]]
"""A digest for each reference table and shard."""


async def compare_references(
    nodes: Nodes, digests: Digests, look_again: Callable[[], Awaitable[Digests]]
) -> AsyncIterator[AuditResponse]:
    """Streams a finding for each shard whose rows of a reference table are not those of most shards.

    Shards are looked at one after another, and a reference table may be written meanwhile. A difference is real if no
    digest changes until all that was prepared when it was seen is finished: a transaction that one shard shows and the
    other does not would have changed one. Raises Conflict if a table never rests, or a transaction never ends, for long
    enough to tell, and what calls raise.
    """
    suspects = [table for table, by_shard in digests.items() if _differ(by_shard)]
    shards = {shard for table in suspects for shard in digests[table]}
    for _ in range(MAX_LOOKS):
        if not suspects:
            return
        await asyncio.sleep(LOOK_PAUSE_SECONDS)
        await wait_for_prepared(nodes, shards)
        before, digests = digests, await look_again()
        for table in suspects:
            if digests[table] == before[table]:
                for finding in _findings(table, digests[table]):
                    yield finding
        suspects = [table for table in suspects if digests[table] != before[table] and _differ(digests[table])]
    if suspects:
        raise errors.Conflict(
            f'the reference table "{suspects[0]}" is written too often to compare its copies: audit again later',
            table=suspects[0],
        )


def _differ(by_shard: Mapping[int, str]) -> bool:
    return len(set(by_shard.values())) > 1


def _findings(table: str, by_shard: Mapping[int, str]) -> list[AuditResponse]:
    # Of equally many, the first shard's copy is the right one: it is the one that is read.
    ((usual, _),) = Counter(by_shard[shard] for shard in sorted(by_shard)).most_common(1)
    agreeing = ", ".join(str(shard) for shard in sorted(by_shard) if by_shard[shard] == usual)
    return [
        AuditResponse(
            kind=AuditResponse.KIND_REFERENCE_DIFFERS,
            shard=shard,
            table=table,
            message=f"holds other rows than on shard {agreeing}: make this copy like that one",
        )
        for shard in sorted(by_shard)
        if by_shard[shard] != usual
    ]

"""The order of rows of several shards by their positions: by Python where that can tell, else by a node."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.orders import ROW_PLACE, OrderColumn
from crosskey.router.reading.merging import Ranking, rank
from crosskey.router.reading.sources import Sources


async def ranked(
    sources: Sources,
    table: TablePlan,
    order: Sequence[OrderColumn],
    positions: Sequence[Sequence[str | None]],
    shard: int = 0,
) -> Ranking:
    """The places of positions in order, equal ones in the order given; if need be the node of `shard` sorts them."""
    ranking = rank(order, positions)
    if ranking is not None or not positions:
        return ranking or ()
    request = reads_pb2.SortRequest(
        table=table.table.name.qualified,
        order_by=[column.to_order() for column in order if column.name != ROW_PLACE],
        cursors_json=msgspec.json.encode(positions),
    )
    with safe_to_retry():
        return (await sources[shard].sort(request)).places

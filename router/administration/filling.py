"""Filling a foreign key over shards that was added to rows which were there before: batch by batch, beside clients.

Each batch is a distributed transaction like that of a first reference: parents are pinned on their shards, then shadows
are made on the children's. A batch that is lost is done again; one that was done finds nothing to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.v1 import admin_pb2

BATCH_PAGES = 32
"""Some thousand rows: a transaction that others notice little of, and in which few parents are locked at once."""

BATCH_SECONDS = 60.0
MAX_ATTEMPTS = 20
MAX_TOLD = 20
"""How many keys without a parent are told."""

_ACTIONS = {
    admin_pb2.ORPHANS_DELETE: proto.MendOrphans.ACTION_DELETE,
    admin_pb2.ORPHANS_SET_NULL: proto.MendOrphans.ACTION_SET_NULL,
}


def deals_with(choice: admin_pb2.Orphans.ValueType) -> bool:
    """Whether rows without a parent are changed or deleted, and do not stop the migration."""
    return choice in _ACTIONS


class _Listed(msgspec.Struct):
    key: msgspec.Raw
    rows: int


class Orphans:
    """The rows that were found to reference no parent: how many, and the keys of some."""

    def __init__(self) -> None:
        self.rows = 0
        self.keys: dict[str, int] = {}

    def add(self, listed: bytes) -> None:
        """Takes what a shard has listed."""
        for one in msgspec.json.decode(listed, type=list[_Listed]):
            self.rows += one.rows
            key = bytes(one.key).decode()
            if key in self.keys or len(self.keys) < MAX_TOLD:
                self.keys[key] = self.keys.get(key, 0) + one.rows

    def __str__(self) -> str:
        """The keys, each with how many rows there are."""
        shown = ", ".join(f"{key} ({rows} rows)" for key, rows in self.keys.items())
        return f"{shown}, .." if len(self.keys) == MAX_TOLD else shown


class KeyFilling:
    """Fills one key on one shard of its children."""

    def __init__(
        self, cluster: Cluster, nodes: Nodes, finisher: Finisher, shard: int, table: str, constraint: str
    ) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._finisher = finisher
        self._shard = shard
        self._table = table
        self._constraint = constraint
        self._pages = 1

    async def fill(self, choice: admin_pb2.Orphans.ValueType, orphans: Orphans) -> AsyncIterator[tuple[int, int]]:
        """Goes through all rows once; answers after each batch how many pages are done, and of how many.

        Rows without a parent are counted among `orphans`, and dealt with by choice.
        """
        page = 0
        while page < self._pages:
            await self._patiently(page, choice, orphans)
            page += BATCH_PAGES
            yield min(page, self._pages), self._pages

    async def _patiently(self, page: int, choice: admin_pb2.Orphans.ValueType, orphans: Orphans) -> None:
        for attempt in range(MAX_ATTEMPTS):
            try:
                with call_context_of_its_own(BATCH_SECONDS):
                    await self._batch(page, choice, orphans)
                return
            except errors.Conflict:
                if attempt == MAX_ATTEMPTS - 1:
                    raise

    async def _batch(self, page: int, choice: admin_pb2.Orphans.ValueType, orphans: Orphans) -> None:
        fill = proto.FillShadows(table=self._table, constraint=self._constraint, first_page=page, pages=BATCH_PAGES)
        gid = Gid.new(self._cluster.name, self._shard)
        async with DistributedTransaction(self._nodes, self._finisher, gid) as transaction:
            filled = await transaction.command(self._shard, proto.Command(fill_shadows=fill))
            self._pages = int(filled.pages)
            if not filled.count:
                return
            await transaction.apply_effects([[filled]])
            mend = proto.MendOrphans(table=self._table, constraint=self._constraint, keys_json=filled.rows_json)
            mend.action = proto.MendOrphans.ACTION_LIST
            listed = await transaction.command(self._shard, proto.Command(mend_orphans=mend))
            if listed.count and deals_with(choice):
                mend.action = _ACTIONS[choice]
                mended = await transaction.command(self._shard, proto.Command(mend_orphans=mend))
                await transaction.apply_effects([[mended]])
            await transaction.commit()
        if listed.count:
            orphans.add(listed.rows_json)

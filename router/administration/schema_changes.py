"""Applying a schema: inspected by one shard, planned here, installed on all shards or none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Set

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import SchemaRefused, plan_schema
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import transactions_pb2
from crosskey.pauses import growing_pauses
from crosskey.router.administration.descriptions import describe_schema
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import (
    FINISH_TIMEOUT_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Finisher,
)
from crosskey.router.committing.gids import Gid
from crosskey.v1 import admin_pb2

# The shard that inspects schemas and decides on their installation.
PLANNING_SHARD = 0


async def apply_schema(
    cluster: Cluster, nodes: Nodes, finisher: Finisher, request: admin_pb2.ApplySchemaRequest
) -> admin_pb2.ApplySchemaResponse:
    """Plans a schema and, unless it is a dry run, installs it on every shard in one distributed transaction.

    Raises SchemaRefused (nothing was touched), SchemaChanged (another schema is in force), and Conflict if another
    client is at it and does not come to an end.
    """
    inspected = await nodes[PLANNING_SHARD].inspect_schema(proto.InspectSchemaRequest(sql=request.sql))
    description = inspected.description_json
    planned = describe_schema(_plan(Database.from_json(description)), inspected.fingerprint)
    fingerprints = {inspected.fingerprint, _fingerprint_of_text(request.sql)}
    in_force = await _in_force(cluster, fingerprints)
    changed = False
    if not (in_force or request.dry_run):
        changed = await _install_unless_another_does(cluster, nodes, finisher, request.sql, inspected)
    return admin_pb2.ApplySchemaResponse(changed=changed, schema=planned, skipped=inspected.skipped)


def _fingerprint_of_text(sql: str) -> str:
    """What older versions took for the fingerprint: a shard may have kept it."""
    return hashlib.sha256(sql.encode()).hexdigest()


def _plan(database: Database) -> Plan:
    if not database.tables:
        raise errors.SchemaRefused("the schema has no tables")
    try:
        return plan_schema(database)
    except SchemaRefused as refused:
        first = refused.refusals[0]
        raise errors.SchemaRefused(
            str(refused),
            table=first.table or None,
            constraint=first.constraint or None,
            columns=first.column or None,
        ) from refused


async def _in_force(cluster: Cluster, fingerprints: Set[str]) -> bool:
    """Whether this very schema is in force. Raises SchemaChanged if another one is."""
    try:
        view = await cluster.latest_view()
    except errors.SchemaNotLoaded:
        return False
    if view.fingerprint not in fingerprints:
        raise errors.SchemaChanged(
            "another schema is in force",
            hint="`crosskey migrate plan` shows the steps to this one, `crosskey migrate apply` takes them.",
        )
    return True


async def _install_unless_another_does(
    cluster: Cluster, nodes: Nodes, finisher: Finisher, sql: str, inspected: proto.InspectSchemaResponse
) -> bool:
    """Whether it was this call that installed the schema, and not another client's at the same time."""
    try:
        await _install(cluster, nodes, finisher, sql, inspected.description_json)
    except (errors.Conflict, errors.SchemaRefused):
        if not await _in_force(cluster, {inspected.fingerprint}):
            raise
        await _wait_for_second_phase(cluster, inspected.fingerprint)
        return False
    return True


async def _wait_for_second_phase(cluster: Cluster, fingerprint: str) -> None:
    """Returns once the schema is in force on every shard that can be reached: whoever has an answer can use it."""
    for pause in growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, within=FINISH_TIMEOUT_SECONDS):
        found = [each for each in (await cluster.describe_all()).values() if each is not None]
        if all(each.schema_fingerprint == fingerprint for each in found):
            return
        await asyncio.sleep(pause)


async def _install(cluster: Cluster, nodes: Nodes, finisher: Finisher, sql: str, description: bytes) -> None:
    gid = Gid.new(cluster.name, PLANNING_SHARD)
    async with DistributedTransaction(nodes, finisher, gid) as transaction:
        install = transactions_pb2.InstallSchema(sql=sql, description_json=description)
        # One shard before the others, so that of two clients one waits there and neither waits for the other elsewhere.
        others = [shard for shard in range(cluster.shards) if shard != PLANNING_SHARD]
        await transaction.install_schema(install, [PLANNING_SHARD])
        await transaction.install_schema(install, others)
        await transaction.commit()

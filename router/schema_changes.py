"""Applying a schema: inspected by one shard, planned here, installed on all shards or none."""

from __future__ import annotations

import hashlib

from catalog.model import Database
from catalog.plan import Plan
from catalog.planning import SchemaRefused, plan_schema
from crosskey import errors
from crosskey.v1 import admin_pb2
from crosskey.v1 import shard_node_pb2 as proto
from router.cluster import Cluster
from router.descriptions import describe_schema
from router.distributed_transaction import DistributedTransaction
from router.finishing import Finisher
from router.gids import Gid
from router.nodes import Nodes

# The shard that inspects schemas and decides on their installation.
PLANNING_SHARD = 0


async def apply_schema(
    cluster: Cluster, nodes: Nodes, finisher: Finisher, request: admin_pb2.ApplySchemaRequest
) -> admin_pb2.ApplySchemaResponse:
    """Plans a schema and, unless it is a dry run, installs it on every shard in one distributed transaction.

    Raises SchemaRefused (nothing was touched) and SchemaChanged (another schema is in force).
    """
    fingerprint = hashlib.sha256(request.sql.encode()).hexdigest()
    inspect = proto.InspectSchemaRequest(shard=PLANNING_SHARD, sql=request.sql)
    inspected = await nodes.call(PLANNING_SHARD, "InspectSchema", inspect)
    description: bytes = inspected.description_json
    planned = describe_schema(_plan(Database.from_json(description)), fingerprint)
    if await _in_force(cluster, fingerprint):
        return admin_pb2.ApplySchemaResponse(changed=False, schema=planned)
    if not request.dry_run:
        await _install(cluster, nodes, finisher, request.sql, description)
    return admin_pb2.ApplySchemaResponse(changed=not request.dry_run, schema=planned)


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


async def _in_force(cluster: Cluster, fingerprint: str) -> bool:
    """Whether this very schema is in force. Raises SchemaChanged if another one is."""
    try:
        view = await cluster.view()
    except errors.SchemaNotLoaded:
        return False
    if view.fingerprint != fingerprint:
        raise errors.SchemaChanged(
            "another schema is in force, and changing a schema is not supported yet",
            hint="Apply the schema that is in force, or start a cluster with an empty data folder.",
        )
    return True


async def _install(cluster: Cluster, nodes: Nodes, finisher: Finisher, sql: str, description: bytes) -> None:
    gid = Gid.new(cluster.name, PLANNING_SHARD)
    async with DistributedTransaction(nodes, finisher, gid) as transaction:
        install = proto.InstallSchema(sql=sql, description_json=description)
        await transaction.install_schema(install, range(cluster.shards))
        await transaction.commit()

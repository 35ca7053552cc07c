"""Plans and topologies as the Admin service describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosskey.catalog.model import Table
from crosskey.catalog.plan import KeyPlan, Plan, TablePlan, ViewPlan
from crosskey.catalog.relations import Relation, ambiguity, find_relations
from crosskey.catalog.slots import SLOTS
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.v1 import admin_pb2


def describe_schema(plan: Plan, fingerprint: str) -> admin_pb2.DescribeSchemaResponse:
    """The schema, its placement and its keys."""
    return admin_pb2.DescribeSchemaResponse(
        fingerprint=fingerprint,
        tables=[_table(table) for table in plan.tables],
        keys=[_key(key) for key in plan.keys],
        relations=_relations(plan),
        views=[_view(view) for view in plan.views],
    )


def describe_topology(
    addresses: Sequence[str], shards: Mapping[int, proto.DescribeShardResponse | None]
) -> admin_pb2.DescribeTopologyResponse:
    """The shards, of which some may not answer."""
    return admin_pb2.DescribeTopologyResponse(
        slots=SLOTS, shards=[_shard(number, addresses[number], shard) for number, shard in sorted(shards.items())]
    )


def _table(plan: TablePlan) -> admin_pb2.TableDescription:
    return admin_pb2.TableDescription(
        table=str(plan.table.name),
        placement=plan.placement,
        shard_key=plan.shard_key or "",
        slot_column=plan.slot_column or "",
        columns=_columns(plan.table),
        primary_key=plan.table.primary_key,
        leader="" if plan.anchor is None else str(plan.anchor.table),
        events=plan.events,
    )


def _columns(table: Table) -> list[admin_pb2.ColumnDescription]:
    return [
        admin_pb2.ColumnDescription(
            name=column.name,
            type=column.type,
            not_null=column.not_null,
            base_type=column.base_type,
            generated=column.generated,
        )
        for column in table.columns
    ]


def _view(plan: ViewPlan) -> admin_pb2.ViewDescription:
    if plan.read_as is None:
        return admin_pb2.ViewDescription(view=str(plan.name), why_not_read=plan.why_not)
    return admin_pb2.ViewDescription(
        view=str(plan.name),
        placement=plan.read_as.placement,
        locators=plan.read_as.locators,
        key=plan.read_as.table.primary_key,
        columns=_columns(plan.read_as.table),
    )


def _relations(plan: Plan) -> list[admin_pb2.RelationDescription]:
    """The relations by table and name; those that share a name say why it stands for none."""
    tables = [table.table for table in plan.tables]
    found = find_relations(tables, [key.foreign_key for key in plan.keys])
    return [
        _relation(relation, ambiguity(table, name, found[table.name][name]))
        for table in tables
        for name in sorted(found[table.name])
        for relation in found[table.name][name]
    ]


def _relation(relation: Relation, why_not: str) -> admin_pb2.RelationDescription:
    return admin_pb2.RelationDescription(
        table=str(relation.table),
        name=relation.name,
        target=str(relation.target),
        kind=relation.kind,
        constraint=relation.key.name,
        key_table=str(relation.key.table),
        far_constraint="" if relation.far_key is None else relation.far_key.name,
        ambiguity=why_not,
    )


def _key(plan: KeyPlan) -> admin_pb2.KeyDescription:
    key = plan.foreign_key
    return admin_pb2.KeyDescription(
        constraint=key.name,
        table=str(key.table),
        columns=key.columns,
        parent=str(key.parent),
        parent_columns=key.parent_columns,
        kind=plan.kind,
        reason=plan.reason,
        advice=plan.advice,
        on_delete=key.on_delete,
        on_update=key.on_update,
        cost=plan.cost,
    )


def _shard(number: int, address: str, shard: proto.DescribeShardResponse | None) -> admin_pb2.ShardDescription:
    if shard is None:
        return admin_pb2.ShardDescription(shard=number, address=address)
    return admin_pb2.ShardDescription(
        shard=number,
        address=address,
        serving=True,
        postgres_version=shard.postgres_version,
        incarnation=shard.incarnation,
    )

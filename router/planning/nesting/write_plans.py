"""From a write of a script to its plan: pure."""

from __future__ import annotations

from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards
from crosskey.router.planning.nesting.actions import Write
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan, plan_change, plan_removal, plan_rows
from crosskey.v1 import rows_pb2


def plan_write(view: SchemaView, write: Write, anchor_shards: AnchorShards = NO_ANCHORS) -> WritePlan:
    """The plan of a write; rows live with parents whose shards are given. Raises what planning raises."""
    match write.kind:
        case "insert":
            unless = rows_pb2.OnConflict(columns=write.unless, nothing=rows_pb2.OnConflict.Nothing())
            rows = [dict(row) for row in write.rows]
            return plan_rows(view, write.table, rows, write.forms, anchor_shards, unless if write.unless else None)
        case "update":
            [values] = write.rows
            plan = plan_change(view, write.table, write.predicates, values, write.forms, write.assignments)
        case "delete":
            plan = plan_removal(view, write.table, write.predicates)
    return plan if write.shards is None or plan.reference else plan.on(write.shards)

"""The clean-up of children of deleted parents, along keys with @enforce eventual: what a branch does for it.

The router has it done, in three kinds of transactions: departed parents are told to the shard with the children,
children are cleaned up there a batch at a time, and dead shadows without children are buried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from crosskey.internal.v1 import effects_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards import clean_up_queries, cleaning_children
from crosskey.shard_node.sql_text.hidden_rows import HidingTable, about
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import table_identifier, typed_columns
from crosskey.shard_node.writing.branch import Branch


async def tell_departed(branch: Branch, tell: proto.TellDeparted, result: proto.CommandResult) -> None:
    """Takes departed parents and answers the effect that tells their shard."""
    referenced = branch.schema.referenced_key(tell.referenced_key)
    departed = await clean_up_queries.tell_departed(branch.connection, referenced, tell.for_shard, tell.limit)
    result.count, result.age_ms = departed.number, departed.age_ms
    if departed.number:
        mark = effects_pb2.MarkDead(referenced_key=referenced.id, keys_json=departed.keys.encode())
        result.effects.add(shard=tell.for_shard, origin=branch.shard, mark_dead=mark)


async def clean_children(branch: Branch, clean: proto.CleanChildren, result: proto.CommandResult) -> None:
    """Cleans up a batch, unless it is too early for one; what that means for other shards is for `apply_noted`."""
    referenced = branch.schema.referenced_key(clean.referenced_key)
    limit = branch.pace.take(referenced.id)
    if limit:
        result.count = await cleaning_children.clean_children(branch.connection, branch.schema.plan, referenced, limit)
        branch.pace.note(referenced.id, result.count)
    result.pause_ms = branch.pace.pause_ms(referenced.id)


async def bury_dead(branch: Branch, bury: proto.BuryDead, result: proto.CommandResult) -> None:
    """Deletes dead shadows without children, and answers the effects that forget their parents.

    A child that came at the last moment goes the way of the key's action with the shadow.
    """
    referenced = branch.schema.referenced_key(bury.referenced_key)
    buried = await clean_up_queries.find_childless(
        branch.connection, branch.schema.plan, referenced, bury.limit, branch.shards
    )
    for one in buried:
        keys = one.keys.encode()
        delete = effects_pb2.DeleteShadows(referenced_key=referenced.id, keys_json=keys)
        forget = effects_pb2.ForgetDeparted(referenced_key=referenced.id, keys_json=keys)
        result.count += one.number
        result.effects.add(shard=branch.shard, origin=branch.shard, delete_shadows=delete)
        result.effects.add(shard=one.shard, origin=branch.shard, forget_departed=forget)


async def mark_dead(branch: Branch, effect: effects_pb2.Effect) -> None:
    """Marks shadows as dead."""
    mark = effect.mark_dead
    referenced = branch.schema.referenced_key(mark.referenced_key)
    await clean_up_queries.mark_dead(branch.connection, referenced, mark.keys_json.decode())


async def forget_departed(branch: Branch, effect: effects_pb2.Effect) -> None:
    """Forgets departed parents."""
    forget = effect.forget_departed
    referenced = branch.schema.referenced_key(forget.referenced_key)
    keys = forget.keys_json.decode()
    await clean_up_queries.forget_departed(branch.connection, referenced, effect.origin, keys)


async def clean_before_moving(branch: Branch, keys: Mapping[str, Sequence[str]]) -> None:
    """Of rows that are about to move, those of dead parents are cleaned up: elsewhere nobody knows that they are dead.

    `keys` are shard keys as moving.with_followers takes them.
    """
    for name, arrays in keys.items():
        table = branch.schema.table(name)
        if isinstance(table, HidingTable):
            for array in arrays:
                for statement in _actions(table, branch.schema.placed_table(name).shard_key or ""):
                    await branch.connection.execute(statement, (array,))


def _actions(table: HidingTable, shard_key: str) -> list[sql.Composed]:
    row = table_identifier(table.name)
    column = table.column(shard_key)
    assert column is not None, f"{table.name} is not sharded"
    moving = sql.SQL("{} IN (SELECT {} FROM json_to_recordset(%s) AS given({}))").format(
        identifier(table.name.schema, table.name.name, shard_key),
        identifier("given", shard_key),
        typed_columns([column]),
    )
    actions: list[sql.Composed] = []
    if table.hidden:
        actions.append(sql.SQL("DELETE FROM {} WHERE {} AND ({})").format(row, moving, about(table.hidden, row)))
    for key in table.bereaved:
        changes = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(identifier(name), about(by, row)) for name, by in key.columns
        )
        actions.append(
            sql.SQL("UPDATE {} SET {} WHERE {} AND {}").format(row, changes, moving, about(key.condition, row))
        )
    return actions

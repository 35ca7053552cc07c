"""Effects: what triggers noted becomes messages, and one table tells how each is applied, for this shard or another.

What triggers noted for this shard is applied at once, all else is answered. Of one of several branches, new keys of
parents are answered also where their shadows are on this shard: shadows get theirs in an order that only the router
knows, since parents on other shards may have some too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext

import msgspec

from crosskey import errors
from crosskey.internal.v1 import effects_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import CommandResult, Statement
from crosskey.shard_node.guards import claim_queries, claimed_parents, copy_queries, foreign_key_queries
from crosskey.shard_node.guards.copies import COPIES_ARE_TAKEN, COPIES_AS_THEY_ARE
from crosskey.shard_node.guards.event_triggers import begin_moving, end_moving, last_drawn, note_arrival, tells
from crosskey.shard_node.guards.noted_effects import NotedEffects, take_effects
from crosskey.shard_node.guards.reference_guards import has_copied_children, written_everywhere
from crosskey.shard_node.guards.rows_changed_again import as_if_once
from crosskey.shard_node.writing import cleaning, moving
from crosskey.shard_node.writing.branch import Branch
from crosskey.shard_node.writing.execution import execute_statement

Effect = proto.Effect

_IN_ORDER = frozenset(
    {
        Effect.REKEY_SHADOWS_FIELD_NUMBER,
        Effect.REVISE_SHADOWS_FIELD_NUMBER,
        Effect.CHANGE_VALUES_FIELD_NUMBER,
    }
)
"""What the router puts in order over all shards."""

_CHANGING = frozenset({"rekey_shadows", "change_values"})
"""The same, as the fields of Effect."""

_NEVER_AT_ONCE = frozenset(
    {
        Effect.FIND_ANCHORS_FIELD_NUMBER,
        Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER,
        Effect.COPIES_UNSEEN_FIELD_NUMBER,
    }
)
"""What waits for other effects, on whatever shard they are, or is the router's business."""


async def apply_noted(branch: Branch, result: CommandResult, *, after: bytes = b"", amid_others: bool = False) -> None:
    """Applies the effects that triggers noted for this shard until there are none; the result gets those for others.

    `after` is SQL whose effects are among them, to be run first. Parents are pinned when all else is done. Two cascades
    may meet at a child: one has it ask for a shadow that the other is about to bring, by giving it the parent's new
    key. `amid_others`, effects on other shards may do so too.
    """
    pins: list[Effect] = []
    while (noted := await _take(branch, after)) or pins:
        after = b""
        if not noted:
            await _pin_or_answer(branch, pins, result, amid_others=amid_others)
            pins = []
        # What a branch by itself has brought about is in its own order, and waits here for whoever is at work here.
        in_order = branch.alone
        branch.alone = branch.alone and all(
            one.shard == branch.shard and one.kind not in _NEVER_AT_ONCE for one in noted
        )
        for one in noted:
            if one.kind == Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER:
                _remember_displaced(branch, one, result)
            elif one.kind == Effect.PIN_PARENTS_FIELD_NUMBER:
                pins.append(to_effect(one, branch.shard))
            else:
                await _apply_or_answer(branch, one, result, in_order=in_order)


async def _apply_or_answer(branch: Branch, noted: NotedEffects, result: CommandResult, *, in_order: bool) -> None:
    revised = noted.kind == Effect.REVISE_SHADOWS_FIELD_NUMBER
    effect = await _revision(branch, noted) if revised else to_effect(noted, branch.shard)
    if effect is None:
        return
    if _is_applied_here(branch, noted, in_order=in_order):
        await apply(branch, effect, result)
    else:
        result.effects.append(effect)


async def _revision(branch: Branch, noted: NotedEffects) -> Effect | None:
    """What the parents that were noted have now; None if they all are gone."""
    referenced = branch.schema.referenced_key(noted.name)
    rows, count = await copy_queries.values_now(branch.connection, referenced, noted.old_keys)
    revise = proto.ReviseShadows(referenced_key=noted.name, rows_json=rows.encode())
    return Effect(shard=noted.shard, origin=branch.shard, revise_shadows=revise) if count else None


async def _take(branch: Branch, after: bytes) -> list[NotedEffects]:
    """What triggers noted, once `after` has run, but for claims that the router has taken in advance."""
    noted = as_if_once(await take_effects(branch.connection, after=after))
    return [one for one in noted if not _is_expected(branch, one)]


async def _pin_or_answer(branch: Branch, pins: Sequence[Effect], result: CommandResult, *, amid_others: bool) -> None:
    """Pins parents of this shard, unless a shadow may still get the key of one elsewhere."""
    waits = amid_others or any(effect.WhichOneof("effect") in _CHANGING for effect in result.effects)
    for effect in pins:
        if effect.shard == branch.shard and (branch.alone or not waits):
            await apply(branch, effect, result)
        else:
            result.effects.append(effect)


async def apply(branch: Branch, effect: Effect, result: CommandResult) -> None:
    """Applies an effect on this shard. The result gets what it comes to, but for what `apply_noted` finds."""
    kind = effect.WhichOneof("effect")
    handler = _HANDLERS.get(kind or "")
    if handler is None:
        raise errors.InvalidRequest(f"an effect of the kind {kind} cannot be applied")
    await handler(branch, effect, result)


async def retry_absent(branch: Branch, result: CommandResult) -> None:
    """Looks again for parents that were absent.

    They may have come since: by another part of the same statement, or for a deferred key by a later statement.
    """
    absent, branch.absent = branch.absent, []
    for effect in absent:
        await apply(branch, effect, result)


def to_effect(noted: NotedEffects, origin: int) -> Effect:
    """What was noted on the shard `origin`, as a message."""
    effect = Effect(shard=noted.shard, origin=origin)
    old, new = noted.old_keys.encode(), noted.new_keys.encode()
    match noted.kind:
        case Effect.PIN_PARENTS_FIELD_NUMBER:
            effect.pin_parents.referenced_key, effect.pin_parents.keys_json = noted.name, old
        case Effect.DELETE_SHADOWS_FIELD_NUMBER:
            effect.delete_shadows.referenced_key, effect.delete_shadows.keys_json = noted.name, old
        case Effect.REKEY_SHADOWS_FIELD_NUMBER:
            rekey = proto.RekeyShadows(referenced_key=noted.name, old_keys_json=old, new_keys_json=new)
            effect.rekey_shadows.CopyFrom(rekey)
        case Effect.CLAIM_VALUES_FIELD_NUMBER:
            effect.claim_values.claim, effect.claim_values.values_json = noted.name, old
        case Effect.RELEASE_VALUES_FIELD_NUMBER:
            release = proto.ReleaseValues(claim=noted.name, values_json=old, keep_pins=noted.keeps_pins)
            effect.release_values.CopyFrom(release)
        case Effect.CHANGE_VALUES_FIELD_NUMBER:
            change = proto.ChangeValues(referenced_key=noted.name, old_keys_json=old, new_keys_json=new)
            effect.change_values.CopyFrom(change)
        case Effect.RESTORE_PINS_FIELD_NUMBER:
            effect.restore_pins.CopyFrom(_pins_to_restore(noted))
        case Effect.FIND_ANCHORS_FIELD_NUMBER:
            effect.find_anchors.claim, effect.find_anchors.values_json = noted.name, old
        case Effect.COPIES_UNSEEN_FIELD_NUMBER:
            effect.copies_unseen.SetInParent()
        case _:
            raise ValueError(f"triggers do not note effects of the kind {noted.kind}")
    return effect


def _pins_to_restore(noted: NotedEffects) -> proto.RestorePins:
    """Beside each key a trigger notes the shard that its pin is for, or that and the shard that claims."""
    pins = msgspec.json.decode(noted.new_keys, type=list[int | tuple[int, int]])
    pairs = [pin if isinstance(pin, tuple) else (pin, None) for pin in pins]
    return proto.RestorePins(
        referenced_key=noted.name,
        keys_json=noted.old_keys.encode(),
        for_shards=[shard for shard, _ in pairs],
        claimants=[claimant for _, claimant in pairs if claimant is not None],
    )


def _is_expected(branch: Branch, noted: NotedEffects) -> bool:
    """Whether it is a claim that the router has taken in advance."""
    return noted.kind == Effect.CLAIM_VALUES_FIELD_NUMBER and branch.expected.meet(noted.name, noted.old_keys)


def _is_applied_here(branch: Branch, noted: NotedEffects, *, in_order: bool) -> bool:
    """Whether the effect is applied here and now."""
    here = noted.shard == branch.shard and noted.kind not in _NEVER_AT_ONCE
    return here and (in_order or noted.kind not in _IN_ORDER)


def _remember_displaced(branch: Branch, noted: NotedEffects, result: CommandResult) -> None:
    """Remembers rows that belong to other shards; the first time, the router is told that there are some."""
    if not branch.displaced:
        result.effects.add(shard=branch.shard, origin=branch.shard, take_out_displaced=proto.TakeOutDisplaced())
    branch.displaced[noted.name].append(noted.old_keys)


async def _pin_parents(branch: Branch, effect: Effect, result: CommandResult) -> None:
    pin = effect.pin_parents
    referenced = branch.schema.referenced_key(pin.referenced_key)
    wanted = pin.keys_json.decode()
    keys, count = await foreign_key_queries.pin_parents(branch.connection, referenced, effect.origin, wanted)
    is_own = effect.origin == branch.shard
    if count and is_own:
        await foreign_key_queries.add_shadows(branch.connection, referenced, keys)
    elif count:
        shadows = proto.AddShadows(referenced_key=pin.referenced_key, keys_json=keys.encode())
        result.effects.add(shard=effect.origin, origin=branch.shard, add_shadows=shadows)
    if count < len(msgspec.json.decode(wanted)):
        if is_own:
            branch.absent.append(effect)
        else:
            result.parents_absent = True


async def _add_shadows(branch: Branch, effect: Effect, _: CommandResult) -> None:
    add = effect.add_shadows
    referenced = branch.schema.referenced_key(add.referenced_key)
    await foreign_key_queries.add_shadows(branch.connection, referenced, add.keys_json.decode())


async def _delete_shadows(branch: Branch, effect: Effect, _: CommandResult) -> None:
    delete = effect.delete_shadows
    await _change_shadows(branch, delete.referenced_key, delete.keys_json, b"")


async def _rekey_shadows(branch: Branch, effect: Effect, _: CommandResult) -> None:
    rekey = effect.rekey_shadows
    await _change_shadows(branch, rekey.referenced_key, rekey.old_keys_json, rekey.new_keys_json)


async def _revise_shadows(branch: Branch, effect: Effect, _: CommandResult) -> None:
    revise = effect.revise_shadows
    referenced = branch.schema.referenced_key(revise.referenced_key)
    await copy_queries.revise_shadows(branch.connection, referenced, revise.rows_json.decode())


async def _change_shadows(branch: Branch, referenced_key: str, old: bytes, new: bytes) -> None:
    referenced = branch.schema.referenced_key(referenced_key)
    copied = has_copied_children(branch.schema.plan, referenced)
    async with written_everywhere(branch.connection) if copied else nullcontext():
        await foreign_key_queries.change_shadows(branch.connection, referenced, old.decode(), new.decode())


async def _claim_values(branch: Branch, effect: Effect, _: CommandResult) -> None:
    values = effect.claim_values
    claim, keys = branch.schema.claim(values.claim), values.values_json.decode()
    present = await claim_queries.claim_values(branch.connection, claim, effect.origin, keys)
    if not values.in_advance:
        for referenced in branch.schema.referenced_by_claim(values.claim):
            await claimed_parents.adopt_pins(branch.connection, referenced, effect.origin, keys)
    elif present:
        raise errors.UniqueViolation(
            f"shard {effect.origin} has claimed the value already", constraint=claim.constraint
        )


async def _release_values(branch: Branch, effect: Effect, result: CommandResult) -> None:
    """For another shard, effects on this one are answered too: what becomes of children can be seen, a release not."""
    values = effect.release_values
    claim, keys = branch.schema.claim(values.claim), values.values_json.decode()
    await claim_queries.release_values(branch.connection, claim, effect.origin, keys)
    for referenced in () if values.keep_pins else branch.schema.referenced_by_claim(values.claim):
        await claimed_parents.take_pins(branch.connection, referenced, effect.origin, keys)
    if effect.origin != branch.shard:
        noted = await take_effects(branch.connection)
        result.effects.extend(to_effect(one, branch.shard) for one in noted)


async def _change_values(branch: Branch, effect: Effect, _: CommandResult) -> None:
    change = effect.change_values
    referenced = branch.schema.referenced_key(change.referenced_key)
    table = branch.schema.table(referenced.parent.qualified)
    keys = change.old_keys_json.decode(), change.new_keys_json.decode()
    await claimed_parents.change_values(branch.connection, referenced, table, effect.origin, keys, branch.shards)


async def _take_out_displaced(branch: Branch, _: Effect, result: CommandResult) -> None:
    """Asked for when the statement has had all its effects on all shards, so that the rows go as they are to be."""
    displaced, branch.displaced = branch.displaced, defaultdict(list)
    await _take_out(branch, displaced, result)


async def _follow_anchors(branch: Branch, effect: Effect, result: CommandResult) -> None:
    """Asked for when all anchors are where they are to be."""
    follow = effect.follow_anchors
    claim, values = branch.schema.claim(follow.claim), follow.values_json.decode()
    keys = await moving.keys_of_followers(branch.connection, branch.schema, claim, values, follow.shards, branch.shard)
    await _take_out(branch, keys, result)


async def _take_out(branch: Branch, keys: Mapping[str, Sequence[str]], result: CommandResult) -> None:
    await cleaning.clean_before_moving(branch, keys)
    if await moving.locked_too_late(branch.connection, branch.schema, keys):
        result.effects.add(shard=branch.shard, origin=branch.shard, locked_too_late=proto.LockedTooLate())
        return
    going = await moving.with_followers(branch.connection, branch.schema, keys, branch.shards)
    # What follows an anchor was not among the keys.
    await cleaning.clean_before_moving(branch, {table: [array] for table, array in going.items()})
    for moved in await moving.take_out(branch.connection, branch.schema, going, branch.shards):
        place = proto.PlaceRows(table=moved.table, rows_json=moved.rows.encode())
        if tells(branch.schema.plan, branch.schema.table(moved.table).name):
            place.events_through = await last_drawn(branch.connection)
        result.effects.add(shard=moved.shard, origin=branch.shard, place_rows=place)


async def _place_rows(branch: Branch, effect: Effect, _: CommandResult) -> None:
    """Rows that moved here; what they reference over shards is noted as for any other insert."""
    place = effect.place_rows
    table = branch.schema.table(place.table)
    insert = moving.placement(table, place.rows_json)
    placed = CommandResult()
    statement = Statement(table=place.table, insert=insert, count_only=True)
    if tells(branch.schema.plan, table.name):
        await note_arrival(branch.connection, table.name, effect.origin, place.events_through)
    await begin_moving(branch.connection, branch.schema.plan, [table.name])
    async with _as_they_are(branch):
        await execute_statement(branch.connection, table, statement, placed)
    await end_moving(branch.connection, branch.schema.plan, [table.name])
    if placed.count != len(msgspec.json.decode(place.rows_json)):
        raise moving.kept_from_moving(place.table, "INSERT")


@asynccontextmanager
async def _as_they_are(branch: Branch) -> AsyncIterator[None]:
    """Rows that were stored before keep the values that they copied then."""
    if branch.schema.plan.copies:
        await branch.connection.execute(COPIES_AS_THEY_ARE, prepare=False)
    yield
    if branch.schema.plan.copies:
        await branch.connection.execute(COPIES_ARE_TAKEN, prepare=False)


async def _restore_pins(branch: Branch, effect: Effect, _: CommandResult) -> None:
    restore = effect.restore_pins
    referenced = branch.schema.referenced_key(restore.referenced_key)
    keys = restore.keys_json.decode()
    await foreign_key_queries.restore_pins(branch.connection, referenced, keys, restore.for_shards, restore.claimants)


async def _find_anchors(branch: Branch, effect: Effect, result: CommandResult) -> None:
    """Until constraints are checked, an anchor that nobody has may still come."""
    find = effect.find_anchors
    claim, values = branch.schema.claim(find.claim), find.values_json.decode()
    claims = await claim_queries.look_up_and_hold(branch.connection, claim, values)
    raw = msgspec.json.decode(values, type=list[msgspec.Raw])
    found = [(value, shard) for value, (shard, _) in zip(raw, claims, strict=True) if shard is not None]
    absent = [value for value, (shard, _) in zip(raw, claims, strict=True) if shard is None]
    if found:
        follow = proto.FollowAnchors(
            claim=find.claim,
            values_json=msgspec.json.encode([value for value, _ in found]),
            shards=[shard for _, shard in found],
        )
        result.effects.add(shard=effect.origin, origin=branch.shard, follow_anchors=follow)
    if absent:
        again = proto.FindAnchors(claim=find.claim, values_json=msgspec.json.encode(absent))
        result.effects.add(shard=branch.shard, origin=effect.origin, find_anchors=again)
        result.parents_absent = True


async def _mark_dead(branch: Branch, effect: Effect, _: CommandResult) -> None:
    await cleaning.mark_dead(branch, effect)


async def _forget_departed(branch: Branch, effect: Effect, _: CommandResult) -> None:
    await cleaning.forget_departed(branch, effect)


_HANDLERS: dict[str, Callable[[Branch, Effect, CommandResult], Awaitable[None]]] = {
    "pin_parents": _pin_parents,
    "add_shadows": _add_shadows,
    "delete_shadows": _delete_shadows,
    "rekey_shadows": _rekey_shadows,
    "revise_shadows": _revise_shadows,
    "claim_values": _claim_values,
    "release_values": _release_values,
    "change_values": _change_values,
    "take_out_displaced": _take_out_displaced,
    "place_rows": _place_rows,
    "restore_pins": _restore_pins,
    "find_anchors": _find_anchors,
    "follow_anchors": _follow_anchors,
    "mark_dead": _mark_dead,
    "forget_departed": _forget_departed,
}

_LEAD_TO_MORE = frozenset(
    {
        "delete_shadows",
        "rekey_shadows",
        "revise_shadows",
        "change_values",
        "take_out_displaced",
        "place_rows",
        "follow_anchors",
    }
)
"""Effects that make triggers note further ones, for `apply_noted`."""


def leads_to_more(branch: Branch, effect: Effect) -> bool:
    """Whether triggers may note further effects when it is applied.

    A shadow that brings what its children copy changes these, and so may concern what copies them in turn.
    """
    kind = effect.WhichOneof("effect")
    if kind == "add_shadows":
        return bool(branch.schema.referenced_key(effect.add_shadows.referenced_key).copied)
    if kind == "pin_parents" and effect.origin == branch.shard:
        return bool(branch.schema.referenced_key(effect.pin_parents.referenced_key).copied)
    return kind in _LEAD_TO_MORE

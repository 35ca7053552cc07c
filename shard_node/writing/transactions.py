"""One transaction on this shard, run command by command: a local one, or a participant of a distributed one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import msgspec
from psycopg import sql

from catalog.model import Database
from crosskey import errors
from crosskey.v1 import rows_pb2
from crosskey.v1 import shard_node_pb2 as proto
from serving.answer_size import AnswerSize
from shard_node.guards import claim_queries, claimed_parents, foreign_key_queries, foreign_keys
from shard_node.guards.reference_guards import has_copied_children, written_everywhere
from shard_node.postgres.database import Connection
from shard_node.postgres.postgres_errors import translated
from shard_node.schema import installation
from shard_node.schema.constraint_modes import NO_MODES, ConstraintModes, set_modes
from shard_node.schema.shard_schema import ShardSchema, no_schema
from shard_node.writing import loading, moving, unused_shadows
from shard_node.writing.execution import execute_statement, uninterrupted
from shard_node.writing.expected_claims import ExpectedClaims
from shard_node.writing.lost_commits import FindOut, known_if_lost
from shard_node.writing.own_gids import OwnGids, time_of
from shard_node.writing.savepoints import Savepoints

_MISSING = proto.Effect.KIND_PARENT_MISSING
_REKEYED = proto.Effect.KIND_PARENT_REKEYED
_PINS_MOVED = proto.Effect.KIND_PINS_MOVED
_CLAIMED = proto.Effect.KIND_VALUES_CLAIMED
_RELEASED = proto.Effect.KIND_VALUES_RELEASED
_VALUES_LEFT = proto.Effect.KIND_VALUES_LEFT
_VALUES_CHANGED = proto.Effect.KIND_VALUES_CHANGED
_STRAY = proto.Effect.KIND_ROWS_STRAY
_IN_ORDER = frozenset({_REKEYED, _VALUES_CHANGED})
"""What the coordinator puts in order over all shards."""

_WITH_NEW_KEYS = _IN_ORDER | {_PINS_MOVED}

# A gid carries its time. A coordinator that was paused for longer than this finds its decision refused, and abort
# decisions are kept for much longer than this, so that none is forgotten while a transaction could still commit.
MAX_GID_AGE_SECONDS = 600


class _Memory(NamedTuple):
    """What a transaction keeps beside PostgreSQL that a roll back to a savepoint must restore.

    Nobody's rows are misplaced when a savepoint is set: a statement has no effects left when it is done.
    """

    modes: ConstraintModes
    unresolved: tuple[foreign_key_queries.Effects, ...]


class ShardTransaction:
    """A coordinated transaction on one connection.

    Effects of its statements on this shard itself are carried out at once; those on other shards are answered. If it is
    one of several participants, new keys of parents are answered also where their shadows are on this shard: shadows
    get theirs in an order that only the coordinator knows, since parents on other shards may have some too. Unless
    `finished`, its owner must roll it back (the connection pool does so when it gets the connection back).
    """

    def __init__(
        self,
        connection: Connection,
        schema: ShardSchema | None,
        shard: int,
        shards: int,
        *,
        alone: bool,
        gids: OwnGids,
        find_out: FindOut,
    ) -> None:
        self._connection = connection
        self._gids = gids
        self._schema_or_none = schema
        self._shard = shard
        self._shards = shards
        self._alone = alone
        self._find_out = find_out
        self._transaction: str | None = None
        self._begun = False
        self._modes = NO_MODES if schema is None else schema.modes
        self._checked = True
        self._savepoints: Savepoints[_Memory] = Savepoints(connection)
        self._unresolved: list[foreign_key_queries.Effects] = []
        self._misplaced: dict[str, list[str]] = defaultdict(list)
        self._expected = ExpectedClaims()
        self._answer_size = AnswerSize()
        self._handlers: dict[str, Callable[[Any], Awaitable[proto.CommandResult]]] = {
            "run": self._run_statement,
            "pin": self._pin,
            "add_shadows": self._add_shadows,
            "change_shadows": self._change_shadows,
            "check": self._check,
            "install_schema": self._install,
            "place_rows": self._place_rows,
            "restore_pins": self._restore_pins,
            "take_out_misplaced": self._take_out_misplaced,
            "take_out_strays": self._take_out_strays,
            "lock_pins": self._lock_pins,
            "drop_unused_shadows": self._drop_unused_shadows,
            "drop_pins": self._drop_pins,
            "claim_values": self._claim_values,
            "release_values": self._release_values,
            "change_values": self._change_values,
            "expect_claims": self._expect_claims,
            "look_up_claims": self._look_up_claims,
            "note_batch": self._note_batch,
            "lock_early": self._lock_early,
            "set_constraints": self._set_constraints,
            "savepoint": self._savepoint,
            "prepare": self._prepare,
            "commit": self._commit,
        }
        self.finished = False

    @property
    def _schema(self) -> ShardSchema:
        if self._schema_or_none is None:
            raise no_schema()
        return self._schema_or_none

    @property
    def can_go_back(self) -> bool:
        """Whether there is a savepoint to roll back to."""
        return len(self._savepoints) > 0

    async def run(self, command: proto.Command) -> proto.CommandResult:
        """Runs one command. Raises CrosskeyError; the transaction can then only be rolled back, or to a savepoint."""
        if self.finished:
            raise errors.InvalidRequest("the transaction is finished already")
        kind = command.WhichOneof("command")
        if kind is None:
            raise errors.InvalidRequest("a command is empty")
        with translated():
            await self._begin()
            self._checked = self._checked and kind in ("check", "prepare", "commit")
            return await self._handlers[kind](getattr(command, kind))

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            begin = b"BEGIN" if self._schema_or_none is None else self._schema_or_none.begin
            await self._connection.execute(begin, prepare=False)

    async def _run_statement(self, run: proto.RunStatement) -> proto.CommandResult:
        result, transaction = await execute_statement(self._connection, self._schema, run)
        self._transaction = transaction or self._transaction
        self._answer_size.add(result.rows_json, str(self._schema.table(run.table).name))
        result.effects.extend(await self._settle())
        return result

    async def _pin(self, pin: proto.PinParents) -> proto.CommandResult:
        referenced = self._schema.referenced_key(pin.referenced_key)
        keys, count = await foreign_key_queries.pin_parents(
            self._connection, referenced, pin.for_shard, pin.keys_json.decode()
        )
        return proto.CommandResult(count=count, rows_json=keys.encode())

    async def _add_shadows(self, add: proto.AddShadows) -> proto.CommandResult:
        referenced = self._schema.referenced_key(add.referenced_key)
        await foreign_key_queries.add_shadows(self._connection, referenced, add.keys_json.decode())
        return proto.CommandResult()

    async def _change_shadows(self, change: proto.ChangeShadows) -> proto.CommandResult:
        await self._change(change.referenced_key, change.old_keys_json.decode(), change.new_keys_json.decode())
        return proto.CommandResult(effects=await self._settle())

    async def _place_rows(self, place: proto.PlaceRows) -> proto.CommandResult:
        """Rows that moved here; what they reference over shards is noted as for any other insert."""
        insert = moving.placement(self._schema.table(place.table), place.rows_json)
        placed = await self._run_statement(proto.RunStatement(table=place.table, insert=insert, count_only=True))
        if placed.count != len(msgspec.json.decode(place.rows_json)):
            raise moving.kept_from_moving(place.table, "INSERT")
        return placed

    async def _restore_pins(self, restore: proto.RestorePins) -> proto.CommandResult:
        referenced = self._schema.referenced_key(restore.referenced_key)
        await foreign_key_queries.restore_pins(
            self._connection, referenced, restore.keys_json.decode(), restore.shards_json.decode()
        )
        return proto.CommandResult()

    async def _check(self, _: proto.CheckConstraints) -> proto.CommandResult:
        """Checks what waited for the end of the statement."""
        await self._retry_unresolved()
        if self._modes.check_statement:
            await self._connection.execute(self._modes.check_statement, prepare=False)
        self._checked = True
        return proto.CommandResult(effects=await self._settle())

    async def _set_constraints(self, change: rows_pb2.SetConstraints) -> proto.CommandResult:
        self._modes = await set_modes(self._connection, self._modes, change.constraints, deferred=change.deferred)
        return proto.CommandResult(effects=await self._settle())

    async def _savepoint(self, savepoint: proto.Savepoint) -> proto.CommandResult:
        match savepoint.action:
            case proto.Savepoint.ACTION_SET:
                await self._savepoints.set(savepoint.level, _Memory(self._modes, tuple(self._unresolved)))
            case proto.Savepoint.ACTION_RELEASE:
                await self._savepoints.release(savepoint.level)
            case proto.Savepoint.ACTION_ROLL_BACK:
                memory = await self._savepoints.roll_back(savepoint.level)
                self._modes, self._unresolved = memory.modes, list(memory.unresolved)
                self._misplaced.clear()
            case _:
                raise errors.InvalidRequest("a savepoint has no action")
        return proto.CommandResult()

    async def _lock_pins(self, lock: proto.LockPins) -> proto.CommandResult:
        referenced = self._schema.referenced_key(lock.referenced_key)
        await unused_shadows.lock_pins(self._connection, referenced, lock.for_shard, lock.keys_json.decode())
        return proto.CommandResult()

    async def _drop_unused_shadows(self, drop: proto.DropUnusedShadows) -> proto.CommandResult:
        referenced = self._schema.referenced_key(drop.referenced_key)
        keys, count = await unused_shadows.drop_unused(
            self._connection, self._schema, referenced, drop.keys_json.decode()
        )
        return proto.CommandResult(rows_json=keys.encode(), count=count)

    async def _drop_pins(self, drop: proto.DropPins) -> proto.CommandResult:
        referenced = self._schema.referenced_key(drop.referenced_key)
        await unused_shadows.drop_pins(self._connection, referenced, drop.for_shard, drop.keys_json.decode())
        return proto.CommandResult()

    async def _claim_values(self, values: proto.ClaimValues) -> proto.CommandResult:
        claim = self._schema.claim(values.claim)
        present = await claim_queries.claim_values(self._connection, claim, values.for_shard, values.keys_json.decode())
        if present and values.in_advance:
            raise errors.UniqueViolation(
                f"shard {values.for_shard} has claimed the value already", constraint=claim.constraint
            )
        if not values.in_advance:
            await self._adopt_pins(values.claim, values.for_shard, values.keys_json.decode())
        return proto.CommandResult()

    async def _adopt_pins(self, claim: str, for_shard: int, keys: str) -> None:
        for referenced in self._schema.referenced_by_claim(claim):
            await claimed_parents.adopt_pins(self._connection, referenced, for_shard, keys)

    async def _release_values(self, values: proto.ReleaseValues) -> proto.CommandResult:
        """Answers also the effects on this shard: what becomes of children can be seen, and the release cannot."""
        await self._release(values.claim, values.for_shard, values.keys_json.decode(), keep_pins=values.keep_pins)
        return proto.CommandResult(effects=map(_to_proto, await foreign_key_queries.take_effects(self._connection)))

    async def _release(self, claim: str, for_shard: int, keys: str, *, keep_pins: bool) -> None:
        """Releases values, and unless `keep_pins` notes as effects that their rows are gone."""
        await claim_queries.release_values(self._connection, self._schema.claim(claim), for_shard, keys)
        for referenced in () if keep_pins else self._schema.referenced_by_claim(claim):
            await claimed_parents.take_pins(self._connection, referenced, for_shard, keys)

    async def _change_values(self, change: proto.ChangeValues) -> proto.CommandResult:
        keys = change.old_keys_json.decode(), change.new_keys_json.decode()
        await self._change_pins(change.referenced_key, change.for_shard, keys)
        return proto.CommandResult(effects=await self._settle())

    async def _change_pins(self, referenced_key: str, for_shard: int, keys: tuple[str, str]) -> None:
        referenced = self._schema.referenced_key(referenced_key)
        table = self._schema.table(referenced.parent.qualified)
        await claimed_parents.change_values(self._connection, referenced, table, for_shard, keys, self._shards)

    async def _expect_claims(self, values: proto.ExpectClaims) -> proto.CommandResult:
        self._expected.expect(values.claim, values.keys_json)
        return proto.CommandResult()

    async def _look_up_claims(self, values: proto.LookUpClaims) -> proto.CommandResult:
        claim = self._schema.claim(values.claim)
        look_up = claim_queries.look_up_and_hold if values.hold else claim_queries.look_up_claims
        found = await look_up(self._connection, claim, values.keys_json.decode())
        return proto.CommandResult(claims=map(to_found_claim, found))

    async def _note_batch(self, note: proto.NoteBatch) -> proto.CommandResult:
        return proto.CommandResult(count=int(await loading.note_batch(self._connection, note)))

    async def _install(self, install: proto.InstallSchema) -> proto.CommandResult:
        description = Database.from_json(install.description_json)
        await installation.install(self._connection, install.sql, description, shard=self._shard, shards=self._shards)
        return proto.CommandResult()

    async def _prepare(self, prepare: proto.Prepare) -> proto.CommandResult:
        self._gids.check_participants([prepare.gid])
        effects = await self._check_all()
        if effects:
            return proto.CommandResult(effects=effects)
        text = sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(prepare.gid))
        await uninterrupted(self._finish(text.as_bytes()))
        return proto.CommandResult()

    async def _commit(self, commit: proto.Commit) -> proto.CommandResult:
        decision: sql.Composable = sql.SQL("")
        if commit.decision_gid:
            self._gids.check_decisions([commit.decision_gid])
            decision = _decision(commit.decision_gid)
        effects = await self._check_all()
        if effects or not self._expected.all_met:
            return proto.CommandResult(effects=effects)
        async with known_if_lost(self._find_out, self._transaction):
            await uninterrupted(self._finish(sql.Composed([decision, sql.SQL("COMMIT")]).as_bytes()))
        self.finished = True
        return proto.CommandResult()

    async def _check_all(self) -> list[proto.Effect]:
        """Checks every constraint that still waits, those that the user deferred too."""
        if self._schema_or_none is None or (self._checked and not self._modes.deferred):
            return []
        await self._retry_unresolved()
        if self._modes.check_others:
            await self._connection.execute(self._modes.check_statement + self._modes.check_others, prepare=False)
            effects = await self._settle()
            if effects:
                return effects
        if self._modes.check_keys:
            await self._connection.execute(self._modes.check_keys, prepare=False)
        return await self._settle()

    async def _finish(self, text: bytes) -> None:
        cursor = await self._connection.execute(text, prepare=False)
        while cursor.nextset():
            pass
        # In a transaction that failed, PREPARE and COMMIT roll back and call it no error.
        if cursor.statusmessage == "ROLLBACK":
            raise errors.Conflict("the transaction had failed before its end")
        self.finished = True

    async def _settle(self) -> list[proto.Effect]:
        """Carries out the effects on this shard until there are none, and answers those on others."""
        foreign: list[proto.Effect] = []
        while effects := await foreign_key_queries.take_effects(self._connection):
            for effect in effects:
                if effect.kind == foreign_keys.MISPLACED:
                    foreign += self._misplaced_more(effect)
                    continue
                if effect.kind == _REKEYED:
                    await self._repin(effect)
                if effect.kind == _CLAIMED and self._expected.meet(effect.referenced_key, effect.old_keys):
                    continue
                if self._is_mine(effect):
                    await self._carry_out(effect)
                else:
                    foreign.append(_to_proto(effect))
        return foreign

    def _is_mine(self, effect: foreign_key_queries.Effects) -> bool:
        """Whether the effect is carried out here and now; where a parent is, a coordinator must find out."""
        here = effect.shard == self._shard and effect.kind != _STRAY
        return here and (self._alone or effect.kind not in _IN_ORDER)

    async def _repin(self, effect: foreign_key_queries.Effects) -> None:
        """Pins the new keys of re-keyed parents that are here; pins on claims have effects of their own."""
        referenced = self._schema.referenced_key(effect.referenced_key)
        if referenced.claim is None:
            await foreign_key_queries.repin(self._connection, referenced, effect.shard, effect.new_keys)

    def _misplaced_more(self, effect: foreign_key_queries.Effects) -> list[proto.Effect]:
        """Remembers rows that belong to other shards; the first time, the coordinator is told that there are some."""
        first = not self._misplaced
        self._misplaced[effect.referenced_key].append(effect.old_keys)
        return [proto.Effect(kind=proto.Effect.KIND_ROWS_MISPLACED, shard=self._shard)] if first else []

    async def _take_out_misplaced(self, _: proto.TakeOutMisplaced) -> proto.CommandResult:
        """Asked for when the statement has had all its effects on all shards, so that the rows go as they are to be."""
        misplaced, self._misplaced = self._misplaced, defaultdict(list)
        return await self._take_out(misplaced)

    async def _take_out_strays(self, strays: proto.TakeOutStrays) -> proto.CommandResult:
        """Asked for when all parents are where they are to be."""
        claim = self._schema.claim(strays.claim)
        keys = await moving.settle_strays(self._connection, self._schema, claim, strays.keys_json.decode(), self._shard)
        return await self._take_out(keys)

    async def _take_out(self, keys: Mapping[str, Sequence[str]]) -> proto.CommandResult:
        if await moving.locked_too_late(self._connection, self._schema, keys):
            too_late = proto.Effect(kind=proto.Effect.KIND_LOCKED_TOO_LATE, shard=self._shard)
            return proto.CommandResult(effects=[too_late])
        moved = await moving.take_out(self._connection, self._schema, keys, self._shards)
        effects = [_rows_moved(rows) for rows in moved] + await self._settle()
        return proto.CommandResult(effects=effects)

    async def _lock_early(self, _: proto.LockEarly) -> proto.CommandResult:
        await self._connection.execute(b"SET LOCAL crosskey.lock_early = 'on'", prepare=False)
        return proto.CommandResult()

    async def _carry_out(self, effect: foreign_key_queries.Effects) -> None:
        """Does on this shard what is asked of other shards through PinParents, AddShadows, ChangeShadows and claims."""
        if effect.kind == _CLAIMED:
            claim = self._schema.claim(effect.referenced_key)
            await claim_queries.claim_values(self._connection, claim, self._shard, effect.old_keys)
            await self._adopt_pins(effect.referenced_key, self._shard, effect.old_keys)
        elif effect.kind in (_RELEASED, _VALUES_LEFT):
            keep_pins = effect.kind == _VALUES_LEFT
            await self._release(effect.referenced_key, self._shard, effect.old_keys, keep_pins=keep_pins)
        elif effect.kind == _VALUES_CHANGED:
            await self._change_pins(effect.referenced_key, self._shard, (effect.old_keys, effect.new_keys))
        elif effect.kind == _PINS_MOVED:
            referenced = self._schema.referenced_key(effect.referenced_key)
            await foreign_key_queries.restore_pins(self._connection, referenced, effect.old_keys, effect.new_keys)
        elif effect.kind == _MISSING:
            referenced = self._schema.referenced_key(effect.referenced_key)
            keys, count = await foreign_key_queries.pin_parents(
                self._connection, referenced, self._shard, effect.old_keys
            )
            if count:
                await foreign_key_queries.add_shadows(self._connection, referenced, keys)
            if count < len(msgspec.json.decode(effect.old_keys)):
                self._unresolved.append(effect)
        else:
            await self._change(
                effect.referenced_key, effect.old_keys, effect.new_keys if effect.kind == _REKEYED else ""
            )

    async def _change(self, referenced_key: str, old_keys: str, new_keys: str) -> None:
        referenced = self._schema.referenced_key(referenced_key)
        copied = has_copied_children(self._schema.plan, referenced)
        async with written_everywhere(self._connection) if copied else nullcontext():
            await foreign_key_queries.change_shadows(self._connection, referenced, old_keys, new_keys)

    async def _retry_unresolved(self) -> None:
        """Looks again for parents that were absent.

        They may have come since: by another part of the same statement, or for a deferred key by a later statement.
        """
        unresolved, self._unresolved = self._unresolved, []
        for effect in unresolved:
            await self._carry_out(effect)


def to_found_claim(found: tuple[int | None, int]) -> proto.FoundClaim:
    """What a look-up found for a value: the shard, and the place of the first equal value."""
    shard, first_equal = found
    return proto.FoundClaim(shard=shard, first_equal=first_equal)


def _to_proto(effect: foreign_key_queries.Effects) -> proto.Effect:
    return proto.Effect(
        kind=proto.Effect.Kind.ValueType(effect.kind),
        referenced_key=effect.referenced_key,
        shard=effect.shard,
        keys_json=effect.old_keys.encode(),
        new_keys_json=effect.new_keys.encode() if effect.kind in _WITH_NEW_KEYS else b"",
    )


def _rows_moved(moved: moving.MovedRows) -> proto.Effect:
    return proto.Effect(
        kind=proto.Effect.KIND_ROWS_MOVED,
        referenced_key=moved.table,
        shard=moved.shard,
        keys_json=moved.rows.encode(),
    )


def _decision(gid: str) -> sql.Composed:
    """The commit decision. Raises Conflict if the gid is so old that an abort decision may be forgotten already."""
    age = time.time() - time_of(gid)
    if abs(age) > MAX_GID_AGE_SECONDS:
        raise errors.Conflict(
            f"the transaction {gid} is too old to be committed",
            hint="Compare the clocks of router and node if this comes at once.",
        )
    # A trigger of the user's may have asked for a commit in haste; a lost decision would tear the transaction apart.
    return sql.SQL(
        "SET LOCAL synchronous_commit = on; INSERT INTO crosskey.decision (gid, committed) VALUES ({}, true); "
    ).format(sql.Literal(gid))

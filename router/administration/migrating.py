"""Migrations: planned on every shard, prepared beside clients, brought into force by one flip, and finished.

Whatever stops one leaves it where it is: the journal on the first shard has what was asked for, each step may be taken
again, and the flip is all there or not at all. docs/migrations.md tells what a crash between any two steps leaves.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.planning import plan_schema
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import transactions_pb2
from crosskey.router.administration.filling import KeyFilling, Orphans, deals_with
from crosskey.router.administration.migration_journal import MigrationJournal, under_way_already
from crosskey.router.administration.migration_journal import State as _States
from crosskey.router.administration.orphan_search import find_orphans
from crosskey.router.administration.schema_changes import PLANNING_SHARD
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.reading.reader import Reader
from crosskey.v1 import admin_pb2

_Phases = admin_pb2.MigrationStep.Phase
_BEFORE_FLIP = {_States.STATE_FINISHING: _States.STATE_PREPARING, _States.STATE_ABORTED: _States.STATE_GOING_BACK}
"""Where the journal is until a flip, by what it says from then on: the new schema comes, or the old one again."""

STEP_SECONDS = 7 * 24 * 3600.0
"""How long one step may take: an index of a large table takes hours."""

FLIP_SECONDS = 600.0
"""How long a flip is tried again, each time that somebody else holds a lock that it needs."""

LOCK_TIMEOUT_MS = 150
"""How long a flip, and who waits behind it, waits for a lock at first. It waits longer each time, up to a second."""

LONGEST_LOCK_TIMEOUT_MS = 1000
DEFAULT_LIMIT = 100

MAX_PASSES = 5
"""How often all rows are gone through, if some are moved under way and passed over."""

FOREIGN_KEY_VIOLATION = "23503"

_ON_ORPHANS = "Mend them, or choose what becomes of them: --orphans delete, or --orphans null."

Plans = Mapping[int, proto.PlanShardMigrationResponse]


@dataclass(frozen=True)
class _Migration:
    """One of the journal, and the epoch of the schema that it changes."""

    number: int
    asked: admin_pb2.Migration
    epoch: int


class Migrations:
    """Those of a cluster, one at a time."""

    def __init__(self, cluster: Cluster, nodes: Nodes, finisher: Finisher) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._finisher = finisher
        self._journal = MigrationJournal(nodes)

    async def plan(self, asked: admin_pb2.Migration) -> admin_pb2.PlanMigrationResponse:
        """The steps, and why it would be refused. Raises SchemaRefused, SchemaNotLoaded and ShardUnavailable."""
        plans = await self._plans(asked)
        first = plans[PLANNING_SHARD]
        return admin_pb2.PlanMigrationResponse(
            steps=sorted((one.step for one in first.steps if not one.ours), key=lambda step: step.phase),
            guard_statements=sum(one.ours for one in first.steps),
            skipped=first.skipped,
            refusals=_refusals(plans),
        )

    async def list(self, limit: int) -> admin_pb2.ListMigrationsResponse:
        """The migrations that were begun, the newest first."""
        entries = await self._journal.entries(limit or DEFAULT_LIMIT)
        return admin_pb2.ListMigrationsResponse(migrations=[entry.description for entry in entries])

    async def apply(self, request: admin_pb2.ApplyMigrationRequest) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        """Carries out a migration, or goes on with one.

        Raises SchemaRefused with all taken back, MigrationUnderWay, and what nodes raise: then it can be resumed.
        """
        under_way = await self._journal.under_way()
        if request.resume:
            if under_way is None:
                raise errors.InvalidRequest("no migration is under way, so there is none to resume")
            async for told in self._resume(under_way, request.migration.orphans):
                yield told
            return
        if under_way is not None:
            raise under_way_already(under_way.description.id)
        plans = await self._plans(request.migration)
        _refuse(plans)
        if not plans[PLANNING_SHARD].changes:
            yield admin_pb2.ApplyMigrationResponse(message="the schema is in force already", in_force=True)
            return
        await self._look_for_orphans(request.migration, plans[PLANNING_SHARD].flip)
        epoch = plans[PLANNING_SHARD].epoch
        one = _Migration(await self._journal.begin(request.migration, epoch), request.migration, epoch)
        async for told in self._bring_into_force(one, plans):
            yield told
        async for told in self._finish(one):
            yield told

    async def abort(self) -> None:
        """Gives up the migration under way. Raises InvalidRequest if none is, SchemaChanged if it is too late."""
        entry = await self._journal.under_way()
        if entry is None:
            raise errors.InvalidRequest("no migration is under way")
        one, state = _migration(entry), entry.description.state
        if state in {_States.STATE_PREPARING, _States.STATE_ABORTING}:
            await self._give_up(one, await self._plans(one.asked), state, "aborted")
        elif not await self._went_back(one, entry.old_sql, state, "aborted"):
            raise errors.SchemaChanged(
                "the migration's schema is in force already, and going back would lose what is there",
                hint="Finish it by `crosskey migrate apply --resume`; then migrate back.",
            )

    async def _resume(
        self, entry: proto.JournalEntry, orphans: admin_pb2.Orphans.ValueType
    ) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        one, state = _migration(entry), entry.description.state
        if state in {_States.STATE_ABORTING, _States.STATE_GOING_BACK}:
            raise errors.MigrationUnderWay(
                f"migration {one.number} is being given up", hint="`crosskey migrate abort` goes on with that."
            )
        one.asked.orphans = orphans or one.asked.orphans
        if state == _States.STATE_PREPARING:
            plans = await self._plans(one.asked)
            _refuse(plans)
            async for told in self._bring_into_force(one, plans):
                yield told
        async for told in self._finish(one):
            yield told

    async def _look_for_orphans(self, asked: admin_pb2.Migration, flip: transactions_pb2.FlipSchema) -> None:
        """Raises SchemaRefused for rows that would stop the migration."""
        if deals_with(asked.orphans):
            return
        wanted = plan_schema(Database.from_json(flip.description_json))
        orphans = await find_orphans(Reader(self._nodes), await self._cluster.latest_view(), wanted)
        if orphans.rows:
            raise errors.SchemaRefused(f"{orphans.rows} rows reference no parent: {orphans}", hint=_ON_ORPHANS)

    async def _bring_into_force(self, one: _Migration, plans: Plans) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        preparing = _States.STATE_PREPARING
        try:
            for steps in _by_step(plans, _Phases.PHASE_BEFORE):
                await self._take(steps, one.epoch, one.number)
                step = steps[PLANNING_SHARD].step
                await self._journal.note(one.number, preparing, preparing, f"took {step.sql}")
                yield admin_pb2.ApplyMigrationResponse(message=f"{step.what}: {step.sql}", step=step)
            attempts = await self._flip(one.number, plans, _States.STATE_FINISHING)
        except errors.SchemaRefused as refused:
            await self._give_up(one, plans, preparing, refused.message)
            raise
        except errors.CrosskeyError as error:
            await self._note_stop(one, preparing, error.message)
            raise
        tries = "" if attempts == 1 else f", at attempt {attempts}"
        yield admin_pb2.ApplyMigrationResponse(message=f"the new schema is in force{tries}", in_force=True)

    async def _note_stop(self, one: _Migration, state: _States.ValueType, message: str) -> None:
        # Another client may have taken it elsewhere, and says so itself.
        with suppress(errors.Conflict):
            await self._journal.note(one.number, state, state, message)

    async def _give_up(self, one: _Migration, plans: Plans, state: _States.ValueType, message: str) -> None:
        """Takes back what was done before the flip, which cannot happen any more from then on.

        Raises Conflict, with nothing touched, if the migration is not in the state any more.
        """
        await self._journal.note(one.number, state, _States.STATE_ABORTING, message)
        await self._undo(plans, one.epoch, one.number)
        await self._journal.note(one.number, _States.STATE_ABORTING, _States.STATE_ABORTED, message)

    async def _finish(self, one: _Migration) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        """Looks at the rows that were there before; a key over shards is filled first."""
        finishing = _States.STATE_FINISHING
        await self._journal.note(one.number, finishing, finishing)
        await self._cluster.latest_view()
        orphans = Orphans()
        try:
            for _ in range(MAX_PASSES):
                left = await self._unvalidated()
                if not left or (orphans.rows and not deals_with(one.asked.orphans)):
                    break
                for steps in left:
                    async for told in self._validate(one, steps, orphans):
                        await self._journal.note(one.number, finishing, finishing, told.message)
                        yield told
        except errors.CrosskeyError as error:
            await self._note_stop(one, finishing, error.message)
            raise
        if await self._unvalidated():
            await self._refuse_orphans(one, orphans)
        await self._journal.note(one.number, finishing, _States.STATE_DONE)
        mended = f", {orphans.rows} rows without a parent were dealt with: {orphans}" if orphans.rows else ""
        yield admin_pb2.ApplyMigrationResponse(message=f"done{mended}", in_force=True)

    async def _unvalidated(self) -> Sequence[Mapping[int, proto.ShardMigrationStep]]:
        left = await fan_out(
            {node.shard: node.list_unvalidated(proto.ListUnvalidatedRequest()) for node in self._nodes}
        )
        return _same_steps({shard: answer.steps for shard, answer in left.items()})

    async def _validate(
        self,
        one: _Migration,
        steps: Mapping[int, proto.ShardMigrationStep],
        orphans: Orphans,
    ) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        step = next(iter(steps.values()))
        table, constraint = step.step.table, step.constraint
        if await self._crosses(step):
            for shard in steps:
                filling = KeyFilling(self._cluster, self._nodes, self._finisher, shard, table, constraint)
                async for done, pages in filling.fill(one.asked.orphans, orphans):
                    message = f"{constraint} of {table}: {done} of {pages} pages on shard {shard}"
                    yield admin_pb2.ApplyMigrationResponse(message=message, in_force=True)
        try:
            await self._take(steps, one.epoch + 1)
        except errors.SchemaRefused as refused:
            if refused.metadata.get("sqlstate") != FOREIGN_KEY_VIOLATION or not await self._crosses(step):
                raise
            return
        message = f"{step.step.what}: {step.step.sql}"
        yield admin_pb2.ApplyMigrationResponse(message=message, step=step.step, in_force=True)

    async def _crosses(self, step: proto.ShardMigrationStep) -> bool:
        """Whether a step validates a foreign key over shards."""
        view = await self._cluster.view()
        return any(
            (key.foreign_key.table.qualified, key.foreign_key.name) == (step.step.table, step.constraint)
            for key in view.plan.keys
            if key.kind == "cross-shard"
        )

    async def _refuse_orphans(self, one: _Migration, orphans: Orphans) -> None:
        """Goes back to the old schema, if nothing is lost by that, and raises SchemaRefused."""
        message = f"{orphans.rows} rows reference no parent: {orphans}"
        [entry] = await self._journal.entries(1)
        if await self._went_back(one, entry.old_sql, _States.STATE_FINISHING, message):
            raise errors.SchemaRefused(message, hint=_ON_ORPHANS)
        await self._journal.note(one.number, _States.STATE_FINISHING, _States.STATE_FINISHING, message)
        raise errors.SchemaRefused(message, hint=f"{_ON_ORPHANS} Go on with --resume.")

    async def _went_back(self, one: _Migration, old_sql: str, state: _States.ValueType, message: str) -> bool:
        """Brings the old schema into force again and ends the migration with it, if that loses nothing.

        Whether it did. If not, the migration is FINISHING, as it was. Raises Conflict if it is not in the state.
        """
        plans = await self._plans(admin_pb2.Migration(sql=old_sql))
        epoch, going_back = one.epoch + 1, _States.STATE_GOING_BACK
        loses = bool(_refusals(plans))
        if loses and state != going_back:
            return False
        await self._journal.note(one.number, state, going_back, message)
        if not loses:
            try:
                for steps in _by_step(plans, _Phases.PHASE_BEFORE):
                    await self._take(steps, epoch)
                await self._flip(one.number, plans, _States.STATE_ABORTED)
            except errors.SchemaRefused:
                loses = True
        if loses:
            await self._undo(plans, epoch)
            await self._journal.note(one.number, going_back, _States.STATE_FINISHING, message)
            return False
        await self._cluster.latest_view()
        return True

    async def _flip(self, number: int, plans: Plans, state_after: _States.ValueType) -> int:
        """Brings the schema into force on all shards; answers how many attempts it took.

        On all shards at once, so that clients wait for no longer than it takes on one. Whatever it waits for elsewhere,
        another flip included, it waits for no longer than a lock may take. The journal says so in the same transaction:
        Conflict is raised if another client has given the migration up.
        """
        flips = {shard: plan.flip for shard, plan in plans.items()}
        flips[PLANNING_SHARD].migration, flips[PLANNING_SHARD].state_after = number, state_after
        deadline = time.monotonic() + FLIP_SECONDS
        timeout_ms, attempt = LOCK_TIMEOUT_MS, 0
        while True:
            attempt += 1
            for flip in flips.values():
                flip.lock_timeout_ms = timeout_ms
            try:
                with call_context_of_its_own(STEP_SECONDS):
                    await self._flip_once(flips)
                return attempt
            except (errors.Conflict, errors.OutcomeUnknown) as error:
                if await self._has_flipped(flips[PLANNING_SHARD]):
                    return attempt
                if isinstance(error, errors.OutcomeUnknown) or time.monotonic() > deadline:
                    raise
            # Those who waited behind it go first.
            await asyncio.sleep(random.uniform(1, 3) * timeout_ms / 1000)  # no secret
            timeout_ms = min(timeout_ms * 5 // 4, LONGEST_LOCK_TIMEOUT_MS)

    async def _has_flipped(self, flip: transactions_pb2.FlipSchema) -> bool:
        """Whether the flip has happened after all. Raises Conflict if it cannot happen any more."""
        state = await self._journal.state(flip.migration)
        if state in {flip.state_after, _States.STATE_DONE}:
            return True
        if state != _BEFORE_FLIP[flip.state_after] or await self._journal.epoch() != flip.epoch:
            raise errors.Conflict(
                f"another client gave migration {flip.migration} up, or went on with it",
                hint="`crosskey migrate status` shows where it is.",
            )
        return False

    async def _flip_once(self, flips: Mapping[int, transactions_pb2.FlipSchema]) -> None:
        gid = Gid.new(self._cluster.name, PLANNING_SHARD)
        async with DistributedTransaction(self._nodes, self._finisher, gid) as transaction:
            await transaction.flip_schema(flips)
            await transaction.commit()

    async def _take(
        self, steps: Mapping[int, proto.ShardMigrationStep], epoch: int, number: int = 0, *, undo: bool = False
    ) -> None:
        """Takes a step, or takes it back; with the migration's number, so that none comes after that.

        Raises Conflict if another epoch is in force, or the migration was given up.
        """
        with call_context_of_its_own(STEP_SECONDS):
            await fan_out(
                {
                    shard: self._nodes[shard].run_migration_step(
                        proto.RunMigrationStepRequest(step=step, undo=undo, epoch=epoch, migration=number)
                    )
                    for shard, step in steps.items()
                }
            )

    async def _undo(self, plans: Plans, epoch: int, number: int = 0) -> None:
        """Takes back what was done before the flip, in reverse."""
        for steps in reversed(list(_by_step(plans, _Phases.PHASE_BEFORE))):
            await self._take(steps, epoch, number, undo=True)

    async def _plans(self, asked: admin_pb2.Migration) -> Plans:
        request = proto.PlanShardMigrationRequest(migration=asked)
        with call_context_of_its_own(STEP_SECONDS):
            plans = await fan_out({node.shard: node.plan_shard_migration(_copy(request)) for node in self._nodes})
        if len({plan.epoch for plan in plans.values()}) != 1:
            raise errors.Conflict("another migration is coming into force")
        return plans


def _migration(entry: proto.JournalEntry) -> _Migration:
    return _Migration(entry.description.id, entry.description.migration, entry.epoch)


def _copy(request: proto.PlanShardMigrationRequest) -> proto.PlanShardMigrationRequest:
    """Each node writes its shard into its request."""
    copied = proto.PlanShardMigrationRequest()
    copied.CopyFrom(request)
    return copied


def _refusals(plans: Plans) -> list[str]:
    """Those of all shards, each once."""
    return list(dict.fromkeys(refusal for plan in plans.values() for refusal in plan.refusals))


def _refuse(plans: Plans) -> None:
    refusals = _refusals(plans)
    if refusals:
        raise errors.SchemaRefused("\n".join(refusals), hint="Nothing was touched.")


def _by_step(plans: Plans, phase: _Phases.ValueType) -> list[dict[int, proto.ShardMigrationStep]]:
    """The steps of a phase in order, each on all shards."""
    return _same_steps({shard: [one for one in plan.steps if one.step.phase == phase] for shard, plan in plans.items()})


def _same_steps(steps: Mapping[int, Sequence[proto.ShardMigrationStep]]) -> list[dict[int, proto.ShardMigrationStep]]:
    """Steps of the same statement, by shard, in the order in which they come."""
    together: dict[str, dict[int, proto.ShardMigrationStep]] = {}
    for shard, each in steps.items():
        for one in each:
            together.setdefault(one.step.sql, {})[shard] = one
    return list(together.values())

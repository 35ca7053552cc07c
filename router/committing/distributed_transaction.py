"""One transaction over several shards: statements and their effects, then two-phase commit with the decision at home.

What a crash leaves between any two steps is told in docs/protocol.md.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import msgspec

from crosskey import errors
from crosskey.v1 import rows_pb2
from crosskey.v1 import shard_node_pb2 as proto
from router.calls.call_context import current_call_context
from router.calls.fan_out import fan_out, fan_out_to_the_end
from router.calls.nodes import Nodes
from router.committing.finishing import Finisher
from router.committing.gids import Gid
from router.committing.part import CHECK, Part, Results
from router.committing.rekeying import merge_rekeyed
from router.committing.standing_orders import Mark, StandingOrders
from router.committing.strays import Strays, look_ups, take_outs
from router.planning.statement_names import naming_statement

_MISSING = proto.Effect.KIND_PARENT_MISSING
_MISPLACED = proto.Effect.KIND_ROWS_MISPLACED
_STRAY = proto.Effect.KIND_ROWS_STRAY
_LOCKED_TOO_LATE = proto.Effect.KIND_LOCKED_TOO_LATE
_LATE = (_MISSING, _MISPLACED, _STRAY)
"""What is not carried out by a command on another shard alone."""
_CLAIMED = proto.Effect.KIND_VALUES_CLAIMED
_RELEASED = proto.Effect.KIND_VALUES_RELEASED
_VALUES_LEFT = proto.Effect.KIND_VALUES_LEFT
_VALUES_CHANGED = proto.Effect.KIND_VALUES_CHANGED
# On one shard in this order: a value may go from row to row, and with it what references it must not. A claim that is
# left waits for whoever is about to reference it, so that a change of the value then finds all who do.
_OF_CLAIMS = (_VALUES_LEFT, _VALUES_CHANGED, _RELEASED, _CLAIMED)
_TAKE_OUT = proto.Command(take_out_misplaced=proto.TakeOutMisplaced())


class MissingParents(msgspec.Struct, frozen=True):
    """Parents on `parent_shard` that children on `child_shard` reference and that have no shadow there."""

    referenced_key: str
    parent_shard: int
    child_shard: int
    keys_json: bytes


class LateEffects(errors.NotSupported):
    """A trigger that waited for the commit had effects on other shards, some of which may be prepared already."""


class LockedTooLate(errors.Conflict):
    """Rows that are to move were changed before they were locked: the transaction is to be run again, locking early."""


class DistributedTransaction:
    """Used as an async context manager: rolled back at the end unless it was committed."""

    def __init__(self, nodes: Nodes, finisher: Finisher, gid: Gid) -> None:
        """Nothing is opened before it is needed. `gid.home` is the shard that decides."""
        self._nodes = nodes
        self._finisher = finisher
        self._gid = gid
        self._parts: dict[int, Part] = {}
        self._orders = StandingOrders()
        self._unresolved: list[MissingParents] = []
        self._lost: list[Strays] = []
        self._maybe_prepared: set[int] = set()
        self._prepare_unanswered: set[int] = set()
        self._ended = False

    async def __aenter__(self) -> DistributedTransaction:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._ended:
            await self._abandon()

    def lock_early(self) -> None:
        """Has rows that others live with locked before any change from now on: children that come wait for that."""
        self._orders.lock_early()

    async def run(
        self,
        statements: Mapping[int, Sequence[proto.RunStatement]],
        before_effects: Callable[[], Awaitable[object]] | None = None,
    ) -> dict[int, Results]:
        """Runs statements, by shard, and carries out their effects on all shards.

        They are one statement of the user: what they check waits until `check` or `commit`. `before_effects` is waited
        for if there are any effects.
        """
        commands = {shard: [proto.Command(run=run) for run in runs] for shard, runs in statements.items()}
        results = await self._send_all(commands)
        if before_effects is not None and _effects_of(results):
            await before_effects()
        await self._carry_out(results)
        return results

    async def check(self) -> None:
        """Checks on all shards what waits for the end of a statement."""
        await self._retry_unresolved()
        due = [shard for shard, part in self._parts.items() if part.check_is_due]
        await self._carry_out(await self._send_all({shard: [CHECK] for shard in due}))

    async def set_constraints(self, change: rows_pb2.SetConstraints) -> None:
        """Sets the modes of constraints on all shards, those that join later too.

        What becomes due waits for the next `check`. Raises UnknownConstraint and NotDeferrable, and what constraints
        say that do not wait for it.
        """
        command = proto.Command(set_constraints=change)
        results = await self._send_all({shard: [command] for shard in {self._gid.home, *self._parts}})
        self._orders.set_constraints(change)
        for part in self._parts.values():
            part.was_told()
        await self._carry_out(results)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone on every shard if it raises one of STATEMENT_ERRORS, which is raised on."""
        unresolved, lost = list(self._unresolved), list(self._lost)
        mark = self._orders.set_savepoint()
        try:
            yield
        except errors.STATEMENT_ERRORS:
            self._unresolved, self._lost = unresolved, lost
            await self._go_back(mark)
            raise
        self._release(mark)

    async def _go_back(self, mark: Mark) -> None:
        told = {shard: part for shard, part in self._parts.items() if part.knows(mark)}
        roll_back = self._orders.go_back(mark)
        for part in told.values():
            part.went_back(mark)
        await self._send_all({shard: [roll_back] for shard in told})

    def _release(self, mark: Mark) -> None:
        told = [part for part in self._parts.values() if part.knows(mark)]
        release = self._orders.release(mark)
        for part in told:
            part.release(release)

    async def commands(self, commands: Mapping[int, Sequence[proto.Command]]) -> dict[int, Results]:
        """Runs commands without effects, by shard, all shards at once."""
        return await self._send_all(commands)

    async def command(self, shard: int, command: proto.Command) -> proto.CommandResult:
        """Runs one command, without effects, on one shard."""
        results = await self._send_all({shard: [command]})
        return results[shard][0]

    async def install_schema(self, install: proto.InstallSchema, shards: Iterable[int]) -> None:
        """Installs a schema on the shards."""
        command = [proto.Command(install_schema=install)]
        await self._send_all(dict.fromkeys(shards, command))

    async def commit(self, last_statement: str | None = None) -> None:
        """Checks what the last statement left to be checked and commits on all shards.

        When it returns, every row can be read everywhere; only a participant that cannot be reached after the commit
        point is left to the resolver. Raises what a check says, with everything rolled back. If home's answer is lost,
        home is asked: Conflict if it did not commit, OutcomeUnknown if it does not say. Errors of the check at the end
        of the last statement name it.
        """
        await self._retry_unresolved()
        # Who only looked something up has nothing to commit.
        others = [shard for shard, part in self._parts.items() if shard != self._gid.home and not part.only_reads]
        # Home joins before anything is prepared: where it cannot, nothing is left behind.
        await self._part(self._gid.home)
        if others:
            await self._prepare(others, last_statement)
        # From here on the decision runs to its end, whatever happens to the client.
        self._ended = True
        await asyncio.shield(self._finisher.in_background(self._decide(others, last_statement)))

    async def _prepare(self, shards: Sequence[int], last_statement: str | None) -> None:
        # To the end: what is prepared after it was to be rolled back would hold its locks until it is resolved.
        try:
            results = await fan_out_to_the_end({shard: self._prepare_one(shard, last_statement) for shard in shards})
        except errors.STATEMENT_ERRORS as error:
            if last_statement is not None and "statement" not in error.metadata:
                await self._check_at_home(last_statement)
            raise
        _refuse_late_effects(results)

    async def _prepare_one(self, shard: int, last_statement: str | None) -> Results:
        """Notes what is to be rolled back by name if the transaction is abandoned."""
        prepare = proto.Command(prepare=proto.Prepare(gid=self._gid.participant(shard)))
        self._maybe_prepared.add(shard)
        self._prepare_unanswered.add(shard)
        try:
            results = await self._parts[shard].end(prepare, last_statement)
        except errors.STATEMENT_ERRORS:
            self._maybe_prepared.discard(shard)
            self._prepare_unanswered.discard(shard)
            raise
        self._prepare_unanswered.discard(shard)
        return results

    async def _check_at_home(self, last_statement: str) -> None:
        """What the last statement violates there is said rather than what only the commit elsewhere does."""
        home = self._parts[self._gid.home]
        if home.check_is_due:
            with naming_statement(last_statement):
                await home.send([CHECK])

    async def _decide(self, others: Sequence[int], last_statement: str | None) -> None:
        """The commit point."""
        home = await self._part(self._gid.home)
        commit = proto.Commit(decision_gid=str(self._gid) if others else "")
        try:
            results = await home.end(proto.Command(commit=commit), last_statement)
            _refuse_late_effects({self._gid.home: results})
        except errors.CrosskeyError as error:
            if says_rolled_back(error):
                await self._abandon()
                raise
            await self._ask_for_outcome(error, others)
            return
        await self._second_phase(others)

    async def _second_phase(self, others: Sequence[int]) -> None:
        only_pins = [shard for shard in others if self._parts[shard].only_pins]
        rest = [shard for shard in others if shard not in only_pins]
        await self._leave_all()
        if not rest:
            self._finisher.in_background(self._finisher.commit(self._gid, others))
            return
        await self._finisher.commit(self._gid, others)

    async def _ask_for_outcome(self, error: errors.CrosskeyError, others: Sequence[int]) -> None:
        """Home's answer was lost. Returns if home says that it committed: all else was answered before.

        Raises as `raise_rolled_back` if it did not, and OutcomeUnknown if it cannot be asked.
        """
        await self._leave_all()
        if not others:
            raise errors.OutcomeUnknown("the connection to the shard that commits was lost") from error
        committed = await self._finisher.settle(self._gid, others)
        if committed is None:
            raise errors.OutcomeUnknown(
                "the connection to the shard that decides was lost at the commit point"
            ) from error
        if not committed:
            raise_rolled_back(error)

    async def _part(self, shard: int) -> Part:
        part = self._parts.get(shard)
        if part is None:
            part = self._parts[shard] = Part(self._orders)
            await part.join(self._nodes.participate(shard))
        return part

    async def _send_all(self, commands: Mapping[int, Sequence[proto.Command]]) -> dict[int, Results]:
        """Sends each shard its commands, all shards at once. Raises the first error."""
        parts = {shard: await self._part(shard) for shard in commands}
        send = fan_out_to_the_end if self._orders.behind_savepoint else fan_out
        return await send({shard: parts[shard].send(commands[shard]) for shard in commands})

    async def _carry_out(self, results: Mapping[int, Results]) -> None:
        """Carries out effects on other shards, and the effects of these, until there are none.

        Rows that belong to another shard are taken out last, when they are as they are to be; those that live with a
        parent elsewhere when all parents are where they are to be.

        Each round follows one more reference, and how long a chain of rows is only the user knows. What never ends, as
        triggers of the user's may not, the deadline of the request ends. Raises DeadlineExceeded.
        """
        misplaced: set[int] = set()
        strays: list[Strays] = []
        while True:
            current_call_context().remaining_seconds()
            effects = _effects_of(results)
            _refuse_late_locks(effects)
            misplaced.update(effect.shard for _, effect in effects if effect.kind == _MISPLACED)
            await self._resolve([_missing(shard, effect) for shard, effect in effects if effect.kind == _MISSING])
            strays += [Strays.of(shard, effect) for shard, effect in effects if effect.kind == _STRAY]
            others = [(shard, effect) for shard, effect in effects if effect.kind not in _LATE]
            if others:
                results = await self._send_effects(others)
            elif misplaced:
                results = await self._send_all({shard: [_TAKE_OUT] for shard in misplaced})
                misplaced.clear()
            elif strays:
                results = await self._take_home(strays)
                strays = []
            else:
                return

    async def _send_effects(self, effects: Sequence[tuple[int, proto.Effect]]) -> dict[int, Results]:
        commands: dict[int, list[proto.Command]] = defaultdict(list)
        of_claims = [(shard, effect) for shard, effect in effects if effect.kind in _OF_CLAIMS]
        for shard, effect in sorted(of_claims, key=lambda one: _OF_CLAIMS.index(one[1].kind)):
            commands[effect.shard].append(_claim_command(shard, effect))
        for effect in merge_rekeyed(effect for _, effect in effects if effect.kind not in _OF_CLAIMS):
            commands[effect.shard].append(_command_for(effect))
        return await self._send_all(commands)

    async def _resolve(self, missing: Sequence[MissingParents]) -> None:
        """Pins parents on their shards, then adds their shadows on the children's."""
        pins: dict[int, list[MissingParents]] = defaultdict(list)
        for parents in missing:
            pins[parents.parent_shard].append(parents)
        answers = await self._send_all({shard: [pin_command(one) for one in many] for shard, many in pins.items()})
        shadows: dict[int, list[proto.Command]] = defaultdict(list)
        for shard, many in pins.items():
            for parents, answer in zip(many, answers[shard], strict=True):
                if answer.count:
                    shadows[parents.child_shard].append(shadow_command(parents.referenced_key, answer.rows_json))
                if answer.count < len(msgspec.json.decode(parents.keys_json)):
                    self._unresolved.append(parents)
        await self._send_all(shadows)

    async def _take_home(self, strays: Sequence[Strays]) -> dict[int, Results]:
        """Takes rows out of shards where their parents are not; what they come to are the effects of that."""
        answers = await self._send_all(look_ups(strays))
        commands, lost = take_outs(strays, answers)
        self._lost += lost
        return await self._send_all(commands)

    async def _retry_unresolved(self) -> None:
        """A parent that was absent may have been inserted since, on another shard."""
        unresolved, self._unresolved = self._unresolved, []
        await self._resolve(unresolved)
        lost, self._lost = self._lost, []
        if lost:
            await self._carry_out(await self._take_home(lost))

    async def _abandon(self) -> None:
        """Rolls back, whatever happens to the client.

        Home has not been asked to commit, or has refused to, and its stream is closed: it never will commit.
        """
        self._ended = True
        leaving = self._finisher.in_background(self._leave_all())
        if self._maybe_prepared:
            self._finisher.in_background(self._roll_back_prepared(leaving))
        await asyncio.shield(leaving)

    async def _roll_back_prepared(self, leaving: asyncio.Task[None]) -> None:
        """The streams' ends roll back what is not prepared; what may be prepared is rolled back by name."""
        await asyncio.wait({leaving})
        unanswered = bool(self._prepare_unanswered)
        await self._finisher.roll_back(self._gid, sorted(self._maybe_prepared), unanswered=unanswered)

    async def _leave_all(self) -> None:
        await asyncio.gather(*(part.leave() for part in self._parts.values()))


def pin_command(parents: MissingParents) -> proto.Command:
    """Pins parents, on their shard."""
    return proto.Command(
        pin=proto.PinParents(
            referenced_key=parents.referenced_key, for_shard=parents.child_shard, keys_json=parents.keys_json
        )
    )


def shadow_command(referenced_key: str, keys_json: bytes) -> proto.Command:
    """Adds shadows, on the children's shard."""
    return proto.Command(add_shadows=proto.AddShadows(referenced_key=referenced_key, keys_json=keys_json))


def _claim_command(for_shard: int, effect: proto.Effect) -> proto.Command:
    """Claims values of rows on a shard, releases them, or changes what references rows by them."""
    if effect.kind == _VALUES_CHANGED:
        change = proto.ChangeValues(
            referenced_key=effect.referenced_key,
            for_shard=for_shard,
            old_keys_json=effect.keys_json,
            new_keys_json=effect.new_keys_json,
        )
        return proto.Command(change_values=change)
    if effect.kind in (_RELEASED, _VALUES_LEFT):
        release = proto.ReleaseValues(
            claim=effect.referenced_key,
            for_shard=for_shard,
            keys_json=effect.keys_json,
            keep_pins=effect.kind == _VALUES_LEFT,
        )
        return proto.Command(release_values=release)
    claim = proto.ClaimValues(claim=effect.referenced_key, for_shard=for_shard, keys_json=effect.keys_json)
    return proto.Command(claim_values=claim)


def _command_for(effect: proto.Effect) -> proto.Command:
    """What carries out an effect on its shard; parents that are missing there take more than one command."""
    match effect.kind:
        case proto.Effect.KIND_ROWS_MOVED:
            place = proto.PlaceRows(table=effect.referenced_key, rows_json=effect.keys_json)
            return proto.Command(place_rows=place)
        case proto.Effect.KIND_PINS_MOVED:
            restore = proto.RestorePins(
                referenced_key=effect.referenced_key, keys_json=effect.keys_json, shards_json=effect.new_keys_json
            )
            return proto.Command(restore_pins=restore)
    change = proto.ChangeShadows(
        referenced_key=effect.referenced_key, old_keys_json=effect.keys_json, new_keys_json=effect.new_keys_json
    )
    return proto.Command(change_shadows=change)


def says_rolled_back(error: errors.CrosskeyError) -> bool:
    """Whether a node that was asked to commit is sure not to have done so: it answered, in its own words."""
    return error.answered and not isinstance(error, errors.OutcomeUnknown | errors.InternalError)


def raise_rolled_back(error: errors.CrosskeyError) -> NoReturn:
    """Raises what an answer of home's that was lost comes to when home has since said that it rolled back.

    That left no trace, so it is a Conflict, and run again. Deadlines and what nobody foresaw stay what they are.
    """
    if isinstance(error, errors.OutcomeUnknown | errors.ShardUnavailable):
        shard = error.metadata.get("shard")
        raise errors.Conflict(
            "the connection to the shard that decides was lost before it committed", shard=shard
        ) from error
    raise error


def _effects_of(results: Mapping[int, Results]) -> list[tuple[int, proto.Effect]]:
    """Each effect with the shard that it came from."""
    return [(shard, effect) for shard, answers in results.items() for answer in answers for effect in answer.effects]


def _missing(child_shard: int, effect: proto.Effect) -> MissingParents:
    return MissingParents(effect.referenced_key, effect.shard, child_shard, effect.keys_json)


def _refuse_late_locks(effects: Iterable[tuple[int, proto.Effect]]) -> None:
    """Raises LockedTooLate if a shard has answered so."""
    for shard, effect in effects:
        if effect.kind == _LOCKED_TOO_LATE:
            raise LockedTooLate(f"rows of shard {shard} that are to move were changed before they were locked")


def _refuse_late_effects(results: Mapping[int, Results]) -> None:
    """Raises LateEffects if anything has effects that can no longer be carried out."""
    if any(answer.effects for answers in results.values() for answer in answers):
        raise LateEffects(
            "a trigger that waited for the commit changed rows that other shards reference",
            hint="Make the trigger INITIALLY IMMEDIATE.",
        )

"""One transaction over several shards: statements and their effects, until two-phase commit ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from crosskey import errors
from crosskey.internal.v1 import effects_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.fan_out import fan_out, fan_out_to_the_end
from crosskey.router.calls.nodes import BranchCalls, Nodes
from crosskey.router.committing.branch import OpenBranch, Results
from crosskey.router.committing.effect_queue import EffectQueue
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.committing.preamble import Mark, Preamble
from crosskey.router.committing.tags import CHECK, tag_of
from crosskey.router.committing.two_phase_commit import TwoPhaseCommit
from crosskey.router.committing.waiting_for_prepared import wait_for_prepared
from crosskey.v1 import rows_pb2

_CHECK = proto.Command(check=CHECK)
_CHECK_ALL = proto.Command(set_constraints=rows_pb2.SetConstraints(deferred=False))


class Savepoint(NamedTuple):
    """A savepoint, and the effects that waited for absent parents when it was set."""

    mark: Mark
    absent: tuple[effects_pb2.Effect, ...]


class DistributedTransaction:
    """Used as an async context manager: rolled back at the end unless it was committed."""

    def __init__(self, nodes: Nodes, finisher: Finisher, gid: Gid, *, copies_may_wait: bool = False) -> None:
        """Nothing is opened before it is needed. `gid.home` is the shard that decides, if anything is written there.

        With `copies_may_wait`, rows may be answered before the values that they copy are known.
        """
        self._nodes = nodes
        self._copies_may_wait = copies_may_wait
        self._finisher = finisher
        self._home = gid.home
        self._end = TwoPhaseCommit(gid, finisher)
        self._branches: dict[int, OpenBranch] = {}
        self._preamble = Preamble()
        self._absent: list[effects_pb2.Effect] = []
        self._over = False

    async def __aenter__(self) -> DistributedTransaction:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Rolls back, unless it was committed. Goes on to its end if it is cancelled."""
        if not self._over:
            self._over = True
            await self._end.abandon([*self._branches.values()])

    @property
    def nodes(self) -> Nodes:
        """The shards as others see them, without what the transaction has done."""
        return self._nodes

    @property
    def has_begun(self) -> bool:
        """Whether any shard takes part yet."""
        return bool(self._branches)

    @property
    def nearest(self) -> int:
        """A shard that takes part, or else home: where to read what is the same on all shards."""
        return self._home if self._home in self._branches else next(iter(self._branches), self._home)

    @property
    def home(self) -> int:
        """The shard that decides."""
        return self._home

    def lock_early(self) -> None:
        """Has rows that others live with locked before any change from now on: children that come wait for that."""
        self._preamble.lock_early()

    def adopt(self, calls: BranchCalls, done: Sequence[proto.Command]) -> None:
        """Takes over home's branch, which was begun alone and has run those commands."""
        branch = self._branches[self._home] = OpenBranch(self._home, calls, self._preamble)
        branch.note(done)

    async def run(
        self,
        statements: Mapping[int, Sequence[proto.Statement]],
        before_effects: Callable[[], Awaitable[object]] | None = None,
        *,
        check: bool = False,
    ) -> dict[int, Results]:
        """Runs statements, by shard, and applies their effects on all shards.

        They are one statement of the user: what they check waits until `check` or `commit`. With `check` it is checked
        along with them if that can be: on one shard, unless there are effects, which come first. `before_effects` is
        waited for if there are any effects.
        """
        commands = {shard: [proto.Command(run=run) for run in runs] for shard, runs in statements.items()}
        if check and len(commands) == 1:
            next(iter(commands.values())).append(_CHECK)
        results = await self._send_all(commands)
        if before_effects is not None and any(result.effects for each in results.values() for result in each):
            await before_effects()
        await self.apply_effects(results.values())
        return results

    async def check(self) -> None:
        """Checks on all shards what waits for the end of a statement."""
        await self._apply_absent()
        due = [shard for shard, branch in self._branches.items() if branch.check_is_due]
        await self.apply_effects((await self._send_all({shard: [_CHECK] for shard in due})).values())

    async def set_constraints(self, change: rows_pb2.SetConstraints) -> None:
        """Sets the modes of constraints on all shards, those that join later too.

        What becomes due waits for the next `check`. Raises UnknownConstraint and NotDeferrable, and what constraints
        say that do not wait for it.
        """
        command = proto.Command(set_constraints=change)
        results = await self._send_all({shard: [command] for shard in {self._home, *self._branches}})
        self._preamble.set_constraints(change)
        for branch in self._branches.values():
            branch.was_told()
        await self.apply_effects(results.values())

    async def check_deferred(self) -> None:
        """Checks what waits for the commit, wherever something was written, and what comes of that on all shards."""
        await self._apply_absent()
        writers = {shard: branch for shard, branch in self._branches.items() if not branch.only_reads}
        # Of several shards, one may have effects that another one must not be checked without.
        commands = [_CHECK_ALL, _CHECK] if len(writers) == 1 else [_CHECK_ALL]
        results = await self._send_all(dict.fromkeys(writers, commands))
        self._preamble.set_constraints(_CHECK_ALL.set_constraints)
        for branch in writers.values():
            branch.was_told()
        await self.apply_effects(results.values())
        await self.check()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone on every shard if it raises one of STATEMENT_ERRORS, which is raised on."""
        savepoint = self.set_savepoint()
        try:
            yield
        except errors.STATEMENT_ERRORS:
            await self.roll_back_to(savepoint)
            raise
        self.release(savepoint)

    def set_savepoint(self) -> Savepoint:
        """Sets a savepoint, of which each shard learns with its next command."""
        return Savepoint(self._preamble.set_savepoint(), tuple(self._absent))

    async def roll_back_to(self, savepoint: Savepoint) -> None:
        """Undoes on every shard what was done since the savepoint, and forgets it, and those behind it."""
        self._absent = [*savepoint.absent]
        mark = savepoint.mark
        told = {shard: branch for shard, branch in self._branches.items() if branch.knows(mark)}
        roll_back = self._preamble.go_back(mark)
        for branch in told.values():
            branch.went_back(mark)
        await self._send_all({shard: [roll_back] for shard in told})

    def release(self, savepoint: Savepoint) -> None:
        """Forgets the last savepoint, and keeps what was done since."""
        told = [branch for branch in self._branches.values() if branch.knows(savepoint.mark)]
        release = self._preamble.release(savepoint.mark)
        for branch in told:
            branch.release(release)

    async def commands(self, commands: Mapping[int, Sequence[proto.Command]]) -> dict[int, Results]:
        """Runs commands without effects, by shard, all shards at once; each is to answer something."""
        return await self._send_all(commands)

    async def command(self, shard: int, command: proto.Command) -> proto.CommandResult:
        """Runs one command, without effects, on one shard. What answers nothing answers an empty result."""
        results = await self._send_all({shard: [command]})
        return next(iter(results[shard]), proto.CommandResult())

    async def wait_for_prepared(self, shards: Iterable[int]) -> None:
        """Returns once the next command sees, on those shards, all that was committed anywhere until now.

        Raises Conflict if what is prepared there stays so for too long, and what nodes raise.
        """
        await wait_for_prepared(self._nodes, shards)

    async def install_schema(self, install: proto.InstallSchema, shards: Iterable[int]) -> None:
        """Installs a schema on the shards."""
        command = [proto.Command(install_schema=install)]
        await self._send_all(dict.fromkeys(shards, command))

    async def flip_schema(self, flips: Mapping[int, proto.FlipSchema]) -> None:
        """Changes the schema, by shard."""
        await self._send_all({shard: [proto.Command(flip_schema=flip)] for shard, flip in flips.items()})

    async def commit(self, last_statement: str = "", keep: proto.Keep | None = None) -> None:
        """Checks what the last statement left to be checked and commits on all shards.

        When it returns, every row can be read everywhere; only a branch that cannot be reached after the commit point
        is left to the resolver. Raises what a check says, with everything rolled back, and OutcomeUnknown if home does
        not answer. Errors of the check at the end of the last statement name it. Raises LateEffects if what waited for
        the commit had effects.

        The answer to `keep` is kept by home. Raises AlreadyAnswered, with everything rolled back, if there is one.
        """
        await self._apply_absent()
        if keep is not None:
            self._branch(self._home).keep_at_commit(keep)
        self._choose_home()
        home = self._branch(self._home)
        others = [branch for branch in self._branches.values() if branch is not home]
        for branch in self._branches.values():
            branch.last_statement = last_statement
        # Who only looked something up has nothing to commit.
        writers = [branch for branch in others if not branch.only_reads]
        await self._prepare(writers, home)
        self._over = True
        await self._end.decide(home, writers, [branch for branch in others if branch.only_reads])

    def _choose_home(self) -> None:
        """Lets a shard decide where something was written: else all those shards would prepare.

        The gid is made now, as nodes refuse old ones: the transaction may have gone on for long.
        """
        if self._home not in self._branches or self._branches[self._home].only_reads:
            writers = (shard for shard, branch in self._branches.items() if not branch.only_reads)
            self._home = next(writers, self.nearest)
        self._end = TwoPhaseCommit(self._end.gid.anew(self._home), self._finisher)

    async def _prepare(self, others: Sequence[OpenBranch], home: OpenBranch) -> None:
        try:
            await self._end.prepare(others)
        except errors.STATEMENT_ERRORS as error:
            # What the last statement violates at home is said rather than what only the commit elsewhere does.
            if home.last_statement and "statement" not in error.metadata and home.check_is_due:
                await home.send([proto.Command(tag=tag_of(home.last_statement), check=CHECK)])
            raise

    def _branch(self, shard: int) -> OpenBranch:
        branch = self._branches.get(shard)
        if branch is None:
            branch = self._branches[shard] = OpenBranch(shard, self._nodes[shard].branch(), self._preamble)
        return branch

    async def _send_all(self, commands: Mapping[int, Sequence[proto.Command]]) -> dict[int, Results]:
        """Sends each shard its commands, all shards at once. Raises the first error."""
        send = fan_out_to_the_end if self._preamble.behind_savepoint else fan_out
        return await send({shard: self._branch(shard).send(those) for shard, those in commands.items()})

    async def apply_effects(self, results: Iterable[Results]) -> None:
        """Applies the effects of results on all shards, and the effects of these, until there are none.

        Raises LockedTooLate, CopiesUnseen, and what shards raise. Effects that do not end are ended by the deadline of
        the request.
        """
        queue = EffectQueue(copies_may_wait=self._copies_may_wait)
        for each in results:
            queue.add_from(each)
        await self._apply(queue)

    async def _apply(self, queue: EffectQueue) -> None:
        while turn := queue.next_turn():
            commands = {shard: [*map(_apply_command, range(len(effects)), effects)] for shard, effects in turn.items()}
            for shard, results in (await self._send_all(commands)).items():
                for result in results:
                    self._take(queue, turn[shard][int(result.tag)], result)

    def _take(self, queue: EffectQueue, effect: effects_pb2.Effect, result: proto.CommandResult) -> None:
        """Queues what came of an effect, and remembers what is to be tried once more: a parent may come until then."""
        if effect.HasField("change_values"):
            for further in result.effects:
                if further.HasField("rekey_shadows"):
                    further.rekey_shadows.once = True
        waits = [result.parents_absent and further.HasField("find_anchors") for further in result.effects]
        self._absent += [further for further, waiting in zip(result.effects, waits, strict=True) if waiting]
        queue.add(further for further, waiting in zip(result.effects, waits, strict=True) if not waiting)
        if result.parents_absent and effect.HasField("pin_parents"):
            self._absent.append(effect)

    async def _apply_absent(self) -> None:
        """A parent that was absent may have been inserted since, on another shard."""
        absent, self._absent = self._absent, []
        queue = EffectQueue(copies_may_wait=self._copies_may_wait)
        queue.add(absent)
        await self._apply(queue)


def _apply_command(place: int, effect: effects_pb2.Effect) -> proto.Command:
    """Tagged with its place among the effects of one shard in one turn."""
    return proto.Command(tag=str(place), apply=effect)

"""One shard's part of a distributed transaction (a branch, in the word of XA)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.nodes import BranchCalls
from crosskey.router.committing.preamble import Mark, Preamble
from crosskey.router.committing.tags import CHECK, naming_tagged, tag_of

# No client can see what these do: whoever follows a claim looks whether the row is there.
_READS = frozenset({"ask", "look_up_claims", "compute_values", "check", "find_anchors"})
_UNSEEN = _READS | {"pin_parents", "claim_values", "release_values", "change_values", "savepoint", "set_constraints"}
_MAKE_NOTHING_DUE = _READS | {"savepoint", "install_schema", "flip_schema"}

Results = Sequence[proto.CommandResult]


class Branch(Protocol):
    """A branch as two-phase commit sees it, whether it did everything in one message or goes on for several."""

    @property
    def shard(self) -> int:
        """Where it is."""
        ...

    @property
    def unseen(self) -> bool:
        """Whether no client can see what it did, so that nobody need wait for its second phase."""
        ...

    @property
    def answers_at_commit(self) -> bool:
        """Whether the answer to the commit holds more than that it is committed."""
        ...

    async def prepare(self, gid: str) -> None:
        """Does what is left to be done and prepares, under that gid.

        Raises one of STATEMENT_ERRORS if the shard refuses: nothing is prepared then. After any other error it may be.
        """
        ...

    async def commit(self, decision_gid: str) -> None:
        """Does what is left to be done and commits; with the decision, unless that is empty."""
        ...

    async def leave(self) -> None:
        """Rolls back what is neither prepared nor committed. Raises nothing."""
        ...


class LateEffects(errors.NotSupported):
    """What waited for the commit had effects on other shards, some of which may be prepared already."""

    def __init__(self) -> None:
        super().__init__(
            "a trigger that waited for the commit changed rows that other shards reference",
            hint="Make the trigger INITIALLY IMMEDIATE.",
        )


class OpenBranch:
    """A branch that is sent commands for as long as its transaction goes on."""

    def __init__(self, shard: int, calls: BranchCalls, preamble: Preamble) -> None:
        """Begins with the first commands."""
        self.shard = shard
        self._calls = calls
        self._preamble = preamble
        self._told = 0
        self._turn = asyncio.Lock()
        """Held by whoever sends commands: reads come several at once, and the first commands begin the branch."""
        self._to_release: list[proto.Command] = []
        self.answers_at_commit = False
        self.last_statement = ""
        """What an error of the check at the end names."""
        self.unseen = True
        """Whether no client can see what it did."""
        self.only_reads = True
        """Whether it has only looked things up."""
        self.keep: proto.Keep | None = None
        """The answer that is to be kept with its commit."""
        self.check_is_due = False
        """Whether it did something since constraints were checked there."""

    async def send(self, commands: Sequence[proto.Command]) -> Results:
        """Runs commands, behind those of the preamble that it was not told yet. Raises what the node answers."""
        with naming_tagged():
            return (await self._exchange(commands)).results

    async def prepare(self, gid: str) -> None:
        """As Branch.prepare. Raises LateEffects too."""
        await self._end(proto.Command(prepare=proto.Prepare(gid=gid)))

    async def commit(self, decision_gid: str) -> None:
        """As Branch.commit. Raises LateEffects and AlreadyAnswered too."""
        await self._end(proto.Command(commit=proto.Commit(decision_gid=decision_gid, keep=self.keep)))

    def keep_at_commit(self, keep: proto.Keep) -> None:
        """Has an answer kept by the commit, which is something to commit."""
        self.keep = keep
        self.only_reads = False

    async def _end(self, command: proto.Command) -> None:
        """The check that ends the last statement, and the command; an error of that check names it."""
        due = [proto.Command(tag=tag_of(self.last_statement), check=CHECK)] if self.check_is_due else []
        with naming_tagged():
            response = await self._exchange([*due, command])
        if not response.finished:
            raise LateEffects

    async def _exchange(self, commands: Sequence[proto.Command]) -> proto.RunResponse:
        async with self._turn:
            first = [*self._to_release, *self._preamble.since(self._told)]
            self._to_release = []
            self.was_told()
            self.note(commands)
            response = await self._calls.run([*first, *commands])
            # A check behind commands that have effects is not run.
            self.check_is_due = self.check_is_due or any(result.effects for result in response.results)
            return response

    def note(self, commands: Sequence[proto.Command]) -> None:
        """Notes what the commands mean for the end of the branch."""
        for command in commands:
            kind = _kind(command)
            if kind in ("prepare", "commit"):
                continue
            self.unseen = self.unseen and kind in _UNSEEN
            self.only_reads = self.only_reads and kind in _READS
            self.check_is_due = kind != "check" and (self.check_is_due or _makes_due(kind, command))

    def was_told(self) -> None:
        """To be said when the shard was sent all that is in the preamble now."""
        self._told = len(self._preamble)

    def knows(self, mark: Mark) -> bool:
        """Whether the savepoint is set there."""
        return self._told > mark.place

    def went_back(self, mark: Mark) -> None:
        """To be said once the savepoint is dropped from the preamble, before the branch is sent the roll back."""
        self._told = mark.place

    def release(self, command: proto.Command) -> None:
        """To be said once the savepoint, which was set there, is dropped from the preamble."""
        self._to_release.append(command)
        self._told -= 1

    async def leave(self) -> None:
        """As Branch.leave."""
        await self._calls.leave()


def _kind(command: proto.Command) -> str:
    """The command, or which effect it applies."""
    kind = command.WhichOneof("command") or ""
    return command.apply.WhichOneof("effect") or "" if kind == "apply" else kind


def _makes_due(kind: str, command: proto.Command) -> bool:
    """Whether a constraint may have to be checked after the command."""
    return kind not in _MAKE_NOTHING_DUE and not (kind == "set_constraints" and command.set_constraints.deferred)

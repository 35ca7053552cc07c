"""A shard's part in a distributed transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from router.calls.participant import Participant
from router.committing.standing_orders import Mark, StandingOrders

CHECK = proto.Command(check=proto.CheckConstraints())

# No client can see what these do: whoever follows a claim looks whether the row is there.
_READS = frozenset({"look_up_claims", "check"})
_UNSEEN = _READS | {"pin", "claim_values", "release_values", "change_values", "savepoint", "set_constraints", "prepare"}
_MAKE_NOTHING_DUE = frozenset({"look_up_claims", "check", "savepoint", "install_schema", "prepare", "commit"})

Results = list[proto.CommandResult]


class Part:
    """What one shard is asked to do, on a connection of its own."""

    def __init__(self, orders: StandingOrders) -> None:
        self._stack = AsyncExitStack()
        self._orders = orders
        self._told = 0
        self._to_release: list[proto.Command] = []
        self.only_pins = True
        """Whether it has done nothing but pin parents: no client can read a pin, so nobody waits for its commit."""
        self.only_reads = True
        """Whether it has only looked things up."""
        self.check_is_due = False
        """Whether it did something since constraints were checked there."""

    async def join(self, participant: AbstractAsyncContextManager[Participant]) -> None:
        """Begins the shard's part."""
        self._participant = await self._stack.enter_async_context(participant)

    async def send(self, commands: Sequence[proto.Command]) -> Results:
        """Runs commands on the shard, behind those that it must be told first. Raises what the node answers."""
        try:
            return await self._exchange(commands)
        except errors.CrosskeyError as error:
            error.metadata.pop("command", None)
            raise

    async def end(self, command: proto.Command, last_statement: str | None) -> Results:
        """Prepares or commits, after the check that ends the last statement; an error of that check names it."""
        due = [CHECK] if self.check_is_due else []
        try:
            return await self._exchange([*due, command])
        except errors.CrosskeyError as error:
            place = error.metadata.pop("command", None)
            if due and place == "0" and last_statement is not None:
                error.metadata["statement"] = last_statement
            raise

    async def _exchange(self, commands: Sequence[proto.Command]) -> Results:
        """An error names the place of its command among `commands`."""
        first = [*self._to_release, *self._orders.since(self._told)]
        self._to_release = []
        self.was_told()
        self._note(commands)
        try:
            return list(await self._participant.run([*first, *commands]))[len(first) :]
        except errors.CrosskeyError as error:
            if "command" in error.metadata:
                error.metadata["command"] = str(int(error.metadata["command"]) - len(first))
            raise

    def _note(self, commands: Sequence[proto.Command]) -> None:
        for command in commands:
            kind = command.WhichOneof("command")
            self.only_pins = self.only_pins and kind in _UNSEEN
            self.only_reads = self.only_reads and kind in _READS
            self.check_is_due = kind != "check" and (self.check_is_due or _makes_due(command))

    def was_told(self) -> None:
        """To be said when the shard was sent all that is in the orders now."""
        self._told = len(self._orders)

    def knows(self, mark: Mark) -> bool:
        """Whether the savepoint is set there."""
        return self._told > mark.place

    def went_back(self, mark: Mark) -> None:
        """To be said once the savepoint is dropped from the orders, before the part is sent the roll back."""
        self._told = mark.place

    def release(self, command: proto.Command) -> None:
        """To be said once the savepoint, which was set there, is dropped from the orders."""
        self._to_release.append(command)
        self._told -= 1

    async def leave(self) -> None:
        """Ends the shard's part; what is neither prepared nor committed is rolled back."""
        await self._stack.aclose()


def _makes_due(command: proto.Command) -> bool:
    """Whether a constraint may have to be checked after the command."""
    kind = command.WhichOneof("command")
    return kind not in _MAKE_NOTHING_DUE and not (kind == "set_constraints" and command.set_constraints.deferred)

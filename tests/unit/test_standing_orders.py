"""What participants are told first: savepoints and constraint modes, to those that join late too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from crosskey import errors
from crosskey.v1 import rows_pb2
from crosskey.v1 import shard_node_pb2 as proto
from router.committing.part import CHECK, Part
from router.committing.standing_orders import StandingOrders

RUN = proto.Command(run=proto.RunStatement(table="public.t"))
PIN = proto.Command(pin=proto.PinParents())
PREPARE = proto.Command(prepare=proto.Prepare(gid="g"))
DEFER = rows_pb2.SetConstraints(deferred=True)


class RecordingParticipant:
    """Answers each command with its place among all that it got; fails where it is told to."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.fails_at: int | None = None

    async def run(self, commands: Sequence[proto.Command]) -> Sequence[proto.CommandResult]:
        """Notes the commands by name."""
        first = len(self.got)
        self.got += map(_name, commands)
        if self.fails_at is not None:
            raise errors.UniqueViolation("taken", command=self.fails_at)
        return [proto.CommandResult(count=first + place) for place in range(len(commands))]


def _name(command: proto.Command) -> str:
    if command.WhichOneof("command") != "savepoint":
        return str(command.WhichOneof("command"))
    action = proto.Savepoint.Action.Name(command.savepoint.action).removeprefix("ACTION_")
    return f"{action} {command.savepoint.level}"


@asynccontextmanager
async def _given(participant: RecordingParticipant) -> AsyncIterator[RecordingParticipant]:
    yield participant


async def joined(orders: StandingOrders) -> tuple[Part, RecordingParticipant]:
    part, participant = Part(orders), RecordingParticipant()
    await part.join(_given(participant))
    return part, participant


async def test_savepoints_travel_with_the_next_command() -> None:
    orders = StandingOrders()
    part, participant = await joined(orders)
    orders.set_savepoint()
    orders.set_savepoint()
    assert participant.got == []
    assert [result.count for result in await part.send([RUN])] == [2]
    await part.send([RUN])
    assert participant.got == ["SET 1", "SET 2", "run", "run"]


async def test_a_late_part_is_told_what_still_counts() -> None:
    orders = StandingOrders()
    orders.set_constraints(DEFER)
    orders.go_back(orders.set_savepoint())
    kept = orders.set_savepoint()
    orders.set_constraints(DEFER)
    orders.release(kept)
    orders.set_savepoint()
    part, participant = await joined(orders)
    await part.send([RUN])
    assert participant.got == ["set_constraints", "set_constraints", "SET 1", "run"]


async def test_a_release_travels_with_the_next_command_too() -> None:
    orders = StandingOrders()
    part, participant = await joined(orders)
    outer, inner = orders.set_savepoint(), orders.set_savepoint()
    await part.send([RUN])
    for mark in (inner, outer):
        assert part.knows(mark)
        part.release(orders.release(mark))
    assert not orders.behind_savepoint
    orders.set_savepoint()
    await part.send([RUN])
    assert participant.got == ["SET 1", "SET 2", "run", "RELEASE 2", "RELEASE 1", "SET 1", "run"]


async def test_only_who_knows_a_savepoint_goes_back() -> None:
    orders = StandingOrders()
    told, participant = await joined(orders)
    late, _ = await joined(orders)
    mark = orders.set_savepoint()
    orders.set_constraints(DEFER)
    await told.send([RUN])
    assert told.knows(mark)
    assert not late.knows(mark)
    roll_back = orders.go_back(mark)
    told.went_back(mark)
    await told.send([roll_back])
    await told.send([RUN])
    assert participant.got == ["SET 1", "set_constraints", "run", "ROLL_BACK 1", "run"]


async def test_a_check_that_is_due_comes_with_the_end() -> None:
    orders = StandingOrders()
    part, participant = await joined(orders)
    await part.send([RUN])
    assert part.check_is_due
    assert [result.count for result in await part.end(PREPARE, None)] == [1, 2]
    assert participant.got == ["run", "check", "prepare"]
    part, participant = await joined(orders)
    await part.send([RUN, CHECK])
    assert not part.check_is_due
    await part.end(PREPARE, None)
    assert participant.got == ["run", "check", "prepare"]


@pytest.mark.parametrize(("fails_at", "statement"), [(1, "3"), (2, None)])
async def test_the_check_at_the_end_names_the_last_statement(fails_at: int, statement: str | None) -> None:
    orders = StandingOrders()
    part, participant = await joined(orders)
    await part.send([RUN])
    orders.set_savepoint()
    participant.fails_at = fails_at
    with pytest.raises(errors.UniqueViolation) as caught:
        await part.end(PREPARE, "3")
    assert caught.value.metadata == ({} if statement is None else {"statement": statement})


async def test_only_pins_are_nothing_that_a_client_can_see() -> None:
    orders = StandingOrders()
    orders.set_savepoint()
    orders.set_constraints(DEFER)
    part, _ = await joined(orders)
    await part.send([PIN, CHECK])
    assert part.only_pins
    await part.send([RUN])
    assert not part.only_pins

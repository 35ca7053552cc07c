"""What branches are told first: savepoints and constraint modes, to those that join late too."""

from __future__ import annotations

import pytest

from crosskey import errors
from crosskey.internal.v1 import effects_pb2, session_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.branch import LateEffects, OpenBranch
from crosskey.router.committing.preamble import Preamble
from crosskey.v1 import rows_pb2
from tests.fake_nodes import FakeNode

RUN = proto.Command(run=proto.Statement(table="public.t"))
CHECK = proto.Command(check=proto.CheckConstraints())
PIN = proto.Command(apply=effects_pb2.Effect(pin_parents=effects_pb2.PinParents()))
DEFER = rows_pb2.SetConstraints(deferred=True)


class RecordingNode(FakeNode):
    """Answers nothing but what it has done; fails where it is told to."""

    def __init__(self) -> None:
        super().__init__(0, self._answer)
        self.got: list[str] = []
        self.tags: list[str] = []
        self.fails_at = ""
        self.finishes = True

    async def _answer(self, _: int, call: session_pb2.Call) -> session_pb2.Answer:
        """Notes the commands by name."""
        self.got += map(_name, call.run.commands)
        self.tags += [command.tag for command in call.run.commands]
        for command in call.run.commands:
            if command.WhichOneof("command") == self.fails_at:
                error = errors.UniqueViolation("taken")
                error.metadata["tag"] = command.tag
                raise error
        return session_pb2.Answer(run=proto.RunResponse(finished=self.finishes))


def _name(command: proto.Command) -> str:
    if command.WhichOneof("command") != "savepoint":
        return str(command.WhichOneof("command"))
    action = proto.Savepoint.Action.Name(command.savepoint.action).removeprefix("ACTION_")
    return f"{action} {command.savepoint.level}"


def joined(preamble: Preamble) -> tuple[OpenBranch, RecordingNode]:
    node = RecordingNode()
    return OpenBranch(0, node.branch(), preamble), node


async def test_savepoints_travel_with_the_next_command() -> None:
    preamble = Preamble()
    branch, node = joined(preamble)
    preamble.set_savepoint()
    preamble.set_savepoint()
    assert node.got == []
    await branch.send([RUN])
    await branch.send([RUN])
    assert node.got == ["SET 1", "SET 2", "run", "run"]


async def test_a_late_branch_is_told_what_still_counts() -> None:
    preamble = Preamble()
    preamble.set_constraints(DEFER)
    preamble.go_back(preamble.set_savepoint())
    kept = preamble.set_savepoint()
    preamble.set_constraints(DEFER)
    preamble.release(kept)
    preamble.set_savepoint()
    branch, node = joined(preamble)
    await branch.send([RUN])
    assert node.got == ["set_constraints", "set_constraints", "SET 1", "run"]


async def test_a_release_travels_with_the_next_command_too() -> None:
    preamble = Preamble()
    branch, node = joined(preamble)
    outer, inner = preamble.set_savepoint(), preamble.set_savepoint()
    await branch.send([RUN])
    for mark in (inner, outer):
        assert branch.knows(mark)
        branch.release(preamble.release(mark))
    assert not preamble.behind_savepoint
    preamble.set_savepoint()
    await branch.send([RUN])
    assert node.got == ["SET 1", "SET 2", "run", "RELEASE 2", "RELEASE 1", "SET 1", "run"]


async def test_only_who_knows_a_savepoint_goes_back() -> None:
    preamble = Preamble()
    told, node = joined(preamble)
    late, _ = joined(preamble)
    mark = preamble.set_savepoint()
    preamble.set_constraints(DEFER)
    await told.send([RUN])
    assert told.knows(mark)
    assert not late.knows(mark)
    roll_back = preamble.go_back(mark)
    told.went_back(mark)
    await told.send([roll_back])
    await told.send([RUN])
    assert node.got == ["SET 1", "set_constraints", "run", "ROLL_BACK 1", "run"]


async def test_a_check_that_is_due_comes_with_the_end() -> None:
    preamble = Preamble()
    branch, node = joined(preamble)
    await branch.send([RUN])
    assert branch.check_is_due
    await branch.prepare("g")
    assert node.got == ["run", "check", "prepare"]
    branch, node = joined(preamble)
    await branch.send([RUN, CHECK])
    assert not branch.check_is_due
    await branch.prepare("g")
    assert node.got == ["run", "check", "prepare"]


@pytest.mark.parametrize(("fails_at", "statement"), [("check", "3"), ("prepare", None)])
async def test_the_check_at_the_end_names_the_last_statement(fails_at: str, statement: str | None) -> None:
    preamble = Preamble()
    branch, node = joined(preamble)
    await branch.send([RUN])
    preamble.set_savepoint()
    node.fails_at = fails_at
    branch.last_statement = "3"
    with pytest.raises(errors.UniqueViolation) as caught:
        await branch.prepare("g")
    assert caught.value.metadata == ({} if statement is None else {"statement": statement})


async def test_effects_at_the_end_come_too_late() -> None:
    branch, node = joined(Preamble())
    node.finishes = False
    with pytest.raises(LateEffects):
        await branch.commit("")


async def test_only_pins_are_nothing_that_a_client_can_see() -> None:
    preamble = Preamble()
    preamble.set_savepoint()
    preamble.set_constraints(DEFER)
    branch, _ = joined(preamble)
    await branch.send([PIN, CHECK])
    assert branch.unseen
    await branch.send([RUN])
    assert not branch.unseen

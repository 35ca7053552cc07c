"""What every branch of a transaction must have been told before it does anything: savepoints, modes.

A branch that joins late is told all that still counts. One that is there already is told with the next command that it
gets, so savepoints take no round trips of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.v1 import rows_pb2


class Mark(NamedTuple):
    """A savepoint: how many are set with it, and its place in the preamble."""

    level: int
    place: int


class Preamble:
    """The commands that count now, in order."""

    def __init__(self) -> None:
        self._commands: list[proto.Command] = []
        self._level = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._commands)

    @property
    def behind_savepoint(self) -> bool:
        """Whether a savepoint is set, so that errors of statements can be undone."""
        return self._level > 0

    def since(self, told: int) -> Sequence[proto.Command]:
        """All but the first `told`."""
        return self._commands[told:]

    def set_savepoint(self) -> Mark:
        """Adds a savepoint behind all others."""
        self._level += 1
        mark = Mark(self._level, len(self._commands))
        self._commands.append(_savepoint(proto.Savepoint.ACTION_SET, self._level))
        return mark

    def lock_early(self) -> None:
        """Has rows that others live with locked before any change. To be said behind no savepoint."""
        self._commands.append(proto.Command(lock_early=proto.LockEarly()))

    def set_constraints(self, change: rows_pb2.SetConstraints) -> None:
        """Adds constraint modes."""
        self._commands.append(proto.Command(set_constraints=change))

    def go_back(self, mark: Mark) -> proto.Command:
        """Drops the last savepoint and all behind it; answers how to undo it where it was told."""
        del self._commands[mark.place :]
        self._level = mark.level - 1
        return _savepoint(proto.Savepoint.ACTION_ROLL_BACK, mark.level)

    def release(self, mark: Mark) -> proto.Command:
        """Drops the last savepoint alone; answers how to release it where it was told."""
        del self._commands[mark.place]
        self._level = mark.level - 1
        return _savepoint(proto.Savepoint.ACTION_RELEASE, mark.level)


def _savepoint(action: proto.Savepoint.Action.ValueType, level: int) -> proto.Command:
    return proto.Command(savepoint=proto.Savepoint(action=action, level=level))

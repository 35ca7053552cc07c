"""What the script of a nested write asks of whoever carries it out, one action after the other.

A script is a generator: it yields actions, is sent what each came to, and ends with an Outcome. So it is pure, and the
same script is carried out within a transaction, or, if it looks nothing up, planned beforehand.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from crosskey.catalog.plan import TablePlan
from crosskey.router.planning.generated_values import Need
from crosskey.router.planning.given_values import Row
from crosskey.router.planning.nesting.tasks import NestedRow, Task
from crosskey.router.planning.predicates import Checked
from crosskey.router.planning.row_locks import RowLock
from crosskey.router.planning.writes import RowForms
from crosskey.v1 import rows_pb2

KEY_SHARE = rows_pb2.ROW_LOCK_FOR_KEY_SHARE
NO_KEY_UPDATE = rows_pb2.ROW_LOCK_FOR_NO_KEY_UPDATE


@dataclass(frozen=True, slots=True)
class Generate:
    """Have values made in the place of defaults. Comes to GeneratedValues."""

    need: Need


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row to find and to lock until the end: the one that meets the predicates. `texts` are columns to be told of."""

    table: TablePlan
    predicates: tuple[Checked, ...]
    texts: tuple[str, ...]
    lock: RowLock
    path: str
    forms: RowForms = field(default_factory=RowForms)


@dataclass(frozen=True, slots=True)
class Find:
    """Find rows. Comes to a list with a Found for each, or None where there is no such row."""

    rows: Sequence[Wanted]


@dataclass(frozen=True, slots=True)
class Found:
    """A row that is there: as JSON, the texts of the columns that were asked for, and its shard."""

    json: bytes
    texts: Mapping[str, str | None]
    shard: int


@dataclass(frozen=True, slots=True)
class WaitForPrepared:
    """Wait for all transactions that are prepared on the shards: what they wrote can be seen then. Comes to None."""

    shards: Sequence[int]


@dataclass(frozen=True, slots=True)
class Write:
    """Write rows of one table. Comes to their number, unless it is only planned.

    An insert has `rows`, and `rows_of` says whose they are: they get to know how they are stored. So does the one row
    of an update. `joins` are those whose rows of a join table are inserted. Rows that conflict on the columns `unless`
    are left as they are.
    """

    kind: Literal["insert", "update", "delete"]
    table: TablePlan
    path: str
    rows: Sequence[Row] = ()
    rows_of: Sequence[NestedRow] = ()
    joins: Sequence[Task] = ()
    predicates: tuple[Checked, ...] = ()
    assignments: Sequence[rows_pb2.Assignment] = ()
    forms: RowForms = field(default_factory=RowForms)
    unless: tuple[str, ...] = ()
    shards: Collection[int] | None = None
    """The shards where the rows are known to be, of an update or delete."""


@dataclass(slots=True)
class Outcome:
    """What a script came to: the rows that it answers and their number; of an association, what became of rows."""

    rows: Sequence[NestedRow] = ()
    count: int = 0
    added: int = 0
    removed: int = 0
    kept: int = 0


Action: TypeAlias = Generate | Find | WaitForPrepared | Write

Answer = TypeVar("Answer")

Script: TypeAlias = Generator[Action, Any, Answer]

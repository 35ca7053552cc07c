"""The judge of a differential test: a pair that knows what PostgreSQL itself leaves open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import psycopg

from crosskey import Client, CrosskeyError, WrittenRows
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Statement, Write
from crosskey.v1.router_pb2 import Group, InsertRequest, UpdateRequest
from crosskey.v1.rows_pb2 import Predicate
from tests.oracle import outcome as single
from tests.oracle.differential.numbers import Numbers
from tests.oracle.differential.obstacles import can_be_taken_away, is_needed_by_upserts, reverse_rows, take_away
from tests.oracle.differential.plain_associations import RefusedError
from tests.oracle.differential.plain_reads import PlainReads
from tests.oracle.nested import Failure, Outcome, run_all, transact
from tests.oracle.outcome import Refusal, refusal_by_postgres
from tests.oracle.pair import DisagreementError, Pair
from tests.oracle.plain import PlainPostgres

_TAKEN = "23505"

Path: TypeAlias = tuple[int, ...]
"""Where in an outcome an answer or a failure is: the places from the outside to the inside."""


class OrderDecidesError(Exception):
    """One side refused what the other did, for a key that rows take from each other: the order of rows decides.

    Both sides may be right, and their tables differ from here on.
    """


@dataclass(frozen=True)
class _Try:
    """Statements to be tried on PostgreSQL, whether it says what was found at a place of their outcome."""

    statements: Sequence[Statement]
    path: Path
    found: Failure
    reverse: bool = False
    """Whether the rows are first put into the reverse order on disk."""


class Judge(Pair):
    """A pair that counts what it compared, and tolerates what docs/differences.md says.

    `counts` has the number of requests by what came of them, `numbers` those that sequences gave.
    """

    def __init__(self, cluster: LocalCluster, client: Client, plain: PlainPostgres, lifetime: ExitStack) -> None:
        """As Pair."""
        super().__init__(cluster, client, plain, lifetime)
        self.counts: Counter[str] = Counter()
        self.numbers = Numbers(plain.connection)
        self.reads = PlainReads(plain)

    @property
    def operations(self) -> int:
        """How many requests were compared."""
        return operations_of(self.counts)

    def before_postgres(self, write: Statement, answer: object) -> None:
        """Has PostgreSQL draw the numbers that Crosskey drew. Raises DisagreementError if one was drawn before."""
        if isinstance(write, InsertRequest) and isinstance(answer, WrittenRows):
            self.numbers.draw_alike(write, answer)

    def run_transaction(self, statements: Sequence[Statement]) -> None:
        """Runs a transaction on both sides. Raises CrosskeyError if both refuse it, and DisagreementError."""
        transact(self, *statements, check=self._check)

    def read(self, table: str, where: Sequence[Predicate], include: Mapping[str, Any], page_size: int) -> None:
        """Lists rows with rows of relations on both sides. Raises DisagreementError."""
        with _never_refused():
            found = list(self.client.list(table, where, include=include, page_size=page_size))
        self._check_read(self.reads.rows(table, where, include), self.reads.comparable(table, found, include))

    def aggregate(
        self, table: str, functions: Sequence[tuple[str, str]], group_by: Sequence[str], where: Sequence[Predicate]
    ) -> None:
        """Aggregates rows on both sides. Raises DisagreementError."""
        named = {f"a{number}": one for number, one in enumerate(functions)}
        with _never_refused():
            found = self.client.aggregate(table, {"n": "count", **named}, where=where, group_by=group_by)
        self._check_read(self.reads.aggregated(table, functions, group_by, where), found)

    def run_alike(self, on_crosskey: Callable[[], object], on_plain: Callable[[], object]) -> None:
        """Both answer the same, or refuse for the same reason. Raises CrosskeyError, and DisagreementError."""
        refused: CrosskeyError | None = None
        try:
            found = on_crosskey()
        except CrosskeyError as error:
            refused, found = error, error.metadata.get("sqlstate") or error.reason_name
        try:
            with self.plain.connection.transaction():
                expected = on_plain()
        except RefusedError as error:
            expected = str(error)
        except psycopg.Error as error:
            expected = error.sqlstate
        # Of several violated constraints, either may be met first.
        if found != expected and not (_is_violation(found) and _is_violation(expected)):
            raise DisagreementError(f"Crosskey:   {found} {refused or ''}\nPostgreSQL: {expected}")
        self.counts["done" if refused is None else "refused"] += 1
        self.counts["associations and nested inserts"] += 1
        if refused is not None:
            raise refused

    def _check_read(self, expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> None:
        if list(expected) != list(found):
            raise DisagreementError(f"Crosskey:   {found}\nPostgreSQL: {expected}")
        self.counts["done"] += 1
        self.counts["reads"] += 1

    def check_agreement(self, writes: Sequence[Write], outcome: single.Outcome, expected: single.Outcome) -> None:
        """Raises DisagreementError if PostgreSQL could not have had Crosskey's outcome, and OrderDecidesError."""
        self._end_if_order_decides(writes, outcome, expected)
        if isinstance(outcome, Refusal) and isinstance(expected, Refusal):
            self._check(writes, (outcome, ""), (expected, ""))
            return
        super().check_agreement(writes, outcome, expected)
        self.counts["done"] += 1

    def _check(self, statements: Sequence[Statement], found: Outcome, expected: Outcome) -> None:
        for path, one, other in _differing(found, expected):
            self._end_if_order_decides(statements, one, other)
            if not self._could_be(statements, path, one, other):
                raise DisagreementError(f"{statements}\nCrosskey:   {one}\nPostgreSQL: {other}")
        self.counts["done" if isinstance(found, list) else "refused"] += 1

    def _end_if_order_decides(self, statements: Sequence[Statement], found: Any, expected: Any) -> None:
        if _order_may_decide(found, expected) and any(map(_shifts, statements)):
            self.counts["left to the order of rows on disk"] += 1
            raise OrderDecidesError

    def _could_be(self, statements: Sequence[Statement], path: Path, found: Any, expected: Any) -> bool:
        """Whether PostgreSQL could fail so at that place, were it not for what it met first there.

        Which of several violated constraints is met first depends on the order of triggers and of rows on disk. So
        those that PostgreSQL names are taken away, one after the other; and all is tried with the rows in the reverse
        order.
        """
        if not (_is_failure(found) and _is_failure(expected)):
            return False
        if self._could_be_for_another_reason(_Try(statements, path, found), expected):
            return True
        reverse = _Try(statements, path, found, reverse=True)
        if self._could_be_for_another_reason(reverse, self._fails(reverse, [])):
            self.counts["refused as in another order of rows on disk"] += 1
            return True
        return False

    def _could_be_for_another_reason(self, attempt: _Try, expected: Any) -> bool:
        taken: list[Refusal] = []
        while _is_failure(expected) and expected[1] == attempt.found[1]:
            refusal = expected[0]
            if _is_alike(attempt.found[0], refusal):
                self.counts["refused for another of several reasons"] += bool(taken)
                return True
            if refusal in taken or not can_be_taken_away(refusal):
                return False
            taken.append(refusal)
            expected = self._fails(attempt, taken)
        return False

    def _fails(self, attempt: _Try, taken: Sequence[Refusal]) -> Any:
        """What PostgreSQL would say at the place if it did not look for what it refused; nothing is changed."""
        connection = self.plain.connection
        places: list[str] = []

        place = attempt.found[1]
        at_place = [refusal for refusal in taken if place and is_needed_by_upserts(refusal)]

        def before(next_place: str) -> None:
            if next_place == place:
                for refusal in at_place:
                    take_away(connection, refusal)

        try:
            with connection.transaction(force_rollback=True):
                if attempt.reverse:
                    reverse_rows(connection, self.plain.tables.values())
                for refusal in taken:
                    if refusal not in at_place:
                        take_away(connection, refusal)
                outcome: Outcome = run_all(self, attempt.statements, places, before=before)
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            outcome = refusal_by_postgres(error), "".join(places) if place else ""
        return _at(attempt.path, outcome)


def _is_violation(outcome: object) -> bool:
    return isinstance(outcome, str) and outcome.startswith("23")


@contextmanager
def _never_refused() -> Iterator[None]:
    try:
        yield
    except CrosskeyError as error:
        raise DisagreementError(f"Crosskey refuses what PostgreSQL answers: {error}") from error


def operations_of(counts: Mapping[str, int]) -> int:
    """Of counts by what came of requests, the sum of those that were compared."""
    return counts["done"] + counts["refused"]


def _differing(found: Outcome, expected: Outcome, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """The innermost parts in which two outcomes differ."""
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _differing(one, other, (*path, place))
    elif found != expected:
        yield path, found, expected


def _at(path: Path, outcome: Any) -> Any:
    for place in path:
        if not isinstance(outcome, list):
            return None
        outcome = outcome[place]
    return outcome


def _order_may_decide(found: Any, expected: Any) -> bool:
    """Whether only one side refused a statement because a key was taken, and the other did it, whatever came later."""
    refusals = [one for one in map(_refusal_of, (found, expected)) if one is not None]
    elsewhere = _is_failure(found) and _is_failure(expected) and found[1] != expected[1]
    return (len(refusals) == 1 or elsewhere) and [one.sqlstate for one in refusals].count(_TAKEN) == 1


def _refusal_of(outcome: Any) -> Refusal | None:
    refusal = outcome[0] if _is_failure(outcome) else outcome
    return refusal if isinstance(refusal, Refusal) else None


def _shifts(statement: Statement) -> bool:
    """Whether it, or a statement of the group that it is, computes values from those that rows have."""
    if isinstance(statement, Group):
        return any(_shifts(one.group if one.HasField("group") else one.update) for one in statement.statements)
    return isinstance(statement, UpdateRequest) and bool(statement.assignments)


def _is_failure(outcome: Any) -> bool:
    return isinstance(outcome, tuple)


def _is_alike(found: Refusal, expected: Refusal) -> bool:
    """Whether both say the same, but for what is left open.

    Of many rows that violate a constraint, each in its own way, any may be the one that the detail is about. Crosskey
    names the table also where PostgreSQL does not.
    """
    table = found.table if expected.table else ""
    return replace(found, detail="", table=table) == replace(expected, detail="")

"""Holds what is stored against what clients were told: every difference is a complaint.

A request takes effect at some moment between its start and its end. So one request has surely come before another one
only if it ended before that started, and may have come after it if it ended after that started.
"""

from collections.abc import Iterable, Iterator
from math import inf

from crosskey import errors
from tests.hot_keys.families import DEFAULT_PARENT, HOT_KEYS, Family
from tests.hot_keys.history import Attempt, Kind
from tests.hot_keys.stored_rows import StoredRows

_ALWAYS_LET_GO = ("CASCADE", "SET NULL", "SET DEFAULT")

_NEW_PARENT: dict[str, int | None] = {"SET NULL": None, "SET DEFAULT": DEFAULT_PARENT}
"""What a child gets in the place of a parent that was deleted; where it is not listed, it never gets another one."""


def complaints(family: Family, attempts: Iterable[Attempt], rows: StoredRows) -> Iterator[str]:
    """Everything that must not be; nothing if all is well."""
    attempts = list(attempts)
    for attempt in attempts:
        if attempt.unforeseen:
            yield f"an error that nobody should see: {attempt.error!r} of {attempt}"
        elif family.action in _ALWAYS_LET_GO and attempt.kind != "insert children" and _missed(attempt):
            yield f"{family.action} refuses nothing: {attempt}"
    inserted = {child for attempt in attempts for child in attempt.children}
    for child, parent in rows.children.items():
        if parent is not None and parent not in rows.parents:
            yield f"child {child} is an orphan: parent {parent} does not exist"
        if child not in inserted:
            yield f"child {child} comes from nowhere"
    for parent in HOT_KEYS:
        yield from _Account(family, parent, [attempt for attempt in attempts if attempt.parent == parent], rows)


class _Account:
    """All attempts about one parent; iterating over it yields the complaints."""

    def __init__(self, family: Family, parent: int, attempts: list[Attempt], rows: StoredRows) -> None:
        self._family = family
        self._parent = parent
        self._rows = rows
        self._insertions = _of_kinds(attempts, "insert children")
        self._arrivals = [one for one in _of_kinds(attempts, "insert parent", "replace parent") if one.maybe_done]
        self._departures = [one for one in _of_kinds(attempts, "delete parent", "replace parent") if one.maybe_deleted]
        self._sweeps = [one for one in _of_kinds(attempts, "delete children") if one.maybe_deleted]
        removals = self._sweeps + (self._departures if family.action == "CASCADE" else [])
        self._last_removal_end = max((one.ended for one in removals), default=-inf)
        self._last_departure_end = max((one.ended for one in self._departures), default=-inf)
        sure = (one.started for one in [*self._sweeps, *self._departures] if one.deleted)
        self._last_sure_start = max(sure, default=-inf)

    def __iter__(self) -> Iterator[str]:
        yield from self._about_the_parent()
        for attempt in self._insertions:
            if attempt.outcome == "refused":
                yield from self._about_refused(attempt)
            else:
                yield from self._about_children(attempt)

    def _about_the_parent(self) -> Iterator[str]:
        deletions = _of_kinds(self._departures, "delete parent")
        if self._parent in self._rows.parents:
            came = max(attempt.ended for attempt in self._arrivals)
            if any(attempt.deleted and attempt.started > came for attempt in deletions):
                yield f"parent {self._parent} exists although it was deleted"
        else:
            came = max(attempt.started for attempt in self._arrivals if attempt.outcome == "acknowledged")
            if not any(attempt.ended >= came for attempt in deletions):
                yield f"parent {self._parent} is lost"

    def _about_refused(self, attempt: Attempt) -> Iterator[str]:
        stored = self._stored(attempt)
        if stored:
            yield f"children {stored} were refused, and are there: {attempt}"
        if _missed(attempt) and not any(other.started < attempt.ended for other in self._departures):
            yield f"refused although its parent was never deleted: {attempt}"

    def _about_children(self, attempt: Attempt) -> Iterator[str]:
        stored = self._stored(attempt)
        lost = attempt.outcome == "acknowledged" and len(stored) < len(attempt.children)
        if lost and self._last_removal_end < attempt.started:
            yield f"children of an acknowledged request are lost: {attempt}"
        states = {self._rows.children.get(child, inf) for child in attempt.children}
        # No snapshot spans the shards, so a delete of children may see one half of a request that is being committed.
        if len(states) > 1 and not any(_overlap(attempt, sweep) for sweep in self._sweeps):
            yield f"a request was carried out by halves: {attempt}"
        for child in stored:
            yield from self._about_child(attempt, child)
        if self._family.action in ("RESTRICT", "NO ACTION"):
            yield from self._about_protection(attempt)

    def _about_child(self, attempt: Attempt, child: int) -> Iterator[str]:
        parent = self._rows.children[child]
        if parent == self._parent:
            if self._last_sure_start > attempt.ended:
                yield f"child {child} has survived what should have reached it: {attempt}"
        elif parent != _NEW_PARENT.get(self._family.action, self._parent):
            yield f"child {child} has got the parent {parent}: {attempt}"
        elif self._last_departure_end < attempt.started:
            yield f"child {child} has lost its parent for no reason: {attempt}"

    def _about_protection(self, attempt: Attempt) -> Iterator[str]:
        """The first deletion of the parent after these children came: somebody must have deleted them before."""
        later = (other for other in self._departures if other.deleted and other.started > attempt.ended)
        first = min(later, key=lambda other: other.ended, default=None)
        if first is not None:
            swept = (sweep.started < first.ended and sweep.ended >= attempt.started for sweep in self._sweeps)
            if not any(swept):
                yield f"{first} has deleted the parent of {attempt}"

    def _stored(self, attempt: Attempt) -> list[int]:
        return [child for child in attempt.children if child in self._rows.children]


def _missed(attempt: Attempt) -> bool:
    """Whether a foreign key refused it."""
    return isinstance(attempt.error, errors.ForeignKeyViolation)


def _of_kinds(attempts: Iterable[Attempt], *kinds: Kind) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.kind in kinds]


def _overlap(one: Attempt, other: Attempt) -> bool:
    return one.started <= other.ended and other.started <= one.ended

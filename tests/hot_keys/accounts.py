"""Holds what is stored against what clients were told: every difference is a complaint.

A request takes effect at some moment between its start and its end. So one request has surely come before another one
only if it ended before that started, and may have come after it if it ended after that started.
"""

from collections.abc import Callable, Iterator
from math import inf

from tests.hot_keys.families import DEFAULT_PARENT, Family
from tests.hot_keys.history import Attempt, Kind
from tests.hot_keys.stored_rows import StoredRows


class Account:
    """The attempts of one run, by what they may have done."""

    def __init__(self, family: Family, attempts: list[Attempt], rows: StoredRows) -> None:
        self._family = family
        self._attempts = attempts
        self._rows = rows
        self._cascades = family.action == "CASCADE"
        self._refuses = family.action in ("RESTRICT", "NO ACTION")

    def complaints(self) -> Iterator[str]:
        """Everything that must not be; nothing if all is well."""
        for attempt in self._attempts:
            if attempt.unforeseen:
                yield f"an error that nobody should see: {attempt.error!r} of {attempt}"
        yield from self._orphans()
        yield from self._wrong_parents()
        for attempt in self._of_kind("insert children"):
            yield from self._children(attempt)

    def _orphans(self) -> Iterator[str]:
        inserted = {child for attempt in self._of_kind("insert children") for child in attempt.children}
        for child, parent in self._rows.children.items():
            if parent is not None and parent not in self._rows.parents:
                yield f"child {child} is an orphan: parent {parent} does not exist"
            if child not in inserted:
                yield f"child {child} comes from nowhere"

    def _wrong_parents(self) -> Iterator[str]:
        insertions = [*self._of_kind("insert parent"), *self._of_kind("replace parent")]
        for parent in {attempt.parent for attempt in insertions}:
            came = [attempt for attempt in insertions if attempt.parent == parent and attempt.maybe_done]
            went = [attempt for attempt in self._of_kind("delete parent", parent) if attempt.maybe_deleted]
            if parent in self._rows.parents:
                last_came = max(attempt.ended for attempt in came)
                if any(attempt.deleted and attempt.started > last_came for attempt in went):
                    yield f"parent {parent} exists although it was deleted"
            else:
                last_came = max(attempt.started for attempt in came if attempt.outcome == "acknowledged")
                if not any(attempt.ended >= last_came for attempt in went):
                    yield f"parent {parent} is lost"

    def _children(self, attempt: Attempt) -> Iterator[str]:
        """What is wrong with the children of one request."""
        stored = [child for child in attempt.children if child in self._rows.children]
        if attempt.outcome == "refused":
            if stored:
                yield f"children {stored} were refused, and are there: {attempt}"
            yield from self._unfounded_refusal(attempt)
            return
        lost = attempt.outcome == "acknowledged" and len(stored) < len(attempt.children)
        if lost and not self._may_have_come_after(attempt, self._removes_children):
            yield f"children of an acknowledged request are lost: {attempt}"
        states = {self._rows.children.get(child, inf) for child in attempt.children}
        # No snapshot spans the shards, so that this delete may see one half of a request that is being committed.
        if len(states) > 1 and not self._overlaps(attempt, "delete children"):
            yield f"a request was carried out by halves: {attempt}"
        for child in stored:
            yield from self._child(attempt, child)
        if self._refuses:
            yield from self._parent_deleted_under(attempt)

    def _child(self, attempt: Attempt, child: int) -> Iterator[str]:
        """What is wrong with a child that is there."""
        parent = self._rows.children[child]
        if parent == attempt.parent:
            if self._surely_came_after(attempt, lambda other: self._removes_children(other) or self._departs(other)):
                yield f"child {child} has survived what should have reached it: {attempt}"
            return
        expected = {"SET NULL": None, "SET DEFAULT": DEFAULT_PARENT}.get(self._family.action, attempt.parent)
        if parent != expected:
            yield f"child {child} has got the parent {parent}: {attempt}"
        elif not self._may_have_come_after(attempt, self._departs):
            yield f"child {child} has lost its parent for no reason: {attempt}"

    def _parent_deleted_under(self, attempt: Attempt) -> Iterator[str]:
        """A parent that was deleted while it surely had children that should have kept it."""
        sweeps = [other for other in self._of_kind("delete children", attempt.parent) if other.maybe_deleted]
        for other in self._attempts:
            if other.parent == attempt.parent and other.deleted and self._departs(other):
                swept = any(sweep.started < other.ended and sweep.ended >= attempt.started for sweep in sweeps)
                if other.started > attempt.ended and not swept:
                    yield f"{other} has deleted the parent of {attempt}"

    def _unfounded_refusal(self, attempt: Attempt) -> Iterator[str]:
        """A foreign key that refused a parent which was there all the time."""
        if attempt.error is None or attempt.error.reason_name != "FOREIGN_KEY_VIOLATION":
            return
        departed = (other for other in self._attempts if other.parent == attempt.parent and self._departs(other))
        if not any(other.started < attempt.ended for other in departed):
            yield f"refused although its parent was never deleted: {attempt}"

    def _removes_children(self, other: Attempt) -> bool:
        """Whether it deletes the children of its parent."""
        return other.maybe_deleted and (other.kind == "delete children" or (self._cascades and self._departs(other)))

    def _departs(self, other: Attempt) -> bool:
        """Whether its parent went, if only for a moment."""
        return other.maybe_deleted and other.kind in ("delete parent", "replace parent")

    def _may_have_come_after(self, attempt: Attempt, does: Callable[[Attempt], bool]) -> bool:
        return any(
            other.parent == attempt.parent and does(other) and other.ended >= attempt.started
            for other in self._attempts
        )

    def _surely_came_after(self, attempt: Attempt, does: Callable[[Attempt], bool]) -> bool:
        return any(
            other.parent == attempt.parent and other.deleted and does(other) and other.started > attempt.ended
            for other in self._attempts
        )

    def _overlaps(self, attempt: Attempt, kind: Kind) -> bool:
        return any(
            other.maybe_done and other.started <= attempt.ended and other.ended >= attempt.started
            for other in self._of_kind(kind, attempt.parent)
        )

    def _of_kind(self, kind: Kind, parent: int | None = None) -> list[Attempt]:
        return [
            attempt
            for attempt in self._attempts
            if attempt.kind == kind and (parent is None or attempt.parent == parent)
        ]

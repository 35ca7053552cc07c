"""What clients asked for and what they were told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Literal

from crosskey import errors

Kind = Literal["insert children", "delete children", "insert parent", "delete parent", "replace parent"]

Outcome = Literal["acknowledged", "refused", "unknown"]
"""Of a refused one no trace may be left; an unknown one is all done or not at all, now or later."""

_MAYBE_DONE = (errors.OutcomeUnknown, errors.DeadlineExceeded, errors.ShardUnavailable, errors.Cancelled)

_FORESEEN = (
    *_MAYBE_DONE,
    errors.ForeignKeyViolation,
    errors.UniqueViolation,
    errors.Conflict,
    errors.Overloaded,
)
"""What clients of hot keys may be told, also while servers are killed."""


@dataclass
class Attempt:
    """One request about one parent; `children` are the ids of those that it inserts."""

    kind: Kind
    parent: int
    children: tuple[int, ...] = ()
    started: float = field(default_factory=monotonic)
    ended: float = inf
    outcome: Outcome = "unknown"
    deleted: bool = False
    """Whether it was told that it had deleted something."""
    error: errors.CrosskeyError | None = None

    @property
    def maybe_done(self) -> bool:
        """Whether it was acknowledged, or may have been carried out all the same."""
        return self.outcome != "refused"

    @property
    def maybe_deleted(self) -> bool:
        """Whether it has deleted something, or may have."""
        return self.deleted or self.outcome == "unknown"

    @property
    def unforeseen(self) -> bool:
        """Whether it ended with an error that no client should ever see."""
        if isinstance(self.error, errors.UniqueViolation):
            return self.kind not in ("insert parent", "replace parent")
        return self.error is not None and not isinstance(self.error, _FORESEEN)


class History:
    """All attempts, in the order in which they started."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    @contextmanager
    def attempt(self, kind: Kind, parent: int, children: tuple[int, ...] = ()) -> Iterator[Attempt]:
        """Records a request that is made within the context, with its end."""
        attempt = Attempt(kind, parent, children)
        self.attempts.append(attempt)
        try:
            yield attempt
            attempt.outcome = "acknowledged"
        except errors.CrosskeyError as error:
            attempt.error = error
            maybe_done = isinstance(error, _MAYBE_DONE) and not error.retryable
            attempt.outcome = "unknown" if maybe_done else "refused"
        if attempt.outcome != "unknown":
            attempt.ended = monotonic()

    def summary(self) -> str:
        """How many attempts ended how."""
        counts: dict[str, int] = {}
        for attempt in self.attempts:
            ending = type(attempt.error).__name__ if attempt.error else "acknowledged"
            key = f"{attempt.kind}: {ending}"
            counts[key] = counts.get(key, 0) + 1
        return "\n".join(f"{count:6} {key}" for key, count in sorted(counts.items()))

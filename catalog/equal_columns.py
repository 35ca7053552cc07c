"""Which columns of a query must be equal, if some pairs of them are."""

from __future__ import annotations

from collections.abc import Iterable

from crosskey.catalog.view_queries import Equal, Var


class EqualColumns:
    """Columns in classes of equal ones."""

    def __init__(self, pairs: Iterable[Equal] = ()) -> None:
        self._classes: dict[Var, set[Var]] = {}
        for pair in pairs:
            self.add(pair)

    def add(self, pair: Equal) -> None:
        """Learns that the two are equal."""
        left, right = map(self.equal_to, pair)
        both = left | right
        for one in both:
            self._classes[one] = both

    def equal_to(self, var: Var) -> set[Var]:
        """What equals it, itself among them."""
        return self._classes.get(var, {var})

    def are_equal(self, one: Var, other: Var) -> bool:
        """Whether the two must be equal."""
        return other in self.equal_to(one)

    def copy(self) -> EqualColumns:
        """The same, to learn more by itself."""
        copied = EqualColumns()
        copied._classes = dict(self._classes)
        return copied

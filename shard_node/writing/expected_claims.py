"""Claims that a coordinator took in advance, against those that statements turn out to need."""

from __future__ import annotations

from collections import defaultdict

import msgspec

Value = tuple[str, ...]
"""A value of a unique key, its columns as text in the order of the JSON objects."""


class ExpectedClaims:
    """What is still expected, by claim."""

    def __init__(self) -> None:
        self._values: defaultdict[str, set[Value]] = defaultdict(set)

    def expect(self, claim: str, values_json: str | bytes) -> None:
        """Adds values, a JSON array of objects."""
        self._values[claim].update(_values(values_json))

    def meet(self, claim: str, values_json: str | bytes) -> bool:
        """Whether all these values were expected; then they no longer are."""
        values = _values(values_json)
        if not values <= self._values[claim]:
            return False
        self._values[claim] -= values
        return True

    @property
    def all_met(self) -> bool:
        """Whether nothing is expected any more."""
        return not any(self._values.values())


def _values(values_json: str | bytes) -> set[Value]:
    return {tuple(map(str, value.values())) for value in msgspec.json.decode(values_json, type=list[dict[str, object]])}

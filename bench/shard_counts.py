"""The same request in a small and in a large cluster: its cost must not grow with shards that it does not touch."""

from __future__ import annotations

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison
from bench.references import later_references


def later_references_by_shards(small: Crosskey, large: Crosskey, at_once: int) -> Case:
    """A later reference in two clusters on the same servers."""
    few, many = (f"{side.population.shards} shards" for side in (small, large))
    return Case(
        f"later reference by number of shards, {at_once} at once",
        [later_references(few, small, at_once), later_references(many, large, at_once)],
        [Comparison(many, few)],
    )

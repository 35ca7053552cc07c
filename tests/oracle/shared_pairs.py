"""Pairs that several test modules share: starting a cluster takes longer than most modules run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from crosskey import Client
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.plain import plain_postgres

FAMILIES = (
    ("test_corners", "test_key_types", "test_known_differences", "test_names", "test_reference_tables", "test_types"),
    ("test_transactions", "test_triggers", "test_update_actions", "test_upsert"),
    ("test_aggregates", "test_delete_actions", "test_keys", "test_relations", "test_stored_values"),
    ("test_caught_errors", "test_claims", "test_computed_claims", "test_match", "test_partitions", "test_views"),
    ("test_categories", "test_generated_keys", "test_groups", "test_anchored_tables"),
    ("test_copies", "test_keys_onto_claims", "test_moves", "test_nested_writes", "test_round_trips"),
)
"""Modules on one cluster, whose schemas have no table in common. Every other module has a cluster of its own."""

_numbers = itertools.count()


class SharedPairs:
    """The pairs of a session, each made when the first module of its family asks for it."""

    def __init__(self, servers: Sequence[PostgresServer], folder: Path) -> None:
        """Take the servers that all clusters run on, and a folder for their logs."""
        self._servers = servers
        self._folder = folder
        self._open: dict[Sequence[str], tuple[Pair, ExitStack]] = {}

    def open(self, module: str) -> Pair:
        """Return the pair for a module of tests.oracle, with the schemas of its family and perhaps rows of it."""
        modules = family(module)
        if modules not in self._open:
            lifetime = ExitStack()
            self._open[modules] = (self._start(modules, lifetime), lifetime)
        return self._open[modules][0]

    def close_unless_needed(self, module: str, later: Iterable[str]) -> None:
        """Stop the module's pair if no later module needs it; by then the cluster must be in perfect order."""
        modules = family(module)
        if set(modules).isdisjoint(later):
            pair, lifetime = self._open.pop(modules)
            with lifetime:
                pair.check_health()

    def close(self) -> None:
        """Stop what is left of a session that ended early."""
        for _, lifetime in self._open.values():
            lifetime.close()

    def _start(self, modules: Sequence[str], lifetime: ExitStack) -> Pair:
        schema = "\n".join(import_module(f"tests.oracle.{module}").SCHEMA for module in modules)
        return start_pair(self._servers, self._folder, schema, lifetime)


def start_pair(servers: Sequence[PostgresServer], folder: Path, schema: str, lifetime: ExitStack) -> Pair:
    """Return a pair with the schema; it is stopped with `lifetime`."""
    name = f"plain_{next(_numbers)}"
    cluster = FreshClusters(servers, folder / name, lifetime)(schema, shards=SHARDS)
    plain = lifetime.enter_context(plain_postgres(servers[0].dsn(), name, schema))
    return Pair(cluster, lifetime.enter_context(Client(cluster.address)), plain, lifetime)


def family(module: str) -> Sequence[str]:
    """Return the modules that share a pair with this one, itself included."""
    return next((modules for modules in FAMILIES if module in modules), (module,))

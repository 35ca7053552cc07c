"""A Crosskey cluster and a plain PostgreSQL side by side: every request goes to both, and they must agree."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
from google.protobuf.json_format import MessageToDict

from crosskey import Client, CrosskeyError, WrittenRows, requests
from crosskey.catalog.slots import SLOTS, mint_uuid, shard_of_slot, slot_of_value
from crosskey.exact_json import Row
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.predicates import Where, is_null, to_predicates
from crosskey.requests import Write
from crosskey.v1 import router_pb2
from crosskey.v1.rows_pb2 import OnConflict
from tests.oracle.contents import differences, read_contents
from tests.oracle.outcome import Answer, Outcome, Refusal, news_of, refusal_by_crosskey
from tests.oracle.plain import PlainPostgres

SHARDS = 3
AUDIT_SECONDS = 60.0
SETTLE_SECONDS = 5.0
POLL_SECONDS = 0.02

Result = TypeVar("Result", bound=Answer)


class DisagreementError(AssertionError):
    """Crosskey and PostgreSQL did not do the same."""


class Pair:
    """Sends requests to both sides.

    The methods answer and raise what the client does, but only if PostgreSQL did the same; else they raise
    DisagreementError.
    """

    def __init__(self, cluster: LocalCluster, client: Client, plain: PlainPostgres, lifetime: ExitStack) -> None:
        """Both sides have the same schema. `shards` are connections to their databases, open as long as `lifetime`."""
        self.client = client
        self.address = cluster.address
        self.plain = plain
        self.shards = [
            lifetime.enter_context(psycopg.connect(database.superuser_dsn, autocommit=True))
            for database in cluster.databases
        ]
        self._numbers = itertools.count(1)
        self._known_differences: set[str] = set()

    def number(self, shard: int) -> int:
        """A new integer of that shard."""
        return next(number for number in self._numbers if shard_of("int8", number) == shard)

    def text(self, shard: int, beginning: str = "t") -> str:
        """A new text of that shard."""
        texts = (f"{beginning}{number}" for number in self._numbers)
        return next(text for text in texts if shard_of("text", text) == shard)

    def uuid(self, shard: int) -> str:
        """A new uuid of that shard."""
        slot = shard + SHARDS * (uuid.uuid4().int % (SLOTS // SHARDS))
        return str(mint_uuid(slot))

    def uuid_beside(self, shard_key: int) -> str:
        """A new uuid that carries the slot of that shard key."""
        return str(mint_uuid(slot_of_value("int8", shard_key)))

    def insert(
        self,
        table: str,
        *rows: Row,
        overriding: requests.Overriding | None = None,
        on_conflict: OnConflict | None = None,
    ) -> WrittenRows:
        """Inserts rows in one request; answers them as stored."""
        return self._one(
            requests.insert(table, rows, overriding=overriding, on_conflict=on_conflict),
            lambda: self.client.insert(table, rows, overriding=overriding, on_conflict=on_conflict),
        )

    def update(self, table: str, set: Row, **selection: Any) -> list[dict[str, Any]]:
        """Updates the rows of `key=` or `where=`; answers them as stored."""
        return self._one(requests.update(table, set, **selection), lambda: self.client.update(table, set, **selection))

    def delete(self, table: str, **selection: Any) -> int:
        """Deletes the rows of `key=` or `where=`; answers how many."""
        return self._one(requests.delete(table, **selection), lambda: self.client.delete(table, **selection))

    def transact(self, *writes: Write) -> list[Answer]:
        """Runs `crosskey.insert(..)`, `update(..)` and `delete(..)` as one transaction; answers one answer each."""
        return self._run(writes, lambda: self.client.transact(writes))

    def rows(self, table: str, where: Where | None = None) -> list[dict[str, Any]]:
        """The rows that meet the conditions; both sides must list the same."""
        listed = list(self.client.list(table, where))
        expected = self.plain.rows(table, to_predicates(where))
        if _in_order(listed) != _in_order(expected):
            raise DisagreementError(f"rows of {table}\nCrosskey:   {listed}\nPostgreSQL: {expected}")
        return listed

    def empty(self, tables: Iterable[str]) -> None:
        """Deletes all rows of those tables that have any, in order, on each side by itself: they need not agree."""
        chosen = {name: self.plain.tables[name] for name in tables}
        filled = [read_contents(connection, chosen.values()) for connection in (self.plain.connection, *self.shards)]
        for name, table in chosen.items():
            if any(contents[name] for contents in filled):
                everything = requests.delete(name, where=is_null(next(iter(table.types)), False))
                self.client.transact([everything])
                self.plain.run([everything])

    def check_tables(self) -> None:
        """Raises DisagreementError if a table differs between the sides and did not yet at the last check."""
        tables = list(self.plain.tables.values())
        expected = read_contents(self.plain.connection, tables)
        found = differences(expected, [read_contents(shard, tables) for shard in self.shards], tables)
        new, self._known_differences = set(found) - self._known_differences, set(found)
        if new:
            raise DisagreementError("\n".join(sorted(new)))

    def check_health(self) -> None:
        """Raises DisagreementError if a prepared transaction is left, or if the audit finds anything."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while in_doubt := self.client.list_in_doubt().transactions:
            if time.monotonic() > deadline:
                raise DisagreementError(f"prepared transactions are left: {in_doubt}")
            time.sleep(POLL_SECONDS)
        findings = self.client.with_timeout(AUDIT_SECONDS).audit()
        if findings:
            raise DisagreementError(f"the audit finds {findings}")

    def before_postgres(self, write: requests.Statement, answer: object) -> None:
        """Is called before PostgreSQL runs a statement that Crosskey answered so."""

    def check_agreement(self, writes: Sequence[Write], outcome: Outcome, expected: Outcome) -> None:
        """Raises DisagreementError if Crosskey's outcome of a request is not that of PostgreSQL."""
        if isinstance(outcome, Refusal) and isinstance(expected, Refusal) and not expected.table:
            # Crosskey names the table also where PostgreSQL does not.
            outcome = replace(outcome, table="")
        if _comparable(writes, outcome) != _comparable(writes, expected):
            requested = "\n".join(f"{type(write).__name__} {MessageToDict(write)}" for write in writes)
            raise DisagreementError(f"{requested}\nCrosskey:   {outcome}\nPostgreSQL: {expected}")

    def _one(self, write: Write, send: Callable[[], Result]) -> Result:
        """Runs a request of one statement."""
        return self._run([write], lambda: [send()])[0]

    def _run(self, writes: Sequence[Write], send: Callable[[], list[Result]]) -> list[Result]:
        try:
            answers = send()
        except CrosskeyError as error:
            self.check_agreement(writes, refusal_by_crosskey(error), self.plain.run(writes))
            raise
        for write, answer in zip(writes, answers, strict=True):
            self.before_postgres(write, answer)
        self.check_agreement(writes, answers, self.plain.run(writes))
        return answers


def shard_of(base_type: str, value: object) -> int:
    """The shard of a shard key's value."""
    return shard_of_slot(slot_of_value(base_type, value), SHARDS)


def _comparable(writes: Sequence[Write], outcome: Outcome) -> Any:
    """The outcome without what has no meaning: the order of updated rows."""
    if isinstance(outcome, Refusal):
        return outcome
    return [_comparable_answer(write, answer) for write, answer in zip(writes, outcome, strict=True)]


def _comparable_answer(write: Write, answer: Answer) -> Any:
    if isinstance(answer, int):
        return answer
    return _in_order(answer) if isinstance(write, router_pb2.UpdateRequest) else (list(answer), news_of(answer))


def _in_order(rows: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)

"""Rows with a value that is unique over all shards: what its claim costs an insert, and what finding by it costs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.population import Row

CLAIMED = "unique over all shards"
TWIN = "without the unique key"
BY_VALUE = "Get by the unique value"
BY_KEY = "Get by the key"

CLAIMED_IN_TIMES_OF_TWIN = 1.6

_numbers = itertools.count()


def inserts_of_unique_values(crosskey: Crosskey, at_once: int, rows: int) -> Case:
    """Rows whose usernames nobody has yet, against the same rows in a table where they need not be unique."""
    return Case(
        f"insert of {rows:,} with a value unique over all shards, {at_once} at once",
        [
            Contender(CLAIMED, partial(_inserts, crosskey, "accounts", rows), at_once, rows),
            Contender(TWIN, partial(_inserts, crosskey, "accounts_without_unique", rows), at_once, rows),
        ],
        [Comparison(CLAIMED, TWIN, at_most=CLAIMED_IN_TIMES_OF_TWIN)],
    )


def gets_by_unique_value(crosskey: Crosskey, at_once: int) -> Case:
    """Finding a row by a value that does not say where it lives, against finding it by its key."""
    return Case(
        f"read of a row by a value unique over all shards, {at_once} at once",
        [
            Contender(BY_VALUE, partial(_gets, crosskey, "username"), at_once),
            Contender(BY_KEY, partial(_gets, crosskey, "id"), at_once),
        ],
        [Comparison(BY_VALUE, BY_KEY)],
    )


def account_row(person: str) -> Row:
    """The row of an account with a username that nobody has."""
    return {"id": person, "username": f"user {next(_numbers)}"}


async def _inserts(crosskey: Crosskey, table: str, rows: int, count: int) -> Sequence[Operation]:
    accounts = [account_row(person) for person in crosskey.population.new_people(rows * count)]
    requests = [accounts[start : start + rows] for start in range(0, len(accounts), rows)]
    return [partial(crosskey.client.insert, table, request) for request in requests]


async def _gets(crosskey: Crosskey, column: str, count: int) -> Sequence[Operation]:
    accounts = [account_row(person) for person in crosskey.population.new_people(count)]
    await crosskey.insert_all("accounts", accounts)
    return [partial(crosskey.client.get, "accounts", {column: account[column]}) for account in accounts]

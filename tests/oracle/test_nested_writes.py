"""Associations and nested writes leave the rows that plain statements leave on one PostgreSQL, or are refused alike."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import psycopg
import pytest

import crosskey
from tests.oracle import associations
from tests.oracle.associations import RELATIONS, BelongsTo, HasMany, Plain, RefusedError, Relation
from tests.oracle.pair import SHARDS, Pair

SCHEMA = associations.SCHEMA

pytestmark = pytest.mark.searches

FIRST_SEED = int(os.environ.get("CROSSKEY_FIRST_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CROSSKEY_SEEDS", "4")))
STEPS = 10
MISSING = 10**12

_numbers = count(1)

Row = dict[str, Any]


class Drawing:
    """Draws requests on the rows that there are, and carries them out on both sides."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.random = random.Random(seed)
        self.plain = Plain(pair.plain.connection)

    def number(self) -> int:
        """An id of any shard."""
        return self.pair.number(self.random.randrange(SHARDS))

    def owner_and_keys(self, table: str, relation: Relation) -> tuple[Any, list[Any]]:
        """A row, and ids of some that it has and of some others, now and then of one that is not there."""
        owner = self.one(table)
        key = relation.key if isinstance(relation, BelongsTo) else "id"
        linked, others = self.plain.linked(relation, owner), self.plain.ids(relation.target, key)
        keys = [one for one in linked if self.random.random() < 0.5]
        keys += self.random.sample(others, min(len(others), self.random.randint(0, 2)))
        keys += keys[:1]
        if self.random.random() < 0.1:
            keys.append("zz" if key == "code" else MISSING)
        return owner, keys if not isinstance(relation, BelongsTo) else keys[-1:]

    def one(self, table: str) -> Any:
        """The id of a row."""
        return self.random.choice(self.plain.ids(table))

    def compare(self, on_crosskey: Callable[[], Any], on_plain: Callable[[], Any], said: str) -> None:
        """Both answer the same, or refuse alike; afterwards all rows are the same."""
        try:
            answered: Any = on_crosskey()
        except crosskey.CrosskeyError as error:
            answered = error.metadata.get("sqlstate") or error.reason_name
        try:
            with self.pair.plain.connection.transaction():
                expected: Any = on_plain()
        except RefusedError as refused:
            expected = str(refused)
        except psycopg.Error as error:
            expected = error.sqlstate
        assert answered == expected, said
        self.pair.check_tables()


@pytest.fixture(scope="module")
def filled(pair: Pair) -> Pair:
    draw = random.Random(27)
    pair.insert("nw_countries", {"code": "fr", "name": "France"}, {"code": "pe", "name": "Peru"})
    users = [pair.number(number % SHARDS) for number in range(9)]
    pair.insert("nw_users", *({"id": one, "name": f"u{one}"} for one in users))
    accounts = [pair.number(number % SHARDS) for number in range(6)]
    pair.insert("nw_accounts", *({"id": one, "email": f"e{one}"} for one in accounts))
    messages = [pair.number(number % SHARDS) for number in range(12)]
    for number, one in enumerate(messages):
        ends = {"recipient_id": draw.choice(users), "sender_id": draw.choice(users)}
        reply_to = draw.choice([None, *messages[:number]])
        pair.insert("nw_messages", {"id": one, **ends, "reply_to_id": reply_to, "content": "c", "weight": number})
    pairs = {(draw.choice(users), draw.choice(accounts)) for _ in range(20)}
    pair.insert("nw_memberships", *({"user_id": user, "account_id": one} for user, one in sorted(pairs)))
    pairs = {(draw.choice(users), draw.choice(users)) for _ in range(20)}
    pair.insert("nw_follows", *({"follower_id": one, "followee_id": other} for one, other in sorted(pairs)))
    for guest in users[3:]:
        pair.update("nw_users", {"invited_by_id": draw.choice(users[:3])}, key={"id": guest})
    return pair


@pytest.mark.parametrize("seed", SEEDS)
def test_associations(filled: Pair, seed: int) -> None:
    drawing = Drawing(filled, seed)
    for step in range(STEPS):
        (table, name), relation = drawing.random.choice([*RELATIONS.items()])
        operation = drawing.random.choice(["append", "replace", "replace", "remove", "clear"])
        owner, keys = drawing.owner_and_keys(table, relation)
        keys = [] if operation == "clear" else keys
        if operation == "append" and isinstance(relation, BelongsTo) and not keys:
            continue
        delete = isinstance(relation, HasMany) and drawing.random.random() < 0.5
        key = relation.key if isinstance(relation, BelongsTo) else "id"
        rows = [{key: one} for one in keys]

        drawing.compare(
            partial(_associate, filled, table, owner, name, operation, rows, delete),
            partial(drawing.plain.associate, relation, owner, operation, keys, delete=delete),
            f"seed {seed}, step {step}: {operation} {table}.{name} of {owner} {rows}",
        )


def _associate(
    pair: Pair, table: str, owner: Any, name: str, operation: Any, rows: list[Row], delete: bool
) -> associations.Counts:
    done = pair.client.associate(table, {"id": owner}, name, operation, rows, delete_detached=delete)
    return done.added, done.removed, done.kept


@pytest.mark.parametrize("seed", SEEDS)
def test_nested_inserts(filled: Pair, seed: int) -> None:
    drawing = Drawing(filled, seed)
    for step in range(4):
        user = _NestedUser(drawing)
        said = f"seed {seed}, step {step}: {user.row}"
        drawing.compare(
            partial(filled.client.insert, "nw_users", user.row, count_only=True), partial(_run, user.statements), said
        )


def _run(statements: list[Callable[[], Any]]) -> list[Row]:
    for statement in statements:
        statement()
    return []


class _NestedUser:
    """A user with rows of some relations, and the plain statements for it."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._draw, self._plain = drawing.random, drawing.plain
        self._id = drawing.number()
        self.row: Row = {"id": self._id, "name": "n"}
        self._columns: Row = {"id": self._id, "name": "n"}
        self._before: list[Callable[[], Any]] = []
        self._after: list[Callable[[], Any]] = []
        for part in (self._country, self._profile, self._accounts, self._users, self._message):
            if self._draw.random() < 0.6:
                part()

    @property
    def statements(self) -> list[Callable[[], Any]]:
        """What the row it belongs to, the row, and what belongs to it are inserted by."""
        return [*self._before, partial(self._plain.insert, "nw_users", self._columns), *self._after]

    def _insert(self, table: str, row: Row) -> None:
        self._after.append(partial(self._plain.insert, table, row))

    def _country(self) -> None:
        country = {"code": self._draw.choice(["fr", f"c{next(_numbers)}", "zz"]), "name": "x"}
        word = self._draw.choice(["create", "connect"])
        self.row["country"] = {word: country if word == "create" else {"code": country["code"]}}
        self._columns["country_code"] = country["code"]
        if word == "create":
            self._before.append(partial(self._plain.insert, "nw_countries", country))

    def _profile(self) -> None:
        profile = {"bio": self._draw.choice(["b", None])}
        self.row["nw_profiles"] = {"create": profile}
        self._insert("nw_profiles", {"user_id": self._id, **profile})

    def _accounts(self) -> None:
        """What is to be connected is looked up before rows of its relation are created."""
        email = self._draw.choice([*self._plain.emails(), "nobody"])
        account = {"id": self._drawing.number(), "email": self._draw.choice([f"m{next(_numbers)}", email])}
        joined = {**account, "crosskey_join": {"role": "owner"}}
        words = self._draw.choice([("connect",), ("create",), ("connect", "create")])
        given = {"connect": {"email": email}, "create": [joined]}
        self.row["nw_accounts"] = {word: given[word] for word in words}
        if "connect" in words:
            self._after.append(partial(self._plain.id_of, "nw_accounts", "email", email))
        if "create" in words:
            self._insert("nw_accounts", account)
            self._insert("nw_memberships", {"user_id": self._id, "account_id": account["id"], "role": "owner"})
        if "connect" in words:
            self._after.append(partial(self._plain.join, self._id, email))

    def _users(self) -> None:
        guest = {"id": self._drawing.number(), "name": "guest"}
        follower = self._drawing.one("nw_users")
        self.row["guests"] = {"create": [guest]}
        self.row["followers"] = {"connect": [{"id": follower}]}
        self._insert("nw_users", {**guest, "invited_by_id": self._id})
        self._insert("nw_follows", {"followee_id": self._id, "follower_id": follower})

    def _message(self) -> None:
        message = {"id": self._drawing.number(), "content": "m", "weight": 1}
        sender = {"id": self._drawing.number(), "name": self._draw.choice(["s", None])}
        self.row["inbox"] = {"create": [{**message, "sender": {"create": sender}}]}
        self._insert("nw_users", sender)
        self._insert("nw_messages", {**message, "recipient_id": self._id, "sender_id": sender["id"]})


@pytest.mark.parametrize("seed", SEEDS)
def test_nested_updates(filled: Pair, seed: int) -> None:
    drawing = Drawing(filled, seed)
    words = {"append": "connect", "replace": "set", "remove": "disconnect"}
    for step in range(STEPS):
        choices = [(one, relation) for one, relation in RELATIONS.items() if not isinstance(relation, BelongsTo)]
        (table, name), relation = drawing.random.choice(choices)
        operation = drawing.random.choice([*words])
        owner, keys = drawing.owner_and_keys(table, relation)
        delete = operation == "replace" and drawing.random.random() < 0.5
        nested: Row = {words[operation]: [{"id": one} for one in keys]}
        nested |= {"delete_detached": True} if delete else {}
        changed: Row = {"name": "N"} if table == "nw_users" else {}

        drawing.compare(
            partial(filled.client.update, table, {**changed, name: nested}, key={"id": owner}, count_only=True),
            partial(_update, drawing, relation, owner, operation, keys, delete, changed),
            f"seed {seed}, step {step}: {table}.{name} of {owner} {nested}",
        )


def _update(
    drawing: Drawing, relation: Relation, owner: Any, operation: str, keys: list[Any], delete: bool, changed: Row
) -> list[Row]:
    if changed:
        drawing.plain.rename(owner, changed["name"])
    if operation != "remove" or keys:
        drawing.plain.associate(relation, owner, operation, keys, delete=delete)
    return []

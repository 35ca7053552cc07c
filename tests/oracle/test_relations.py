"""Includes, and conditions over relations, give what joins and subqueries give on one PostgreSQL."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import crosskey
from crosskey.v1.router_pb2 import DeleteRequest
from crosskey.v1.rows_pb2 import Predicate
from tests.oracle import related
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.related import Draw, expected_rows, without_sql

pytestmark = pytest.mark.searches

SCHEMA = related.SCHEMA

TABLES = list(related.KEYS)
FIRST_SEED = int(os.environ.get("CROSSKEY_FIRST_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CROSSKEY_SEEDS", "12")))


@pytest.fixture(scope="module")
def filled(pair: Pair) -> Pair:
    """Some rows of each table, whose relations lead to their own shard and to others."""
    draw = random.Random(14)
    numbers = count(1)
    users: list[dict[str, Any]] = []
    countries = [{"code": code, "name": name} for code, name in (("fr", "France"), ("pe", "Peru"), ("va", "Vatican"))]
    pair.insert("rel_countries", *countries)
    for number in range(14):
        guest_of = draw.choice(users)["id"] if users and draw.random() < 0.6 else None
        users += pair.insert(
            "rel_users",
            {
                "id": pair.number(number % SHARDS),
                "name": draw.choice("aAbB") + str(number),
                "nick": draw.choice([None, "n%1", "nx", "zz"]),
                "points": draw.choice([None, 1, 2, 3, 4, 5]),
                "tags": draw.choice([None, [], ["x"], ["x", "y"]]),
                "facts": draw.choice([None, {"a": 1}, {"b": [1, 2]}, {"a": 2, "b": [1]}]),
                "country_code": draw.choice([None, "fr", "pe"]),
                "invited_by_id": guest_of,
            },
        )
    ids = [user["id"] for user in users]
    pair.insert("rel_profiles", *({"user_id": one, "bio": draw.choice(["none", "some"])} for one in ids[::2]))
    accounts = [
        {"id": pair.number(number % SHARDS), "email": f"e{number}", "level": draw.choice([None, "1.50", "2.25"])}
        for number in range(8)
    ]
    pair.insert("rel_accounts", *accounts)
    pairs = {(draw.choice(ids), draw.choice(accounts)["id"]) for _ in range(24)}
    pair.insert(
        "rel_memberships",
        *({"user_id": u, "account_id": a, "role": draw.choice(["owner", "guest"])} for u, a in sorted(pairs)),
    )
    follows = {(draw.choice(ids), draw.choice(ids)) for _ in range(40)}
    pair.insert("rel_follows", *({"follower_id": one, "followee_id": other} for one, other in sorted(follows)))
    messages: list[str] = []
    for _ in range(50):
        row = {
            "id": next(numbers),
            "recipient_id": draw.choice(ids),
            "sender_id": draw.choice(ids),
            "reply_to_id": draw.choice([None, *messages]),
            "content": draw.choice(["a", "b", "ab", "c"]),
            "weight": draw.randint(1, 9),
        }
        messages.append(pair.insert("rel_messages", row)[0]["id"])
    logins = ({"id": n, "email": draw.choice(accounts)["email"], "place": draw.randint(1, 4)} for n in range(20))
    pair.insert("rel_logins", *logins)
    return pair


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_included(filled: Pair, seed: int) -> None:
    draw = Draw(seed)
    table = draw.random.choice(TABLES)
    includes = draw.includes(table, depth=3)
    listed = list(filled.client.list(table, include=without_sql(includes)))
    assert _without_tokens(listed) == expected_rows(filled.plain, table, "TRUE", includes)


@pytest.mark.parametrize("seed", SEEDS)
def test_conditions(filled: Pair, seed: int) -> None:
    draw = Draw(seed)
    table = draw.random.choice(TABLES)
    condition, text = draw.condition(table, table)
    expected = expected_rows(filled.plain, table, text, {})
    assert list(filled.client.list(table, [condition], page_size=draw.random.choice([0, 3]))) == expected
    assert filled.client.count(table, [condition]) == len(expected)


def test_conditions_of_no_conditions(filled: Pair) -> None:
    """As SQL's AND and OR of nothing: true, and false."""
    everybody = filled.client.count("rel_users")
    assert everybody == filled.client.count("rel_users", [crosskey.all_of(), crosskey.none_of()]) > 0
    assert filled.client.count("rel_users", crosskey.any_of()) == 0
    nobody = crosskey.any_of(crosskey.any_of(), crosskey.none_of(crosskey.all_of()))
    assert filled.client.list_page("rel_users", nobody).rows == []
    assert filled.client.count("rel_users", crosskey.some("inbox", crosskey.all_of())) > 0
    with pytest.raises(crosskey.InvalidRequest, match="a predicate is empty"):
        filled.client.count("rel_users", Predicate())


def test_get_with_pages_of_each_relation(filled: Pair) -> None:
    for row in filled.client.list("rel_users"):
        for name, relation in related.RELATIONS["rel_users"].items():
            if not relation.many:
                continue
            for order in (None, [crosskey.desc("id")] if "id" in related._COLUMNS[relation.target] else None):
                include = {"limit": 2, **({"order_by": order} if order else {})}
                pages = list(_pages(filled, row["id"], name, include))
                whole = filled.client.get("rel_users", id=row["id"], include={name: {**include, "limit": 0}})[name]
                assert [one for page in pages for one in page] == whole
                assert all(len(page) == 2 for page in pages[:-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_reads_among_the_writes_of_a_transaction(filled: Pair, seed: int) -> None:
    draw = Draw(seed)
    steps = [_step(filled, draw) for _ in range(7)]
    answers = filled.client.transact([statement for statement, _ in steps])
    with filled.plain.connection.transaction():
        for (statement, expected), answer in zip(steps, answers, strict=True):
            _agree(filled, statement, expected, answer)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_one_statement_after_another(filled: Pair, seed: int) -> None:
    draw = Draw(seed + 1000)
    with filled.client.transaction() as tx, filled.plain.connection.transaction():
        for _ in range(6):
            statement, expected = _step(filled, draw)
            _agree(filled, statement, expected, tx.run(statement))


@pytest.mark.parametrize("seed", SEEDS)
def test_writes_of_rows_that_meet_conditions_over_relations(filled: Pair, seed: int) -> None:
    draw = Draw(seed + 2000)
    for _ in range(4):
        change, text = draw.change()
        if isinstance(change, DeleteRequest):
            continue
        assert len(filled.client.transact([change])[0]) == filled.plain.connection.execute(text.encode()).rowcount, text
        filled.check_tables()


@pytest.mark.parametrize("seed", SEEDS)
def test_such_writes_one_after_another(filled: Pair, seed: int) -> None:
    """They see what the transaction did before, which is undone in the end."""
    draw = Draw(seed + 3000)
    with filled.client.transaction() as tx, filled.plain.connection.transaction(force_rollback=True):
        for _ in range(6):
            change, text = draw.change()
            answer = tx.run(change)
            count = answer if isinstance(answer, int) else len(answer)
            assert count == filled.plain.connection.execute(text.encode()).rowcount, text
        assert list(tx.list("rel_users")) == _expected(filled, "rel_users", "TRUE")
        tx.roll_back()


def _agree(pair: Pair, statement: Any, expected: Callable[[Any], bool] | None, answer: Any) -> None:
    if expected is None:
        assert _in_any_order(answer) == _in_any_order(pair.plain.execute(statement)), statement
    else:
        assert expected(answer), statement


def _step(pair: Pair, draw: Draw) -> tuple[Any, Callable[[Any], bool] | None]:
    """A statement, and for a read what tells whether its answer is that of the plain side."""
    if draw.random.random() < 0.4:
        return _write(pair, draw), None
    table = draw.random.choice(TABLES)
    condition, text = draw.condition(table, table)
    if draw.random.random() < 0.3:
        return crosskey.count(table, [condition]), lambda answer: answer == len(_expected(pair, table, text))
    includes = draw.includes(table, depth=2)
    lock: Any = draw.random.choice([None, "UPDATE", "NO KEY UPDATE", "SHARE"])
    read = crosskey.list_rows(table, [condition], include=without_sql(includes), lock=lock)
    return read, lambda answer: _without_tokens(answer.rows) == _expected(pair, table, text, includes)


def _expected(pair: Pair, table: str, text: str, includes: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return expected_rows(pair.plain, table, text, includes or {})


def _write(pair: Pair, draw: Draw) -> Any:
    """A write that nothing refuses."""
    users = [row["id"] for row in pair.plain.rows("rel_users", [])]
    match draw.random.choice(["user", "message", "follow", "points", "move", "forget"]):
        case "user":
            guest_of = draw.random.choice(users)
            return crosskey.insert(
                "rel_users",
                {"id": pair.number(draw.random.randrange(SHARDS)), "name": "new", "invited_by_id": guest_of},
            )
        case "message":
            ends = {"recipient_id": draw.random.choice(users), "sender_id": draw.random.choice(users)}
            return crosskey.insert("rel_messages", {"id": pair.number(0) + 1000, "content": "b", "weight": 4, **ends})
        case "follow":
            nothing = crosskey.do_nothing()
            row = {"follower_id": draw.random.choice(users), "followee_id": draw.random.choice(users)}
            return crosskey.insert("rel_follows", row, on_conflict=nothing)
        case "points":
            return crosskey.update(
                "rel_users", {"points": 3, "nick": "n%2"}, where={"points": draw.random.randint(1, 5)}
            )
        case "move":
            to = draw.random.choice(users)
            return crosskey.update("rel_messages", {"recipient_id": to}, where={"weight": draw.random.randint(1, 9)})
        case _:
            return crosskey.delete("rel_follows", where={"follower_id": draw.random.choice(users)})


def _in_any_order(answer: Any) -> Any:
    return sorted(map(repr, answer)) if isinstance(answer, list) else answer


def _pages(pair: Pair, user: str, name: str, include: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    token = ""
    while True:
        got = pair.client.get("rel_users", id=user, include={name: {**include, "page_token": token}})
        yield got[name]
        token = got.get("crosskey_next", {}).get(name, "")
        if not token:
            return


def _without_tokens(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_tokens(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_tokens(one) for name, one in value.items() if name != "crosskey_next"}
    return value

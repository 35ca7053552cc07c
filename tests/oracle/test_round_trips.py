"""What was read can be written back, and then is what it was: every value of every type, by both kinds of client."""

from __future__ import annotations

import json
import math
import random
import time as clock
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import crosskey
from crosskey import JSON_NULL, Client, InvalidRequest, InvalidValue
from crosskey.v1 import router_pb2
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

TYPES = {
    "small": "smallint", "whole": "integer", "large": "bigint", "exact": "numeric", "rounded": "numeric(12, 2)",
    "single": "real", "double": "float8", "flag": "boolean", "words": "text", "limited": "varchar(5)",
    "padded": "char(5)", "one": '"char"', "label": "name", "raw": "bytea", "key": "uuid", "day": "date",
    "moment": "timestamp", "zoned": "timestamptz", "clock": "time", "zoned_clock": "timetz", "took": "interval",
    "plain": "json", "tree": "jsonb", "feeling": "back_mood", "place": "back_pair", "above": "back_positive",
    "document": "back_document", "bits": "bit(3)", "more_bits": "varbit", "host": "inet", "net": "cidr",
    "card": "macaddr", "cash": "money", "spot": "point", "span": "int4range", "spans": "int4multirange",
    "period": "tstzrange", "sought": "tsvector", "larges": "bigint[]", "exacts": "numeric[]", "doubles": "float8[]",
    "texts": "text[]", "flags": "boolean[]", "raws": "bytea[]", "keys": "uuid[]", "days": "date[]",
    "moments": "timestamptz[]", "tooks": "interval[]", "trees": "jsonb[]", "feelings": "back_mood[]",
    "places": "back_pair[]", "documents": "back_document[]", "bodies": "back_numbers",
}  # fmt: skip

SCHEMA = f"""
CREATE TYPE back_mood AS ENUM ('sad', 'so "so"');
CREATE TYPE back_pair AS (body jsonb, label text, tags text[]);
CREATE DOMAIN back_positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN back_document AS jsonb;
CREATE DOMAIN back_numbers AS bigint[];
CREATE TABLE back (id bigint PRIMARY KEY, {", ".join(f"{name} {of}" for name, of in TYPES.items())});
COMMENT ON TABLE back IS '@shard_by id';
CREATE TABLE back_computed (
    id bigint PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    name text,
    body json,
    twice numeric GENERATED ALWAYS AS (id * 2.50) STORED,
    loud text GENERATED ALWAYS AS (upper(name)) STORED,
    copied json GENERATED ALWAYS AS (body) STORED
);
COMMENT ON TABLE back_computed IS '@shard_by id';
CREATE TABLE back_everywhere (code text PRIMARY KEY, tree jsonb, loud text GENERATED ALWAYS AS (upper(code)) STORED);
COMMENT ON TABLE back_everywhere IS '@reference';
"""

HUGE = "9" * 5000
TEXTS: dict[str, list[str]] = {
    "small": ["-32768"], "whole": ["2147483647"],
    "large": [str(2**63 - 1), str(-(2**63)), str(2**53 + 1)],
    "exact": ["1.50", "0.0000000000", "-0", "NaN", "-Infinity",
              "1" + "0" * 40, "0.1000000000000000000000000000001", HUGE],
    "rounded": ["9999999999.90"],
    "single": ["1.1", "1e-40", "NaN", "-0", "Infinity", "16777216"],
    "double": ["0.1", "1e300", "1e15", "-0", "NaN", "-Infinity", "5", "4.9e-324", "0.30000000000000004"],
    "flag": ["t", "f"], "words": ["", "null", "\\x00", " a\tb\n", "{}", "[1]", "5", "💶"],
    "limited": ["1234 "], "padded": ["a"], "one": ["x"], "label": ["a name"], "raw": ["\\x", "\\x00ff5c"],
    "key": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "day": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "20000-01-01", "0001-01-01"],
    "moment": ["2024-02-29 12:00:00.000001", "infinity", "294276-12-31 23:59:59", "4713-01-01 BC", "2024-01-01"],
    "zoned": ["2024-02-29 12:00:00.5+02", "-infinity", "4713-01-01 00:00+00 BC", "9999-12-31 23:59:59+00"],
    "clock": ["24:00:00", "12:00:00.1", "00:00"], "zoned_clock": ["12:00:00+02:30:15", "24:00:00-01"],
    "took": ["1 year -2 mons +3 days 04:05:06.7", "25:00:00", "1 day -00:00:01", "-1 days +02:00:00", "0",
             "2147483647 days", "36:00:00.000001", "-00:00:01"],
    "plain": ['{"a":1,"b":[1152921504606846977,1.10,null]}', "null", '"text"', HUGE],
    "tree": ['{"n": 1152921504606846977}', "null", '"null"', "5", "5.0", "1.10", "0.0000000000", HUGE, "[]", "{}",
             "0.1000000000000000000001", '{"a": {"b": [null, 1e400, "5"]}}', "1" + "0" * 30, '"1152921504606846977"'],
    "feeling": ['so "so"'], "place": ['("{""n"": 1.10}","a, ""b""",{x})', "(null,,)", "(,,)", '(,,"[0:0]={x}")'],
    "above": ["1"], "document": ["null", '{"n": 1.10}', HUGE], "bits": ["101"], "more_bits": ["", "10"],
    "host": ["192.168.0.1/24"], "net": ["10.0.0.0/8"], "card": ["08:00:2b:01:02:03"], "cash": ["1234.50"],
    "spot": ["(1.5,-2)"], "span": ["[1,5)", "empty", "(,3]"], "spans": ["{[1,3),[5,7)}", "{}"],
    "period": ["[2024-01-01,infinity)"], "sought": ["a fat cat:3A"],
    "larges": ["{}", f"{{{2**62},NULL}}", "[0:1]={1,2}", "{{1,2},{3,NULL}}", "[2:2][-1:0]={{1,2}}"],
    "exacts": ["{1.50,NaN,NULL}", "{0.0000000000}"], "doubles": ["{-0,NaN,Infinity,5,0.1}"],
    "texts": ['{"",NULL,"NULL","a,b","\\"","\\\\","{}"}', "{{a},{b}}", "{null}"], "flags": ["{t,f,NULL}"],
    "raws": ['{"\\\\x00ff","\\\\x",NULL}'], "keys": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"],
    "days": ["{2024-01-01,infinity,NULL}"], "moments": ['{"2024-01-01 00:00:00+00",infinity}'],
    "tooks": ['{"1 day","1 mon",25:00:00}'],
    "trees": ['{"{\\"n\\": 1152921504606846977}",NULL,5.0}', '{"null",NULL}', '{"[1, 2]","[3]"}', "{}", '{"\\"x\\""}'],
    "feelings": ['{sad,"so \\"so\\""}'], "places": ['{"(null,,)",NULL}', "[3:3]={NULL}"],
    "documents": ['{"null",NULL}', '{"\\"x\\""}'], "bodies": [f"[5:5]={{{2**60}}}", "{7}"],
}  # fmt: skip

ONLY_TYPED = {
    ("tree", "null"), ("plain", "null"), ("document", "null"), ("single", "-0"), ("double", "-0"), ("doubles", None),
    ("larges", "[0:1]={1,2}"), ("larges", "[2:2][-1:0]={{1,2}}"), ("trees", '{"null",NULL}'),
    ("trees", '{"[1, 2]","[3]"}'), ("documents", '{"null",NULL}'), ("places", None), ("bodies", TEXTS["bodies"][0]),
    ("place", "(null,,)"), ("place", '(,,"[0:0]={x}")'),
}  # fmt: skip
"""What the JSON form of PostgreSQL does not tell apart."""


@pytest.fixture(scope="module")
def typed(pair: Pair) -> Iterator[Client]:
    with Client(pair.address, typed=True) as client:
        yield client


@pytest.fixture(autouse=True)
def _emptied(pair: Pair) -> Iterator[None]:
    yield
    for table in ("back", "back_computed", "back_everywhere"):
        first = "code" if table == "back_everywhere" else "id"
        pair.client.delete(table, where=crosskey.is_null(first, null=False))


def stored(pair: Pair, table: str, column: str = "t") -> list[str]:
    """The rows, or the values of a column, by id, as PostgreSQL writes them."""
    found: list[tuple[int, str]] = []
    for shard in pair.shards:
        found += shard.execute(f"SELECT t.id, concat({column}) FROM {table} t").fetchall()
    return [text for _, text in sorted(found)]


def insert_text(pair: Pair, column: str, texts: list[str]) -> None:
    """Inserts rows with values that are given as PostgreSQL's text of them."""
    is_json = TYPES[column] in ("json", "jsonb", "back_document")
    rows = [{"id": pair.number(place % SHARDS), column: text} for place, text in enumerate(texts)]
    request = router_pb2.InsertRequest(
        table="back", rows_json=json.dumps(rows), json_text_columns=[column] if is_json else []
    )
    pair.client.transact([request])


@pytest.mark.parametrize("column", TEXTS)
def test_what_was_read_is_written_back_unchanged(pair: Pair, typed: Client, column: str) -> None:
    exact = [text for text in TEXTS[column] if not {(column, text), (column, None)} & ONLY_TYPED]
    for client, texts in ((typed, TEXTS[column]), *([(pair.client, exact)] if exact else [])):
        insert_text(pair, column, texts)
        before = stored(pair, "back")
        rows = list(client.list("back", order_by="id"))
        for row in rows:
            assert client.update("back", row, key={"id": row["id"]}) == [row] or has_nan(row[column])
        assert stored(pair, "back") == before
        client.transact([crosskey.update("back", row, key={"id": row["id"]}) for row in rows])
        assert stored(pair, "back") == before
        values = stored(pair, "back", f"t.{column}")
        client.delete("back", where=crosskey.is_null("id", null=False))
        client.insert("back", rows)
        assert (stored(pair, "back"), stored(pair, "back", f"t.{column}")) == (before, values)
        client.delete("back", where=crosskey.is_null("id", null=False))


def has_nan(value: Any) -> bool:
    """Whether it is, or has in it, what does not equal itself."""
    return any(map(has_nan, value)) if isinstance(value, list) else value != value


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("large", "5", 5), ("exact", "1.50", Decimal("1.50")), ("double", "5", 5.0), ("flag", "t", True),
        ("words", "5", "5"), ("raw", "\\x00ff", b"\x00\xff"),
        ("key", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("day", "2024-02-29", date(2024, 2, 29)), ("day", "infinity", "infinity"),
        ("moment", "2024-02-29 12:00", datetime(2024, 2, 29, 12)),  # noqa: DTZ001
        ("zoned", "2024-02-29 12:00+02", datetime(2024, 2, 29, 10, tzinfo=UTC)), ("clock", "12:00", time(12)),
        ("zoned_clock", "12:00+02", time(12, tzinfo=timezone(timedelta(hours=2)))),
        ("took", "1 day 02:00", timedelta(days=1, hours=2)), ("took", "26:00:00", "26:00:00"),
        ("took", "1 mon", "1 mon"),
        ("tree", "null", JSON_NULL), ("tree", '{"a": [1152921504606846977, null]}', {"a": [1152921504606846977, None]}),
        ("tree", "1.10", Decimal("1.10")), ("tree", "1.5", 1.5), ("document", "null", JSON_NULL), ("above", "1", 1),
        ("larges", "{{1},{NULL}}", [[1], [None]]), ("larges", "[0:0]={1}", "[0:0]={1}"), ("larges", "{}", []),
        ("texts", '{a,NULL,"NULL"}', ["a", None, "NULL"]), ("days", "{2024-01-01}", [date(2024, 1, 1)]),
        ("raws", '{"\\\\x00"}', [b"\x00"]), ("trees", '{"{\\"a\\": 1}"}', [{"a": 1}]), ("feeling", "sad", "sad"),
        ("span", "[1,5)", "[1,5)"), ("place", "(,a,)", "(,a,)"), ("bodies", "{7}", [7]),
    ],
)  # fmt: skip
def test_typed_values(pair: Pair, typed: Client, column: str, text: str, value: Any) -> None:
    insert_text(pair, column, [text])
    [row] = typed.list("back")
    assert (row[column], type(row[column])) == (value, type(value))
    assert {name for name, one in row.items() if one is not None} == {"id", column}
    assert type(row["id"]) is int


def of(rng: random.Random, make: Callable[[], Any]) -> list[Any]:
    """A list of values that has a NULL now and then."""
    return [None if rng.random() < 0.2 else make() for _ in range(rng.randrange(4))]


def makers(rng: random.Random) -> dict[str, Callable[[], Any]]:
    """What makes a random value for each column."""

    def exact() -> Decimal:
        return Decimal(f"{rng.randrange(-(10**30), 10**30)}E-{rng.randrange(40)}")

    def double() -> float:
        return rng.choice(
            [rng.uniform(-1, 1), rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300), -0.0, 1e15, math.inf]
        )

    def text() -> str:
        return "".join(rng.choices("ab\\\"'{}[],NUL \n\t💶:", k=rng.randrange(8)))

    def moment() -> datetime:
        return datetime(1, 1, 2, tzinfo=UTC) + timedelta(microseconds=rng.randrange(3 * 10**17))

    def took() -> timedelta:
        return timedelta(days=rng.randrange(-9999, 9999), microseconds=rng.randrange(86_400_000_000))

    def tree(depth: int = 3) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: rng.randrange(-(2**70), 2**70), lambda: rng.uniform(-1e6, 1e6), text, lambda: True, lambda: None,
            lambda: Decimal(f"{rng.randrange(10**6)}.{rng.randrange(10**25):025}"),
        ]  # fmt: skip
        if depth:
            kinds += [lambda: [tree(depth - 1) for _ in range(3)], lambda: {text(): tree(depth - 1) for _ in range(3)}]
        value = rng.choice(kinds)()
        return JSON_NULL if value is None and depth == 3 else value

    return {
        "small": lambda: rng.randrange(-(2**15), 2**15), "large": lambda: rng.randrange(-(2**63), 2**63),
        "exact": exact, "double": double, "flag": lambda: rng.random() < 0.5, "words": text,
        "raw": lambda: rng.randbytes(rng.randrange(9)), "key": lambda: UUID(int=rng.getrandbits(128)),
        "day": lambda: moment().date(), "moment": lambda: moment().replace(tzinfo=None), "zoned": moment,
        "clock": lambda: moment().time(), "took": took, "tree": tree, "plain": tree,
        "larges": lambda: of(rng, lambda: rng.randrange(2**63)), "exacts": lambda: of(rng, exact),
        "doubles": lambda: of(rng, double), "texts": lambda: of(rng, text),
        "raws": lambda: of(rng, lambda: rng.randbytes(3)),
        "days": lambda: of(rng, lambda: moment().date()), "moments": lambda: of(rng, moment),
        "tooks": lambda: of(rng, took),
        "trees": lambda: of(rng, lambda: {"a": tree(2)}),
    }  # fmt: skip


def spelt(value: Any) -> str:
    """The value with the types and the digits of all that is in it, which equality lets differ."""
    if isinstance(value, dict):
        return str(sorted((name, spelt(one)) for name, one in value.items()))
    return str([spelt(one) for one in value]) if isinstance(value, list) else repr(value)


def test_random_values_come_back_as_they_went(pair: Pair, typed: Client) -> None:
    seed = clock.time_ns()
    print("seed", seed)  # noqa: T201
    rng = random.Random(seed)
    made = makers(rng)
    rows = [
        {"id": pair.number(place % SHARDS), **{name: make() for name, make in made.items() if rng.random() < 0.9}}
        for place in range(60)
    ]
    answered = typed.insert("back", rows)
    for row, back in zip(rows, answered, strict=True):
        assert {name: back[name] for name in row} == row
        assert {name: spelt(back[name]) for name in row} == {name: spelt(row[name]) for name in row}
    before = stored(pair, "back")
    typed.transact([crosskey.update("back", row, key={"id": row["id"]}) for row in answered])
    assert stored(pair, "back") == before
    plain = list(pair.client.list("back", order_by="id"))
    exact = [name for name in made if name not in ("double", "doubles")]
    kept = [{name: row[name] for name in ("id", *exact) if name not in ("tree", "plain")} for row in plain]
    pair.client.transact([crosskey.update("back", row, key={"id": row["id"]}) for row in kept])
    assert stored(pair, "back") == before


def test_keys_and_conditions_are_typed_too(pair: Pair, typed: Client) -> None:
    number, big = pair.number(1), {"n": 2**60 + 1}
    [row] = typed.insert(
        "back", {"id": number, "tree": big, "took": timedelta(1), "exact": Decimal("1.10"), "raw": b"\xff"}
    )
    assert typed.get("back", id=row["id"]) == row
    for column in ("tree", "took", "exact", "raw"):
        assert typed.count("back", {column: row[column]}) == pair.client.count("back", {column: row[column]}) == 1
        assert typed.count("back", crosskey.in_(column, [row[column]])) == 1
    assert typed.count("back", {"tree": {"n": str(2**60 + 1)}}) == 0
    [row] = typed.update("back", {"tree": crosskey.column("tree").concatenate({"m": 2**61 + 1})}, key={"id": number})
    assert row["tree"] == {**big, "m": 2**61 + 1}


def test_a_whole_row_is_written_back_although_it_has_computed_columns(pair: Pair, typed: Client) -> None:
    rows = [{"id": pair.number(shard), "name": "a", "body": {"n": 2**60}} for shard in range(SHARDS)]
    for client in (typed, pair.client):
        for row in client.insert("back_computed", rows):
            before = stored(pair, "back_computed")
            assert client.update("back_computed", row, key={"id": row["id"]}) == [row]
            assert stored(pair, "back_computed") == before
            [changed] = client.update("back_computed", {**row, "name": "b"}, key={"id": row["id"]})
            assert changed == {**row, "name": "b", "loud": "B"}
            refused: dict[str, tuple[Any, str]] = {
                "number": (0, "an identity column defined as GENERATED ALWAYS"),
                "twice": (Decimal("2.5"), "a generated column"),
                "loud": ("A", "a generated column"),
                "copied": (None, "a generated column"),
            }
            for column, (value, kind) in refused.items():
                with pytest.raises(InvalidValue) as caught:
                    client.update("back_computed", {**changed, column: value}, key={"id": row["id"]})
                assert caught.value.message == f'column "{column}" can only be updated to DEFAULT'
                assert caught.value.metadata["detail"] == f'Column "{column}" is {kind}.'
                assert caught.value.metadata["sqlstate"] == "428C9"
            where = crosskey.in_("id", [one["id"] for one in rows])
            with pytest.raises(InvalidValue):
                client.update("back_computed", {"name": "c", "twice": row["twice"]}, where=where)
            assert [one["name"] for one in client.list("back_computed", crosskey.eq("id", row["id"]))] == ["b"]
        client.delete("back_computed", where=crosskey.is_null("id", null=False))


def test_a_row_of_a_reference_table_is_written_back(pair: Pair, typed: Client) -> None:
    [row] = typed.insert("back_everywhere", {"code": "a", "tree": JSON_NULL})
    assert typed.update("back_everywhere", row, key={"code": "a"}) == [row]
    assert row == {"code": "a", "tree": JSON_NULL, "loud": "A"}
    again = typed.insert(
        "back_everywhere", {"code": "a", "tree": {}}, on_conflict=crosskey.do_update("tree", on="code")
    )
    assert [one["tree"] for one in again] == [{}]
    assert pair.client.get("back_everywhere", code="a")["tree"] == {}


def test_a_row_that_moves_is_answered_typed(pair: Pair, typed: Client) -> None:
    old, new = pair.number(0), pair.number(1)
    [row] = typed.insert("back", {"id": old, "tree": JSON_NULL, "exact": Decimal("1.10")})
    assert typed.update("back", {**row, "id": new}, key={"id": old}) == [{**row, "id": new}]
    assert typed.get("back", id=new) == {**row, "id": new}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rows_json": "[", "table": "back"}, "rows_json cannot be read"),
        ({"rows_json": "{}", "table": "back"}, "rows_json is not an array of objects"),
        ({"rows_json": "[1]", "table": "back"}, "rows_json is not an array of objects"),
        ({"rows_json": '[{"exact": 1e99999999999999999999}]', "table": "back"}, "rows_json cannot be read"),
        ({"rows_json": "[" * 5000, "table": "back"}, "rows_json"),
        ({"rows_json": '[{"id": 1}]', "table": "back", "rows": [{}]}, "both rows and rows_json"),
        ({"rows_json": '[{"id": 1}]', "table": "back", "json_text_columns": ["words"]}, "is not of type json or jsonb"),
        ({"rows_json": '[{"id": 1, "tree": 5}]', "table": "back", "json_text_columns": ["tree"]}, "takes the text"),
    ],
)
def test_what_cannot_be_read_is_refused(pair: Pair, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said.replace("[", r"\[")):
        pair.client.transact([router_pb2.InsertRequest(**fields)])

"""Foreign keys over columns of every type: a key that travels between shards stays the same key."""

from collections.abc import Callable
from typing import Any

import pytest

from crosskey import ForeignKeyViolation, UniqueViolation, delete, desc, do_update, in_, insert
from crosskey.exact_json import decode
from crosskey.router.administration.guard_comparison import PAGE_KEYS
from tests.eventually import eventually
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

VALUES: dict[str, list[Any]] = {
    "numeric": ["1.50", "NaN", "-Infinity", "0.1000000000000000000000000001", "123456789012345678901234567890"],
    "real": [1.5, "NaN", "3e-40", 0.1],
    "double precision": [0.1, "Infinity", "1e-300", 1e300, "-0"],
    "boolean": [True, False],
    "char(4)": ["a", "ab  ", ""],
    "varchar(9)": ["", " x ", "NULL", '{"a": 1}'],
    "name": ["Some Name"],
    '"char"': ["x"],
    "bytea": ["\\x00ff", "", "\\x5c27"],
    "date": ["2024-02-29", "infinity", "0044-03-15 BC"],
    "time": ["23:59:59.999999", "24:00:00"],
    "timetz": ["12:00:00+02", "10:00:00+00"],
    "timestamp": ["2024-02-29 12:00:00.000001", "-infinity"],
    "timestamptz": ["2024-02-29T12:00:00+02:00", "infinity", "1883-11-18 12:00 America/New_York"],
    "interval": ["1 year -2 mons 3 days 04:05:06.7", "0"],
    "flavour": ["sweet and sour", "bitter"],
    "integer[]": [[1, None, 3], [], [[1, 2], [3, 4]], [1, 2], "[0:1]={1,2}"],
    "jsonb[]": ['{"null",NULL,"[]"}', "{NULL,NULL,[]}"],
    "text[]": [["", "NULL", "a,b", '"', "\\", None]],
    "numeric[]": [["1.50", None]],
    "int4range": ["[1,5)", "empty", "(,)"],
    "tstzrange": ["[2024-01-01,infinity)"],
    "int4multirange": ["{[1,3),[5,7)}", "{}"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "bit(3)": ["101"],
    "varbit": ["", "1"],
    "inet": ["192.168.0.1/24", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "money": ["1234.50"],
    "jsonb": [{"a": [1, "x", None]}, [], "text", 5],
    "spot": ["(1,2.50)", '(,"")', "(,)"],
    "chart": ['(null,"[0:1]={1,2}")', '(,"{1,2}")'],
    "scent": ["sweet", "bitter"],
    "scent[]": ["{sweet}"],
    "hstore": ["a=>1", 'a=>NULL, b=>"\'"', ""],
    "hstore[]": ["{a=>1,NULL}"],
    "tagged": ['(5,"a=>1")'],
    "oid": [4294967295],
    # A node finds its operators by their schema alone.
    "elsewhere.citext": ["a", "B", "c"],
}

TYPES = list(VALUES)


def _tables(number: int, column_type: str) -> str:
    return f"""
CREATE TABLE typed_parents_{number} (id bigint, v {column_type}, PRIMARY KEY (id, v));
COMMENT ON TABLE typed_parents_{number} IS '@shard_by id';
CREATE TABLE typed_children_{number} (
    id bigint PRIMARY KEY,
    parent bigint,
    v {column_type},
    FOREIGN KEY (parent, v) REFERENCES typed_parents_{number} ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE typed_children_{number} IS '@shard_by id';
"""


CLAIMED = ["integer[]", "chart", "scent", "jsonb", "spot"]
"""Types in keys onto claims; those of extensions are not claimed."""


def _claimed_tables(number: int, column_type: str) -> str:
    return f"""
CREATE TABLE claimed_parents_{number} (id bigint PRIMARY KEY, code text, v {column_type}, UNIQUE (code, v));
COMMENT ON TABLE claimed_parents_{number} IS '@shard_by id';
CREATE TABLE claimed_children_{number} (
    id bigint PRIMARY KEY,
    code text,
    v {column_type},
    FOREIGN KEY (code, v) REFERENCES claimed_parents_{number} (code, v) ON UPDATE CASCADE ON DELETE SET NULL
);
COMMENT ON TABLE claimed_children_{number} IS '@shard_by id';
"""


SCHEMA = """
CREATE EXTENSION hstore;
CREATE SCHEMA elsewhere;
CREATE EXTENSION citext SCHEMA elsewhere;
CREATE TYPE flavour AS ENUM ('bitter', 'sweet and sour');
CREATE TYPE spot AS (x integer, y text);
CREATE TYPE chart AS (body jsonb, places integer[]);
CREATE TYPE tagged AS (number integer, tags hstore);
-- A type that says how it is shown in JSON, as hstore does.
CREATE TYPE scent AS ENUM ('bitter', 'sweet');
CREATE FUNCTION scent_as_json(scent) RETURNS json LANGUAGE sql IMMUTABLE RETURN json_build_object('scent', 1);
CREATE CAST (scent AS json) WITH FUNCTION scent_as_json(scent);
""" + "".join(
    [
        *(_tables(number, column_type) for number, column_type in enumerate(TYPES)),
        *(_claimed_tables(number, column_type) for number, column_type in enumerate(CLAIMED)),
    ]
)


@pytest.mark.parametrize("column_type", TYPES, ids=lambda name: name.replace(" ", "_"))
def test_a_key_of_a_type(pair: Pair, child_shard: int, column_type: str) -> None:
    number, values = TYPES.index(column_type), VALUES[column_type]
    parents, children = f"typed_parents_{number}", f"typed_children_{number}"
    first, others, new = pair.number(PARENT_SHARD), pair.number(PARENT_SHARD), pair.number(2)
    keys = [{"id": others if place else first, "v": value} for place, value in enumerate(values)]
    pair.insert(parents, *keys)
    pair.insert(children, *[{"id": pair.number(child_shard), "parent": key["id"], "v": key["v"]} for key in keys])
    with pytest.raises(ForeignKeyViolation):
        pair.insert(children, {"id": pair.number(child_shard), "parent": new, "v": values[0]})
    pair.update(parents, {"id": new}, where={"id": first})
    assert len(pair.rows(children, {"parent": new})) == 1
    assert pair.delete(parents, where=in_("id", [new, others])) == len(values)
    assert pair.rows(children, in_("parent", [new, others])) == []


@pytest.mark.parametrize("column_type", TYPES, ids=lambda name: name.replace(" ", "_"))
def test_a_key_gets_other_values_of_its_type(pair: Pair, child_shard: int, column_type: str) -> None:
    number, values = TYPES.index(column_type), VALUES[column_type]
    parents, children = f"typed_parents_{number}", f"typed_children_{number}"
    parent, child = {"id": pair.number(PARENT_SHARD)}, {"id": pair.number(child_shard)}
    pair.insert(parents, {**parent, "v": values[0]})
    pair.insert(children, {**child, "parent": parent["id"], "v": values[0]})
    for value in [*values[1:], values[0]]:
        pair.update(parents, {"v": value}, where=parent)
        pair.rows(children, child)
        pair.insert(parents, {**parent, "v": value}, on_conflict=do_update("v", on=["id", "v"]))
    pair.delete(parents, where=parent)
    assert pair.rows(children, child) == []


def test_shadows_with_keys_of_all_types_are_found_unused(pair: Pair) -> None:
    """Two of each key, so that the second is asked for by the first, page after page."""
    children = []
    for number, values in enumerate(VALUES.values()):
        for value in values[:2]:
            key = {"parent": pair.number(PARENT_SHARD), "v": value}
            children.append((f"typed_children_{number}", {"id": pair.number(1), **key}))
            pair.insert(f"typed_parents_{number}", {"id": key["parent"], "v": value})
    pair.transact(*(insert(table, child) for table, child in children))
    pair.transact(*(delete(table, key={"id": child["id"]}) for table, child in children))
    dropped = pair.client.with_timeout(60).drop_unused_shadows()
    assert dropped >= len(children)
    pair.transact(*(insert(table, child) for table, child in children))


@pytest.mark.parametrize("column_type", CLAIMED)
def test_a_claimed_key_of_a_type(pair: Pair, child_shard: int, column_type: str) -> None:
    number, values = CLAIMED.index(column_type), VALUES[column_type]
    parents, children = f"claimed_parents_{number}", f"claimed_children_{number}"
    code, parent, child = pair.text(2), {"id": pair.number(PARENT_SHARD)}, {"id": pair.number(child_shard)}
    keys = [{"code": code, "v": value} for value in values]
    pair.insert(parents, {**parent, **keys[0]})
    pair.insert(children, {**child, **keys[0]})
    with pytest.raises(UniqueViolation):
        pair.insert(parents, {"id": pair.number(1), **keys[0]})
    for key in [*keys[1:], keys[0]]:
        pair.update(parents, key, where=parent)
        pair.rows(children, child)
        upserted = {"id": pair.number(1), **key}
        assert pair.insert(parents, upserted, on_conflict=do_update("id", on=["code", "v"])).outcomes == ["UPDATED"]
        parent = {"id": upserted["id"]}
    pair.delete(parents, where=parent)
    assert pair.rows(children, child)[0]["v"] is None


def test_the_audit_pages_by_the_order_of_a_type(pair: Pair) -> None:
    number, client = TYPES.index("elsewhere.citext"), pair.client.with_timeout(120)
    parents, children, shadows = f"typed_parents_{number}", f"typed_children_{number}", PAGE_KEYS + 10
    parent = pair.number(PARENT_SHARD)
    # The last ones lie behind the first page, and before it if upper case comes before lower case.
    values = [f"{'a' if place < PAGE_KEYS else 'B'}{place:04}" for place in range(shadows)]
    client.insert(parents, [{"id": parent, "v": value} for value in values])
    client.insert(children, [{"id": pair.number(1), "parent": parent, "v": value} for value in values])
    lost = "DELETE FROM {} WHERE id = %s AND v::text = %s"
    lost_pin = lost.format(f"crosskey.pin_public_{parents}_id_v")
    # Pins are committed behind the answer of the insert.
    eventually(
        lambda: pair.shards[PARENT_SHARD].execute(lost_pin, [parent, values[-1]]).rowcount == 1, "the pin was there"
    )
    findings = [one for one in client.audit() if one.table == parents]
    client.delete(children, where={"parent": parent})
    pair.shards[1].execute(lost.format(f"crosskey_shadow_public.{parents}"), [parent, values[-1]])
    client.delete(parents, where={"id": parent})
    assert [decode(one.key) for one in findings] == [{"id": parent, "v": values[-1]}]


@pytest.mark.parametrize("column_type", ["hstore", "hstore[]", "chart", "numeric", "elsewhere.citext"])
@pytest.mark.parametrize("direction", [str, desc])
def test_pages_of_rows_in_order_of_a_type(pair: Pair, column_type: str, direction: Callable[[str], Any]) -> None:
    number, values = TYPES.index(column_type), VALUES[column_type]
    parents = f"typed_parents_{number}"
    keys = [{"id": pair.number(shard), "v": value} for shard in range(SHARDS) for value in values]
    if column_type == "elsewhere.citext":
        keys += [{"id": pair.number(shard), "v": value.swapcase()} for shard in range(SHARDS) for value in values]
    pair.insert(parents, *keys)
    chosen, order = in_("id", [key["id"] for key in keys]), [direction("v"), "id"]
    one_by_one = list(pair.client.list(parents, chosen, order, page_size=1))
    assert one_by_one == list(pair.client.list(parents, chosen, order))
    assert len(one_by_one) == len(keys)

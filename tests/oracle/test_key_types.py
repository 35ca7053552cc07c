"""Foreign keys over columns of every type: a key that travels between shards stays the same key."""

from typing import Any

import pytest

from crosskey import ForeignKeyViolation, in_
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import Pair

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
    "integer[]": [[1, None, 3], [], [[1, 2], [3, 4]]],
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
    "spot": ["(1,2.50)", '(,"")'],
    "oid": [4294967295],
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


SCHEMA = """
CREATE TYPE flavour AS ENUM ('bitter', 'sweet and sour');
CREATE TYPE spot AS (x integer, y text);
""" + "".join(_tables(number, column_type) for number, column_type in enumerate(TYPES))


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

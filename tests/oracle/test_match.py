"""MATCH SIMPLE and MATCH FULL with every action, on keys of two columns of which some are NULL."""

from itertools import product
from typing import Any

import pytest

from crosskey import ForeignKeyViolation
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import Pair

MATCHES = ("SIMPLE", "FULL")
ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")


def children(match: str, action: str) -> str:
    """The table of children with that clause."""
    return f"{match}_{action.replace(' ', '_')}".lower()


def _table(match: str, action: str) -> str:
    name = children(match, action)
    return f"""
CREATE TABLE {name} (
    id bigint PRIMARY KEY,
    a bigint,
    b integer,
    CONSTRAINT {name}_key FOREIGN KEY (a, b) REFERENCES matched (a, b) MATCH {match}
        ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE {name} IS '@shard_by id';
"""


SCHEMA = """
CREATE TABLE matched (a bigint, b integer, note text, PRIMARY KEY (a, b));
COMMENT ON TABLE matched IS '@shard_by a';
""" + "".join(_table(match, action) for match, action in product(MATCHES, ACTIONS))

EVERY_CLAUSE = pytest.mark.parametrize(("match", "action"), list(product(MATCHES, ACTIONS)))
KEEPS = ("NO ACTION", "RESTRICT")


@pytest.fixture
def parent(pair: Pair) -> dict[str, Any]:
    """A new parent on PARENT_SHARD."""
    parent = {"a": pair.number(PARENT_SHARD), "b": 1}
    pair.insert("matched", parent)
    return parent


def new_child(pair: Pair, shard: int, **key: Any) -> dict[str, Any]:
    """A child for that shard, not inserted yet."""
    return {"id": pair.number(shard), **key}


@EVERY_CLAUSE
def test_a_parent_with_a_child_goes(
    pair: Pair, parent: dict[str, Any], child_shard: int, match: str, action: str
) -> None:
    child = new_child(pair, child_shard, **parent)
    pair.insert(children(match, action), child)
    if action in KEEPS:
        with pytest.raises(ForeignKeyViolation):
            pair.delete("matched", key=parent)
        pair.delete(children(match, action), key={"id": child["id"]})
    assert pair.delete("matched", key=parent) == 1
    kept = [] if action in ("CASCADE", *KEEPS) else [{"id": str(child["id"]), "a": None, "b": None}]
    assert pair.rows(children(match, action), {"id": child["id"]}) == kept


@EVERY_CLAUSE
@pytest.mark.parametrize("change", [{"b": 2}, {"a": 1}])
def test_a_parent_with_a_child_gets_another_key(
    pair: Pair, parent: dict[str, Any], child_shard: int, match: str, action: str, change: dict[str, int]
) -> None:
    new = parent | ({"a": pair.number(2)} if "a" in change else change)
    child = new_child(pair, child_shard, **parent)
    pair.insert(children(match, action), child)
    if action in KEEPS:
        with pytest.raises(ForeignKeyViolation):
            pair.update("matched", new, key=parent)
        return
    pair.update("matched", new, key=parent)
    [stored] = pair.rows(children(match, action), {"id": child["id"]})
    expected = {"a": str(new["a"]), "b": new["b"]} if action == "CASCADE" else {"a": None, "b": None}
    assert stored == {"id": str(child["id"]), **expected}


@EVERY_CLAUSE
def test_a_child_that_names_half_a_parent(
    pair: Pair, parent: dict[str, Any], child_shard: int, match: str, action: str
) -> None:
    child = new_child(pair, child_shard, a=parent["a"], b=None)
    if match == "FULL":
        with pytest.raises(ForeignKeyViolation) as refused:
            pair.insert(children(match, action), child)
        assert "MATCH FULL does not allow mixing" in refused.value.metadata["detail"]
        return
    pair.insert(children(match, action), child)
    pair.delete("matched", key=parent)
    assert pair.client.get(children(match, action), id=child["id"])["a"] == str(parent["a"])


@EVERY_CLAUSE
def test_a_child_that_names_nobody(
    pair: Pair, parent: dict[str, Any], child_shard: int, match: str, action: str
) -> None:
    child = new_child(pair, child_shard, a=None, b=None)
    pair.insert(children(match, action), child)
    pair.update(children(match, action), parent, key={"id": child["id"]})
    with pytest.raises(ForeignKeyViolation):
        pair.update(children(match, action), {"b": 9}, key={"id": child["id"]})
    pair.update(children(match, action), {"a": None, "b": None}, key={"id": child["id"]})
    pair.delete("matched", key=parent)


@EVERY_CLAUSE
def test_a_child_of_nobody_that_is_there(pair: Pair, child_shard: int, match: str, action: str) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.insert(children(match, action), new_child(pair, child_shard, a=pair.number(PARENT_SHARD), b=7))

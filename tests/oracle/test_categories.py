"""What PostgreSQL's own tests of foreign keys ask that no other module here does, in scenarios of our own.

README.md says where each of their categories is.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from crosskey import ForeignKeyViolation, UniqueViolation, column, delete, group, in_, insert, is_null, update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair, shard_of

DEFAULT_PARENT = next(number for number in range(10**9, 10**9 + 100) if shard_of("int8", number) == 2)

LISTED = {
    "second": "SET NULL (y)",
    "second_by_default": "SET DEFAULT (y)",
    "second_twice": "SET DEFAULT (y, y)",
    "first_and_third": "SET NULL (x, z)",
    "first_by_default": "SET DEFAULT (x)",
}
"""ON DELETE with a column list, by what becomes of a key of three columns."""
MATCHES = ("simple", "full")

SPELLINGS: dict[str, tuple[Any, Any, Any]] = {
    "double precision": ("0", "-0", 1.5),
    "interval": ("1 day", "24:00:00", "23:59:59"),
    "numeric[]": (["1.0", "2.0"], ["1.00", "2"], ["1.0", "2.1"]),
    "numrange": ("[1.0,2.0)", "[1.00,2)", "[1.0,2.1)"),
    "citext": ("Word", "wORD", "Words"),
}
"""Types in which equal values may be spelt differently: two of these, and one that is not equal."""
TYPES = list(SPELLINGS)
REACTIONS = {"following": "CASCADE", "keeping": "NO ACTION", "tied": "RESTRICT", "clearing": "SET NULL"}
"""What children do when their parent's key is spelt anew."""


def _triples_table(name: str, match: str, clause: str, defaults: tuple[object, object, object]) -> str:
    x, y, z = ("" if default is None else f" DEFAULT {default}" for default in defaults)
    return f"""
CREATE TABLE {name} (id bigint PRIMARY KEY, x bigint{x}, y integer{y}, z integer{z},
    CONSTRAINT {name}_key FOREIGN KEY (x, y, z) REFERENCES triples MATCH {match} {clause});
COMMENT ON TABLE {name} IS '@shard_by id';
"""


def _triples_tables() -> str:
    all_defaults = (DEFAULT_PARENT, 0, 0)
    tables = [
        _triples_table(f"{name}_{match}", match, f"ON DELETE {clause}", all_defaults)
        for (name, clause), match in product(LISTED.items(), MATCHES)
    ]
    for match in MATCHES:
        clause = "ON DELETE SET DEFAULT ON UPDATE SET DEFAULT"
        tables.append(_triples_table(f"half_default_{match}", match, clause, (None, 0, None)))
    for name, clause in (
        ("null_then_default", "ON UPDATE SET NULL ON DELETE SET DEFAULT"),
        ("default_then_null", "ON UPDATE SET DEFAULT ON DELETE SET NULL"),
    ):
        tables.append(_triples_table(name, "simple", clause, all_defaults))
    return "".join(tables)


def _spelt_tables(number: int, spelt: str) -> str:
    parents = f"spelt_{number}"
    children = "".join(
        f"""
CREATE TABLE {parents}_{kind} (id bigint PRIMARY KEY, parent bigint, v {spelt},
    FOREIGN KEY (parent, v) REFERENCES {parents} ON UPDATE {clause});
COMMENT ON TABLE {parents}_{kind} IS '@shard_by id';
"""
        for kind, clause in REACTIONS.items()
    )
    return f"""
CREATE TABLE {parents} (id bigint, v {spelt}, PRIMARY KEY (id, v));
COMMENT ON TABLE {parents} IS '@shard_by id';
{children}"""


SCHEMA = f"""
-- Keys of three columns.
CREATE TABLE triples (x bigint, y integer, z integer, note text, PRIMARY KEY (x, y, z));
COMMENT ON TABLE triples IS '@shard_by x';
{_triples_tables()}
-- A list of each of two keys that share columns.
CREATE TABLE sharing (id bigint PRIMARY KEY, x bigint, y integer, other integer DEFAULT 0, z integer DEFAULT 0,
    FOREIGN KEY (x, y, z) REFERENCES triples ON DELETE SET NULL (y),
    FOREIGN KEY (x, other, z) REFERENCES triples ON DELETE SET DEFAULT (other, other));
COMMENT ON TABLE sharing IS '@shard_by id';

-- A parent whose key may be NULL in part, and columns of keys in other orders and places.
CREATE TABLE loose (e text, d integer, c bigint NOT NULL, b text, a integer, UNIQUE (a, b, c));
COMMENT ON TABLE loose IS '@shard_by c';
CREATE TABLE turned_around (a integer, c bigint, b text, id bigint PRIMARY KEY,
    FOREIGN KEY (c, a, b) REFERENCES loose (c, a, b) ON UPDATE CASCADE ON DELETE RESTRICT);
COMMENT ON TABLE turned_around IS '@shard_by id';

CREATE TABLE folk (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE folk IS '@shard_by id';
CREATE TABLE single_full (id bigint PRIMARY KEY, person bigint,
    FOREIGN KEY (person) REFERENCES folk MATCH FULL ON DELETE CASCADE ON UPDATE CASCADE);
COMMENT ON TABLE single_full IS '@shard_by id';

-- Several changes of one row by one statement.
CREATE TABLE tasks (id bigint PRIMARY KEY, title text,
    owner bigint REFERENCES folk ON UPDATE CASCADE ON DELETE SET NULL,
    worker bigint REFERENCES folk ON UPDATE CASCADE ON DELETE SET NULL,
    checker bigint REFERENCES folk ON UPDATE CASCADE ON DELETE SET NULL);
COMMENT ON TABLE tasks IS '@shard_by id';
CREATE TABLE mixed_tasks (id bigint PRIMARY KEY,
    owner bigint REFERENCES folk ON UPDATE CASCADE ON DELETE SET NULL,
    worker bigint DEFAULT {DEFAULT_PARENT} REFERENCES folk ON UPDATE SET DEFAULT ON DELETE SET DEFAULT,
    checker bigint REFERENCES folk ON UPDATE SET NULL ON DELETE CASCADE);
COMMENT ON TABLE mixed_tasks IS '@shard_by id';
CREATE TABLE selves (id bigint PRIMARY KEY, self bigint REFERENCES selves ON UPDATE CASCADE ON DELETE CASCADE);
COMMENT ON TABLE selves IS '@shard_by id';
CREATE TABLE self_pairs (a bigint, b integer, up_a bigint, up_b integer, PRIMARY KEY (a, b),
    FOREIGN KEY (up_a, up_b) REFERENCES self_pairs);
COMMENT ON TABLE self_pairs IS '@shard_by a';

-- Parents that are shifted.
CREATE TABLE shelves (list bigint, place integer, PRIMARY KEY (list, place));
COMMENT ON TABLE shelves IS '@shard_by list';
CREATE TABLE keeping (id bigint PRIMARY KEY, list bigint, place integer,
    FOREIGN KEY (list, place) REFERENCES shelves ON UPDATE NO ACTION ON DELETE NO ACTION);
COMMENT ON TABLE keeping IS '@shard_by id';
CREATE TABLE tied (id bigint PRIMARY KEY, list bigint, place integer,
    FOREIGN KEY (list, place) REFERENCES shelves ON UPDATE RESTRICT ON DELETE RESTRICT);
COMMENT ON TABLE tied IS '@shard_by id';
CREATE TABLE keeping_late (id bigint PRIMARY KEY, list bigint, place integer,
    FOREIGN KEY (list, place) REFERENCES shelves DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE keeping_late IS '@shard_by id';
CREATE TABLE rungs (id bigint PRIMARY KEY);
COMMENT ON TABLE rungs IS '@shard_by id';
CREATE TABLE on_rungs (id bigint PRIMARY KEY, rung bigint REFERENCES rungs);
COMMENT ON TABLE on_rungs IS '@shard_by id';
CREATE TABLE tied_to_rungs (id bigint PRIMARY KEY, rung bigint REFERENCES rungs ON UPDATE RESTRICT ON DELETE RESTRICT);
COMMENT ON TABLE tied_to_rungs IS '@shard_by id';

CREATE TABLE late (id bigint PRIMARY KEY, person bigint REFERENCES folk DEFERRABLE INITIALLY DEFERRED, note integer);
COMMENT ON TABLE late IS '@shard_by id';

-- Parents that a trigger of their children brings, before PostgreSQL looks for them.
CREATE TABLE found (id bigint PRIMARY KEY);
COMMENT ON TABLE found IS '@shard_by id';
CREATE TABLE finders (id bigint PRIMARY KEY, found bigint REFERENCES found);
COMMENT ON TABLE finders IS '@shard_by id';
CREATE FUNCTION find_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO found VALUES (NEW.found);
    RETURN NEW;
END
$$;
CREATE TRIGGER "A comes before foreign keys" AFTER INSERT ON finders FOR EACH ROW EXECUTE FUNCTION find_parent();

CREATE EXTENSION citext;
CREATE TABLE words (word citext PRIMARY KEY, place integer);
COMMENT ON TABLE words IS '@reference';
""" + "".join(_spelt_tables(number, spelt) for number, spelt in enumerate(TYPES))


@pytest.fixture(scope="module", autouse=True)
def _default_parents(pair: Pair) -> None:
    pair.insert("triples", {"x": DEFAULT_PARENT, "y": 1, "z": 1})
    pair.insert("folk", {"id": DEFAULT_PARENT})


@pytest.fixture
def triple(pair: Pair) -> dict[str, Any]:
    """The key of a new triple on PARENT_SHARD; beside it is one whose y is 0."""
    triple = {"x": pair.number(PARENT_SHARD), "y": 1, "z": 1}
    pair.insert("triples", triple, {**triple, "y": 0})
    return triple


@pytest.fixture
def person(pair: Pair) -> int:
    """A new person on PARENT_SHARD."""
    return add(pair, "folk", PARENT_SHARD)


def add(pair: Pair, table: str, shard: int, **columns: Any) -> int:
    """Inserts a row with a new id and answers that."""
    number = pair.number(shard)
    pair.insert(table, {"id": number, **columns})
    return number


def stored(pair: Pair, table: str, number: int) -> dict[str, Any]:
    """The other columns of the row of that id; integers of all sizes are int."""
    [row] = pair.rows(table, {"id": number})
    return {
        name: int(value) if isinstance(value, str) and value.isdigit() else value
        for name, value in row.items()
        if name != "id"
    }


# MATCH, and SET NULL and SET DEFAULT with column lists.


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("name", LISTED)
def test_a_column_list(pair: Pair, child_shard: int, triple: dict[str, Any], name: str, match: str) -> None:
    table = f"{name}_{match}"
    child = add(pair, table, child_shard, **triple)
    if match == "full" and "NULL" in LISTED[name]:
        with pytest.raises(ForeignKeyViolation) as refused:
            pair.delete("triples", key=triple)
        assert "MATCH FULL does not allow mixing" in refused.value.metadata["detail"]
        return
    pair.delete("triples", key=triple)
    changes: dict[str, dict[str, Any]] = {
        "second": {"y": None},
        "second_by_default": {"y": 0},
        "second_twice": {"y": 0},
        "first_and_third": {"x": None, "z": None},
        "first_by_default": {"x": DEFAULT_PARENT},
    }
    assert stored(pair, table, child) == {**triple, **changes[name]}


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("goes", [True, False], ids=["delete", "update"])
def test_a_default_that_is_null_in_part(
    pair: Pair, child_shard: int, triple: dict[str, Any], match: str, goes: bool
) -> None:
    table = f"half_default_{match}"
    child = add(pair, table, child_shard, **triple)

    def act() -> object:
        return pair.delete("triples", key=triple) if goes else pair.update("triples", {"z": 2}, key=triple)

    if match == "full":
        with pytest.raises(ForeignKeyViolation):
            act()
        return
    act()
    assert stored(pair, table, child) == {"x": None, "y": 0, "z": None}


def test_an_update_brings_the_default_parent_itself(pair: Pair, child_shard: int, triple: dict[str, Any]) -> None:
    child = add(pair, "default_then_null", child_shard, **triple)
    default = {"x": DEFAULT_PARENT, "y": 0, "z": 0}
    with pytest.raises(ForeignKeyViolation):
        pair.update("triples", {"y": 5}, key=triple)
    pair.update("triples", default, key=triple)
    assert stored(pair, "default_then_null", child) == default
    pair.delete("triples", key=default)
    assert stored(pair, "default_then_null", child) == {"x": None, "y": None, "z": None}


def test_the_default_parent_goes_itself(pair: Pair, child_shard: int, triple: dict[str, Any]) -> None:
    child = add(pair, "null_then_default", child_shard, **triple)
    default = {"x": DEFAULT_PARENT, "y": 0, "z": 0}
    with pytest.raises(ForeignKeyViolation):
        pair.delete("triples", key=triple)
    pair.insert("triples", default)
    pair.delete("triples", key=triple)
    assert stored(pair, "null_then_default", child) == default
    with pytest.raises(ForeignKeyViolation):
        pair.delete("triples", key=default)
    pair.update("triples", {"z": 9}, key=default)
    assert stored(pair, "null_then_default", child) == {"x": None, "y": None, "z": None}
    pair.delete("triples", key={**default, "z": 9})


@pytest.mark.parametrize("table", ["null_then_default", "default_then_null", "second_simple", "half_default_simple"])
def test_children_that_name_a_part_of_their_parent_are_left_alone(
    pair: Pair, child_shard: int, triple: dict[str, Any], table: str
) -> None:
    keys = [{**triple, "x": None}, {**triple, "y": None}, {**triple, "z": None}, {**triple, "x": None, "y": 7}]
    children = [add(pair, table, child_shard, **key) for key in keys]
    pair.update("triples", {"z": 3}, key=triple)
    pair.delete("triples", key={**triple, "z": 3})
    assert [stored(pair, table, child) for child in children] == keys


def test_lists_of_two_keys_that_share_columns(pair: Pair, child_shard: int, triple: dict[str, Any]) -> None:
    children = [add(pair, "sharing", child_shard, **triple, other=other) for other in (0, 1)]
    pair.delete("triples", key=triple)
    assert [stored(pair, "sharing", child)["y"] for child in children] == [None, None]
    assert [stored(pair, "sharing", child)["other"] for child in children] == [0, 0]
    with pytest.raises(ForeignKeyViolation):
        pair.delete("triples", key={**triple, "y": 0})


def test_columns_in_another_order(pair: Pair, child_shard: int) -> None:
    c = pair.number(PARENT_SHARD)
    pair.insert("loose", {"a": 1, "b": "b", "c": c}, {"a": None, "b": "b", "c": c}, {"a": 2, "b": None, "c": c})
    child = add(pair, "turned_around", child_shard, a=1, b="b", c=c)
    with pytest.raises(ForeignKeyViolation):
        add(pair, "turned_around", child_shard, a=2, b="b", c=c)
    add(pair, "turned_around", child_shard, a=None, b="b", c=c)
    for name in ("a", "b"):
        assert pair.delete("loose", where=[is_null(name), in_("c", [c])]) == 1
    pair.update("loose", {"b": "B", "a": 7}, where={"c": c})
    assert stored(pair, "turned_around", child) == {"a": 7, "b": "B", "c": c}
    with pytest.raises(ForeignKeyViolation):
        pair.delete("loose", where={"c": c})


def test_a_single_column_in_full(pair: Pair, child_shard: int, person: int) -> None:
    child, nobodys = add(pair, "single_full", child_shard, person=person), add(pair, "single_full", child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.update("single_full", {"person": pair.number(1)}, key={"id": nobodys})
    new = pair.number(2)
    pair.update("folk", {"id": new}, key={"id": person})
    assert stored(pair, "single_full", child) == {"person": new}
    pair.delete("folk", key={"id": new})
    assert pair.rows("single_full", in_("id", [child, nobodys])) == [{"id": str(nobodys), "person": None}]


@pytest.mark.parametrize("referenced", [True, False])
def test_a_new_key_that_is_taken(pair: Pair, child_shard: int, person: int, referenced: bool) -> None:
    """It may be met where the children are before it is met where the other parent is."""
    other = add(pair, "folk", 2)
    add(pair, "single_full", child_shard, person=person)
    if referenced:
        add(pair, "single_full", child_shard, person=other)
    with pytest.raises(UniqueViolation) as refused:
        pair.update("folk", {"id": other}, key={"id": person})
    assert refused.value.metadata["constraint"] == "folk_pkey"


# The order of actions.


@pytest.mark.parametrize("before", [True, False], ids=["changed before", "not changed before"])
def test_three_keys_of_a_row_follow_one_parent(pair: Pair, child_shard: int, person: int, before: bool) -> None:
    other, new = add(pair, "folk", 1), pair.number(2)
    tasks = [
        add(pair, "tasks", child_shard, owner=person, worker=person, checker=person),
        add(pair, "tasks", child_shard, owner=other, worker=person, checker=person),
        add(pair, "tasks", child_shard, owner=person, checker=other),
    ]
    touch = [update("tasks", {"title": "again"}, where=in_("id", tasks))] * before
    pair.transact(*touch, update("folk", {"id": new}, key={"id": person}))
    assert [stored(pair, "tasks", task)["checker"] for task in tasks] == [new, new, other]
    pair.transact(*touch, delete("folk", key={"id": new}))
    assert [stored(pair, "tasks", task)["owner"] for task in tasks] == [None, other, None]
    pair.transact(*touch, delete("folk", key={"id": other}), *touch)
    assert all(stored(pair, "tasks", task)["checker"] is None for task in tasks)


def test_keys_of_a_row_that_do_different_things(pair: Pair, child_shard: int, person: int) -> None:
    task, new = add(pair, "mixed_tasks", child_shard, owner=person, worker=person, checker=person), pair.number(1)
    pair.update("folk", {"id": new}, key={"id": person})
    assert stored(pair, "mixed_tasks", task) == {"owner": new, "worker": DEFAULT_PARENT, "checker": None}
    pair.update("mixed_tasks", {"worker": new, "checker": new}, key={"id": task})
    pair.delete("folk", key={"id": new})
    assert pair.rows("mixed_tasks", {"id": task}) == []


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_row_that_names_itself_gets_two_new_keys(pair: Pair, shard: int) -> None:
    first, second, third = pair.number(PARENT_SHARD), pair.number(shard), pair.number(1)
    pair.insert("selves", {"id": first, "self": first})
    pair.transact(
        update("selves", {"id": second}, key={"id": first}), update("selves", {"id": third}, key={"id": second})
    )
    assert stored(pair, "selves", third) == {"self": third}
    pair.delete("selves", key={"id": third})


def test_pairs_that_name_each_other_in_one_table(pair: Pair, child_shard: int) -> None:
    one, two = pair.number(PARENT_SHARD), pair.number(child_shard)
    for row in [(one, 1, one, 1), (two, 1, one, 1), (two, 2, two, 1), (one, 3, two, 2)]:
        pair.insert("self_pairs", dict(zip(("a", "b", "up_a", "up_b"), row, strict=True)))
    with pytest.raises(ForeignKeyViolation):
        pair.insert("self_pairs", {"a": two, "b": 3, "up_a": pair.number(2), "up_b": 2})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("self_pairs", where={"b": 2})
    pair.delete("self_pairs", where={"a": one, "b": 3})
    pair.delete("self_pairs", where={"a": two})
    pair.delete("self_pairs", key={"a": one, "b": 1})


# NO ACTION against RESTRICT.


@pytest.mark.parametrize("children", ["keeping", "tied", "keeping_late"])
def test_a_shift_leaves_another_parent_in_place(pair: Pair, child_shard: int, children: str) -> None:
    number = pair.number(PARENT_SHARD)
    pair.insert("shelves", {"list": number, "place": 12}, {"list": number, "place": 11})
    shift = {"place": column("place") + 1}
    pair.update("shelves", shift, where={"list": number})
    add(pair, children, child_shard, list=number, place=13)
    if children != "tied":
        pair.update("shelves", shift, where={"list": number})
    with pytest.raises(ForeignKeyViolation):
        pair.update("shelves", shift, where={"list": number})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("shelves", key={"list": number, "place": 13})


def test_a_deferred_key_waits_for_a_shift_back(pair: Pair, child_shard: int) -> None:
    number = pair.number(PARENT_SHARD)
    pair.insert("shelves", {"list": number, "place": 1})
    add(pair, "keeping_late", child_shard, list=number, place=1)
    there, back = (update("shelves", {"place": column("place") + step}, where={"list": number}) for step in (5, -5))
    pair.transact(there, back)
    with pytest.raises(ForeignKeyViolation):
        pair.transact(there, back, there)
    pair.transact(there, insert("shelves", {"list": number, "place": 1}))


@pytest.mark.parametrize("children", ["on_rungs", "tied_to_rungs"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_shift_over_shards_leaves_another_parent_in_place(pair: Pair, children: str, step: int) -> None:
    """Each rung goes to another shard; after one step the child's key is that of the other rung."""
    start = next(n for n in iter(lambda: pair.number(0), -1) if len({shard_of("int8", n + i) for i in range(3)}) == 3)
    rungs = in_("id", [start, start + 1])
    pair.insert("rungs", {"id": start + 1}, {"id": start})
    child = add(pair, children, PARENT_SHARD, rung=start + 1)
    if step == 1 and children == "on_rungs":
        pair.update("rungs", {"id": column("id") + step}, where=rungs)
    else:
        with pytest.raises(ForeignKeyViolation):
            pair.update("rungs", {"id": column("id") + step}, where=rungs)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("rungs", key={"id": start + 1})
    pair.delete(children, key={"id": child})
    assert pair.delete("rungs", where=in_("id", range(start, start + 3))) == 2


# Keys that wait, and groups.


def test_an_update_of_another_column_does_not_lift_a_check_that_waits(pair: Pair, child_shard: int) -> None:
    child = pair.number(child_shard)
    orphan = insert("late", {"id": child, "person": pair.number(PARENT_SHARD)})
    change, goes = update("late", {"note": 1}, key={"id": child}), delete("late", key={"id": child})
    fails = insert("folk", {"id": DEFAULT_PARENT})
    for statements in (
        [orphan, change],
        [orphan, group([change])],
        [group([orphan]), change],
        [orphan, group([change, fails])],
        [group([orphan]), group([change]), group([change, fails])],
        [orphan, group([goes, fails])],
        [orphan, change, group([goes]), orphan],
    ):
        with pytest.raises(ForeignKeyViolation) as refused:
            transact(pair, *statements)
        assert "statement" not in refused.value.metadata
    transact(pair, orphan, change, goes)
    transact(pair, orphan, group([change]), group([goes]))
    transact(pair, group([orphan, fails]), insert("folk", {"id": pair.number(2)}))


def test_a_child_whose_delete_is_undone_is_still_there(pair: Pair, child_shard: int, person: int) -> None:
    child = pair.number(child_shard)
    transact(
        pair,
        insert("late", {"id": child, "person": person}),
        group([delete("late", key={"id": child}), insert("folk", {"id": person})]),
        group([delete("folk", key={"id": person}), insert("folk", {"id": DEFAULT_PARENT})]),
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("folk", key={"id": person})


# What triggers bring.


def test_a_trigger_brings_the_parents_before_they_are_looked_for(pair: Pair) -> None:
    parents = [pair.number(shard) for shard in (1, 2, 0, 1)]
    pair.insert("finders", *[{"id": pair.number(place % SHARDS), "found": one} for place, one in enumerate(parents)])
    assert len(pair.rows("found", in_("id", parents))) == len(parents)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("found", key={"id": parents[3]})


# Keys that are equal and spelt differently.


@pytest.mark.parametrize("kind", REACTIONS)
@pytest.mark.parametrize("spelt", TYPES, ids=lambda name: name.replace(" ", "_"))
def test_equal_keys_that_are_spelt_differently(pair: Pair, child_shard: int, spelt: str, kind: str) -> None:
    parents = f"spelt_{TYPES.index(spelt)}"
    children = f"{parents}_{kind}"
    one, other, wrong = SPELLINGS[spelt]
    parent = pair.number(PARENT_SHARD)
    pair.insert(parents, {"id": parent, "v": one})
    both = [add(pair, children, child_shard, parent=parent, v=value) for value in (one, other)]
    with pytest.raises(ForeignKeyViolation):
        add(pair, children, child_shard, parent=parent, v=wrong)
    pair.update(children, {"v": one}, key={"id": both[1]})
    if kind == "tied":
        with pytest.raises(ForeignKeyViolation):
            pair.update(parents, {"v": other}, where={"id": parent})
    else:
        pair.update(parents, {"v": other}, where={"id": parent})
    if kind == "clearing":
        assert pair.rows(children, {"parent": parent}) == []
        pair.update(children, {"parent": parent, "v": one}, where=in_("id", both))
    with pytest.raises(ForeignKeyViolation):
        pair.delete(parents, where={"id": parent})
    assert pair.delete(children, where={"parent": parent}) == len(both)
    assert pair.delete(parents, where={"id": parent, "v": one}) == 1


@pytest.mark.parametrize("spelt", TYPES, ids=lambda name: name.replace(" ", "_"))
def test_a_row_is_named_by_its_key_spelt_differently(pair: Pair, child_shard: int, spelt: str) -> None:
    table, number = f"spelt_{TYPES.index(spelt)}", pair.number(child_shard)
    one, other, wrong = SPELLINGS[spelt]
    [stored] = pair.insert(table, {"id": number, "v": one})
    assert pair.client.get(table, id=number, v=other) == stored
    assert pair.delete(table, key={"id": number, "v": wrong}) == 0
    assert len(pair.update(table, {"v": other}, key={"id": number, "v": other})) == 1
    assert pair.delete(table, key={"id": number, "v": one}) == 1


def test_a_row_of_a_reference_table_is_named_by_a_key_in_another_case(pair: Pair) -> None:
    pair.insert("words", {"word": "abc", "place": 1})
    assert pair.client.get("words", word="ABC") == {"word": "abc", "place": 1}
    assert pair.update("words", {"place": 2}, key={"word": "Abc"}) == [{"word": "abc", "place": 2}]
    with pytest.raises(UniqueViolation):
        pair.insert("words", {"word": "aBC"})
    assert pair.delete("words", key={"word": "ABC"}) == 1

"""Tables, columns and constraints of every name, and shard keys of every type in every spelling."""

from typing import Any

import pytest

from crosskey import ForeignKeyViolation, InvalidValue, UniqueViolation, desc, do_update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import Pair

pytestmark = pytest.mark.searches

LONG = "a_very_long_name_" + "x" * 46

SCHEMA = f"""
CREATE TABLE by_smallint (id smallint PRIMARY KEY, up smallint REFERENCES by_smallint ON DELETE CASCADE);
COMMENT ON TABLE by_smallint IS '@shard_by id';
CREATE TABLE by_bigint (id bigint PRIMARY KEY, up bigint REFERENCES by_bigint ON DELETE CASCADE, small smallint);
COMMENT ON TABLE by_bigint IS '@shard_by id';
CREATE TABLE by_text (id text PRIMARY KEY, up text REFERENCES by_text ON DELETE CASCADE);
COMMENT ON TABLE by_text IS '@shard_by id';
CREATE TABLE by_varchar (id varchar(20) PRIMARY KEY, up varchar(30) REFERENCES by_varchar ON DELETE CASCADE);
COMMENT ON TABLE by_varchar IS '@shard_by id';
CREATE TABLE by_uuid (id uuid PRIMARY KEY, up uuid REFERENCES by_uuid ON DELETE CASCADE);
COMMENT ON TABLE by_uuid IS '@shard_by id';

-- Keys between types of one family, and between collations.
CREATE TABLE mixed (
    id bigint PRIMARY KEY,
    small bigint REFERENCES by_smallint ON DELETE SET NULL,
    big smallint REFERENCES by_bigint ON DELETE SET NULL,
    word varchar(9) COLLATE "C" REFERENCES by_text ON DELETE CASCADE,
    name text COLLATE "POSIX" REFERENCES by_varchar ON DELETE CASCADE
);
COMMENT ON TABLE mixed IS '@shard_by id';
CREATE TABLE collated (id text COLLATE "C" PRIMARY KEY, up text COLLATE "POSIX" REFERENCES collated);
COMMENT ON TABLE collated IS '@shard_by id';

CREATE TABLE carrying (id uuid PRIMARY KEY, owner bigint NOT NULL, up uuid REFERENCES carrying ON DELETE CASCADE);
COMMENT ON TABLE carrying IS '@shard_by owner';

CREATE SCHEMA "Other %s";
CREATE TABLE "Other %s"."100%" (
    "a""b" bigint PRIMARY KEY,
    "%s" text,
    "Schlüssel" bigint REFERENCES "Other %s"."100%" ON DELETE CASCADE
);
COMMENT ON TABLE "Other %s"."100%" IS '@shard_by a"b';
CREATE TABLE "Other %s".by_bigint (
    id bigint PRIMARY KEY,
    "Up" bigint CONSTRAINT "to %(public)s" REFERENCES public.by_bigint ON DELETE SET NULL
);
COMMENT ON TABLE "Other %s".by_bigint IS '@shard_by id';
CREATE TABLE "Other %s"."50%s" (id bigint PRIMARY KEY, "n%s" text UNIQUE);
COMMENT ON TABLE "Other %s"."50%s" IS '@shard_by id';
CREATE TABLE halves (id bigint PRIMARY KEY, half text REFERENCES "Other %s"."50%s" ("n%s") ON DELETE CASCADE);
COMMENT ON TABLE halves IS '@shard_by id';
CREATE TABLE "row" (
    "row" bigint PRIMARY KEY,
    "select" bigint REFERENCES "Other %s"."100%",
    "old" integer,
    "new" integer,
    k bigint,
    s text
);
COMMENT ON TABLE "row" IS '@shard_by row';
-- Key columns with the names that functions of ours use.
CREATE TABLE "new" (
    "k" bigint, "old" integer, "new" integer, found text,
    PRIMARY KEY ("k", "new"),
    UNIQUE ("old", "k", "new")
);
COMMENT ON TABLE "new" IS '@shard_by k';
CREATE TABLE "old" (
    s bigint PRIMARY KEY, "c" bigint, "n" integer, place integer,
    FOREIGN KEY ("c", "n") REFERENCES "new" ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (place, "c", "n") REFERENCES "new" ("old", "k", "new") ON UPDATE CASCADE
);
COMMENT ON TABLE "old" IS '@shard_by s';
CREATE TABLE {LONG} ({LONG} bigint PRIMARY KEY, up bigint CONSTRAINT {LONG} REFERENCES {LONG} ON DELETE CASCADE);
COMMENT ON TABLE {LONG} IS '@shard_by {LONG}';
CREATE TABLE {LONG[:-1]}y (id bigint PRIMARY KEY, up bigint REFERENCES {LONG} ON DELETE SET NULL);
COMMENT ON TABLE {LONG[:-1]}y IS '@shard_by id';
-- Claimed keys and anchored rows with the names that queries of ours use for shards and places.
CREATE TABLE excluded (id bigint PRIMARY KEY, shard bigint UNIQUE, place integer, tg_op text, UNIQUE (place, tg_op));
COMMENT ON TABLE excluded IS '@shard_by id';
CREATE TABLE beside_excluded (id bigint PRIMARY KEY, shard bigint NOT NULL REFERENCES excluded (shard));
COMMENT ON TABLE beside_excluded IS '@shard_with shard';
CREATE TABLE naming_excluded (
    id bigint PRIMARY KEY,
    place integer,
    tg_op text,
    FOREIGN KEY (place, tg_op) REFERENCES excluded (place, tg_op) ON UPDATE CASCADE ON DELETE SET NULL
);
COMMENT ON TABLE naming_excluded IS '@shard_by id';
CREATE TABLE "ein Maß" ("größe" text PRIMARY KEY, "👪" text REFERENCES "ein Maß" ON DELETE SET NULL);
COMMENT ON TABLE "ein Maß" IS '@shard_by größe';
"""


@pytest.mark.parametrize(
    "spell",
    [str, " {} ".format, "+{}".format, "00{}".format, "\n{}".format, float],
    ids=["text", "spaces", "plus", "zeros", "newline", "float"],
)
@pytest.mark.parametrize("table", ["by_smallint", "by_bigint"])
def test_spellings_of_an_integer(pair: Pair, child_shard: int, table: str, spell: Any) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert(table, {"id": spell(parent)})
    pair.insert(table, {"id": spell(child), "up": spell(parent)})
    with pytest.raises(ForeignKeyViolation):
        pair.insert(table, {"id": pair.number(2), "up": spell(pair.number(child_shard))})
    with pytest.raises(UniqueViolation):
        pair.insert(table, {"id": spell(parent)})
    assert len(pair.rows(table, {"up": spell(parent)})) == 1
    assert pair.delete(table, key={"id": spell(parent)}) == 1
    assert pair.rows(table, {"id": child}) == []


@pytest.mark.parametrize("table", ["by_text", "by_varchar", "collated", "ein Maß"], ids=ascii)
def test_texts_as_shard_keys(pair: Pair, child_shard: int, table: str) -> None:
    key, reference = ("größe", "👪") if table == "ein Maß" else ("id", "up")
    for beginning in ("a", " a", "Ä", "5", "'", '"', "\\", "%s", "a,b)", "null", "👪", "{", "e\u0301"):
        parent, child = pair.text(PARENT_SHARD, beginning), pair.text(child_shard, beginning)
        pair.insert(table, {key: parent}, {key: child, reference: parent})
        with pytest.raises(ForeignKeyViolation):
            pair.insert(table, {key: pair.text(1), reference: parent + "!"})
        if table == "collated":
            with pytest.raises(ForeignKeyViolation):
                pair.delete(table, key={key: parent})
        else:
            pair.delete(table, key={key: parent})


def test_texts_that_are_too_long(pair: Pair) -> None:
    fitting = pair.text(1, "x" * 10).ljust(20, "y")
    pair.insert("by_varchar", {"id": fitting + "   ", "up": fitting})
    with pytest.raises(InvalidValue):
        pair.insert("by_varchar", {"id": fitting + "z"})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("by_varchar", {"id": "z", "up": fitting + "  "})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("by_varchar", {"id": "z", "up": fitting + "no"})
    assert pair.delete("by_varchar", key={"id": fitting}) == 1


@pytest.mark.parametrize(
    "spell",
    [str, str.upper, "{{{}}}".format, lambda text: text.replace("-", "")],
    ids=["plain", "upper case", "braces", "no hyphens"],
)
def test_spellings_of_a_uuid(pair: Pair, child_shard: int, spell: Any) -> None:
    parent, child = pair.uuid(PARENT_SHARD), pair.uuid(child_shard)
    pair.insert("by_uuid", {"id": spell(parent)}, {"id": child, "up": spell(parent)})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("by_uuid", {"id": pair.uuid(1), "up": spell(pair.uuid(0))})
    assert pair.delete("by_uuid", key={"id": spell(parent)}) == 1


def test_ids_that_carry_the_slot(pair: Pair, child_shard: int) -> None:
    owners = [pair.number(PARENT_SHARD), pair.number(child_shard)]
    parent, child = (pair.uuid_beside(owner) for owner in owners)
    pair.insert("carrying", {"id": parent, "owner": owners[0]})
    pair.insert("carrying", {"id": child, "owner": owners[1], "up": parent})
    assert pair.client.get("carrying", id=child)["up"] == parent
    with pytest.raises(ForeignKeyViolation):
        pair.update("carrying", {"up": pair.uuid(2)}, key={"id": child})
    assert pair.delete("carrying", key={"id": parent}) == 1
    assert pair.rows("carrying", {"owner": owners[1]}) == []


@pytest.mark.parametrize("wrong", ["x", "", "1.5", "32768", "--1", "1e3", None])
def test_what_is_no_shard_key(pair: Pair, wrong: Any) -> None:
    if wrong is not None:
        with pytest.raises(InvalidValue):
            pair.insert("by_smallint", {"id": wrong})
    with pytest.raises((InvalidValue, ForeignKeyViolation)):
        pair.insert("by_smallint", {"id": pair.number(1), "up": wrong or pair.number(2)})


def test_keys_between_types_and_collations(pair: Pair, child_shard: int) -> None:
    number, word, name = pair.number(PARENT_SHARD), pair.text(PARENT_SHARD, "w"), pair.text(PARENT_SHARD, "n")
    for table, key in (("by_smallint", number), ("by_bigint", number), ("by_text", word), ("by_varchar", name)):
        pair.insert(table, {"id": key})
    child = pair.number(child_shard)
    pair.insert("mixed", {"id": child, "small": number, "big": number, "word": word, "name": name})
    for wrong in ({"small": 10**6}, {"big": 32767}, {"word": "ww"}, {"name": "nn"}):
        with pytest.raises(ForeignKeyViolation):
            pair.insert("mixed", {"id": pair.number(child_shard), **wrong})
    pair.delete("by_smallint", key={"id": number})
    pair.delete("by_bigint", key={"id": number})
    pair.delete("by_varchar", key={"id": name})
    assert pair.rows("mixed", {"id": child}) == []


@pytest.mark.parametrize(
    ("table", "key", "reference"),
    [("Other %s.100%", 'a"b', "Schlüssel"), (LONG, LONG, "up")],
    ids=["quoted", "long"],
)
def test_odd_names(pair: Pair, child_shard: int, table: str, key: str, reference: str) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert(table, {key: parent}, {key: child, reference: parent})
    with pytest.raises(ForeignKeyViolation):
        pair.insert(table, {key: pair.number(1), reference: pair.number(2)})
    with pytest.raises(UniqueViolation):
        pair.insert(table, {key: parent})
    assert [row[key] for row in pair.client.list(table, order_by=desc(key))]
    assert pair.delete(table, key={key: parent}) == 1
    assert pair.rows(table, {key: child}) == []


def test_tables_of_one_name_in_two_schemas(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("by_bigint", {"id": parent})
    pair.insert("Other %s.by_bigint", {"id": child, "Up": parent})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("Other %s.by_bigint", {"id": pair.number(2), "Up": pair.number(1)})
    pair.delete("public.by_bigint", key={"id": parent})
    assert pair.rows("Other %s.by_bigint", {"id": child}) == [{"id": str(child), "Up": None}]


def test_names_that_are_words_of_sql_and_of_crosskey(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("Other %s.100%", {'a"b': parent, "%s": "%s"})
    pair.insert("row", {"row": child, "select": parent, "old": 1, "new": 2, "k": 3, "s": "4"})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("Other %s.100%", key={'a"b': parent})
    pair.update("row", {"old": None, "select": None}, where={"new": 2, "select": parent})
    pair.delete("Other %s.100%", where={"%s": "%s"})


def test_key_columns_with_names_of_crosskey(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("new", {"k": parent, "old": 1, "new": 2})
    pair.insert("old", {"s": child, "c": parent, "n": 2})
    pair.insert("old", {"s": pair.number(child_shard), "c": parent, "n": 2, "place": 1})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("old", {"s": pair.number(1), "c": parent, "n": 2, "place": 3})
    pair.update("new", {"new": 5}, where={"k": parent})
    pair.update("new", {"old": 7}, where={"k": parent})
    assert pair.rows("old", {"s": child}) == [{"s": str(child), "c": str(parent), "n": 5, "place": None}]
    pair.delete("new", where={"k": parent})
    assert pair.rows("old", {"c": parent}) == []


def test_long_names_that_differ_at_the_end(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert(LONG, {LONG: parent})
    pair.insert(LONG[:-1] + "y", {"id": child, "up": parent})
    pair.delete(LONG, key={LONG: parent})
    assert pair.rows(LONG[:-1] + "y", {"id": child})[0]["up"] is None


def test_claimed_and_anchored_columns_with_names_of_queries(pair: Pair, child_shard: int) -> None:
    parent, child, number = pair.number(PARENT_SHARD), pair.number(child_shard), pair.number(2)
    key = {"place": number, "tg_op": "INSERT"}
    pair.insert("excluded", {"id": parent, "shard": number, **key})
    pair.insert("beside_excluded", {"id": pair.number(1), "shard": number})
    pair.insert("naming_excluded", {"id": child, **key})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("naming_excluded", {"id": pair.number(1), **key, "tg_op": "DELETE"})
    with pytest.raises(UniqueViolation):
        pair.insert("excluded", {"id": pair.number(child_shard), "shard": number})
    for on, changed in (("shard", "tg_op"), (("place", "tg_op"), "shard")):
        row = {"id": pair.number(1), "shard": number, **key}
        assert pair.insert("excluded", row, on_conflict=do_update(changed, on=on)).outcomes == ["UPDATED"]
    pair.update("excluded", {"tg_op": "UPDATE"}, key={"id": parent})
    pair.update("excluded", {"id": pair.number(1)}, key={"id": parent})
    assert pair.rows("naming_excluded", {"id": child})[0]["tg_op"] == "UPDATE"
    pair.delete("beside_excluded", where={"shard": number})
    pair.delete("excluded", where={"shard": number})


def test_a_parent_of_a_percentage_is_waited_for_and_is_not_there(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("halves", {"id": child, "half": "%s"})
    pair.insert("Other %s.50%s", {"id": parent, "n%s": "%s"})
    pair.insert("halves", {"id": child, "half": "%s"})
    pair.delete("Other %s.50%s", key={"id": parent})
    assert pair.rows("halves", {"id": child}) == []

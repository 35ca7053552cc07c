"""Rows that move to another shard, and rows of reference tables, stay exactly as PostgreSQL stored them."""

import pytest

from crosskey import Conflict
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import Pair

# What JSON does not tell apart, and types whose JSON or text form is not one that they take back.
COLUMNS = r"""
    nothing jsonb DEFAULT 'null',
    absent jsonb,
    plain json DEFAULT '{"b":  1, "a": [null], "b": 2}',
    checked kept_json DEFAULT 'null',
    texts jsonb[] DEFAULT '{"null",NULL,"{\"a\": 1}","\"x\""}',
    numbers integer[] DEFAULT '[0:2]={1,NULL,3}',
    grid bigint[] DEFAULT '[2:2][-1:0]={{1,2}}',
    odd kept_array DEFAULT '[5:5]={7}',
    pair kept_pair DEFAULT '(null,"a, \"b\"",,"[0:1]={x,NULL}")',
    hollow kept_pair DEFAULT '(,,,)',
    pairs kept_pair[] DEFAULT '[3:4]={"(null,,x,)",NULL}',
    mood kept_mood DEFAULT 'so-so',
    moods kept_mood[] DEFAULT '[0:0]={sad}',
    padded char(5) DEFAULT 'a',
    spaced bpchar DEFAULT 'b  ',
    single real DEFAULT 1e-40,
    double float8 DEFAULT 0.30000000000000004,
    raw bytea DEFAULT '\x005c27ff',
    took interval DEFAULT '1 year -2 mons +3 days 04:05:06.7',
    at_zone timestamptz DEFAULT '4713-01-01 00:00+00 BC',
    numbered integer GENERATED ALWAYS AS IDENTITY,
    written text GENERATED ALWAYS AS (nothing::text) STORED
"""

SCHEMA = f"""
CREATE TYPE kept_mood AS ENUM ('sad', 'so-so');
CREATE TYPE kept_pair AS (body jsonb, label text, code char(3), tags text[]);
CREATE DOMAIN kept_json AS jsonb CHECK (VALUE IS NOT NULL);
CREATE DOMAIN kept_array AS integer[];

-- What hstore and other types do: they are shown in a form of their own.
CREATE FUNCTION mood_as_json(kept_mood) RETURNS json LANGUAGE sql IMMUTABLE RETURN json_build_object('mood', 1);
CREATE CAST (kept_mood AS json) WITH FUNCTION mood_as_json(kept_mood);
CREATE FUNCTION mood_as_text(kept_mood) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'a mood';
CREATE CAST (kept_mood AS text) WITH FUNCTION mood_as_text(kept_mood);
CREATE FUNCTION concat(kept_mood) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'another mood';

CREATE TABLE kept (id bigint PRIMARY KEY, {COLUMNS});
COMMENT ON TABLE kept IS '@shard_by id';
CREATE TABLE kept_beside (kept bigint REFERENCES kept ON UPDATE CASCADE, place integer, {COLUMNS},
    PRIMARY KEY (kept, place));
COMMENT ON TABLE kept_beside IS '@shard_by kept';
CREATE TABLE kept_everywhere (id bigint PRIMARY KEY, {COLUMNS});
COMMENT ON TABLE kept_everywhere IS '@reference';

-- A trigger that writes another null by the turn.
CREATE TABLE fickle (id bigint PRIMARY KEY, body jsonb);
COMMENT ON TABLE fickle IS '@reference';
CREATE SEQUENCE turns;
CREATE FUNCTION take_turns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.body := CASE WHEN nextval('turns') % 2 = 0 THEN 'null'::jsonb END;
    RETURN NEW;
END $$;
CREATE TRIGGER take_turns BEFORE INSERT ON fickle FOR EACH ROW EXECUTE FUNCTION take_turns();
"""


@pytest.mark.parametrize("new_shard", [PARENT_SHARD, 1, 2])
def test_rows_move_as_they_are(pair: Pair, new_shard: int) -> None:
    old, new, newer = (pair.number(shard) for shard in (PARENT_SHARD, new_shard, PARENT_SHARD))
    # All are inserted on one shard, so that their identities count as on one PostgreSQL.
    pair.insert("kept", {"id": old})
    pair.insert("kept_beside", {"kept": old, "place": 1}, {"kept": old, "place": 2})
    pair.update("kept", {"id": new}, key={"id": old})
    pair.check_tables()
    pair.update("kept", {"id": newer}, key={"id": new})


def test_rows_of_reference_tables_are_copied_as_they_are(pair: Pair) -> None:
    fourth = {"id": 4, "numbers": None, "nothing": "null"}
    stored = pair.insert("kept_everywhere", {"id": 1}, {"id": 2, "absent": {}}, {"id": 3}, fourth)
    assert [row["id"] for row in stored] == ["1", "2", "3", "4"]
    pair.insert("kept_everywhere", {"id": 5, "checked": [None]})


def test_shards_that_store_another_null_do_not_agree(pair: Pair) -> None:
    pair.shards[1].execute(b"SELECT nextval('turns')")
    with pytest.raises(Conflict, match="shard 1 would store other rows"):
        pair.client.insert("fickle", {"id": 1})
    assert list(pair.client.list("fickle")) == []

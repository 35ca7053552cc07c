"""What differs from one PostgreSQL on purpose, or cannot be the same: entries of docs/differences.md."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from crosskey import CrosskeyError, SlotMismatch, column, delete, errors, insert, is_null, update
from crosskey.requests import Write
from crosskey.rows import dict_to_struct
from crosskey.v1.router_pb2 import InsertRequest
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.outcome import Outcome, Refusal, refusal_by_crosskey
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE tops (id bigint PRIMARY KEY);
COMMENT ON TABLE tops IS '@shard_by id';

-- A diamond whose checked side is older than the side that clears the bottom away.
CREATE TABLE rights (id bigint PRIMARY KEY, parent bigint REFERENCES tops ON DELETE CASCADE);
COMMENT ON TABLE rights IS '@shard_by id';
CREATE TABLE lefts (id bigint PRIMARY KEY, parent bigint REFERENCES tops ON DELETE CASCADE);
COMMENT ON TABLE lefts IS '@shard_by id';
CREATE TABLE bottoms (
    id bigint PRIMARY KEY,
    l bigint REFERENCES lefts ON DELETE CASCADE,
    r bigint REFERENCES rights
);
COMMENT ON TABLE bottoms IS '@shard_by id';

CREATE TABLE numbered (
    id bigint PRIMARY KEY,
    number serial,
    label text DEFAULT 'none',
    moment timestamptz DEFAULT clock_timestamp()
);
COMMENT ON TABLE numbered IS '@shard_by id';

CREATE TABLE positions (id bigint PRIMARY KEY, position integer UNIQUE);
COMMENT ON TABLE positions IS '@shard_by id';

CREATE TABLE refusing (id bigint PRIMARY KEY, number serial, checked integer CHECK (checked > 0));
COMMENT ON TABLE refusing IS '@shard_by id';

CREATE TABLE empty_books (id bigint, body jsonb DEFAULT 'null', PRIMARY KEY (id, body));
COMMENT ON TABLE empty_books IS '@shard_by id';
CREATE TABLE empty_pages (
    id bigint PRIMARY KEY,
    book bigint,
    body jsonb DEFAULT 'null',
    FOREIGN KEY (book, body) REFERENCES empty_books
);
COMMENT ON TABLE empty_pages IS '@shard_by id';

CREATE SEQUENCE large START 40000;
CREATE TABLE drawers (
    id bigint PRIMARY KEY,
    small smallint DEFAULT nextval('large'),
    first integer DEFAULT nextval('large'),
    second integer DEFAULT nextval('large')
);
COMMENT ON TABLE drawers IS '@shard_by id';

CREATE TABLE shelters (id bigint PRIMARY KEY);
COMMENT ON TABLE shelters IS '@shard_by id';
CREATE TABLE pets (id bigint PRIMARY KEY, shelter bigint DEFAULT 0 REFERENCES shelters ON DELETE SET DEFAULT);
COMMENT ON TABLE pets IS '@shard_by id';

-- A trigger that draws from a sequence.
CREATE TABLE visitors (id bigint PRIMARY KEY);
COMMENT ON TABLE visitors IS '@shard_by id';
CREATE TABLE guest_book (entry bigserial, visitor bigint NOT NULL);
COMMENT ON TABLE guest_book IS '@shard_by visitor';
CREATE FUNCTION sign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guest_book (visitor) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER sign AFTER INSERT ON visitors FOR EACH ROW EXECUTE FUNCTION sign();

-- A trigger that notes how many rows each statement inserted.
CREATE TABLE logged (id bigint PRIMARY KEY, note text DEFAULT '');
COMMENT ON TABLE logged IS '@shard_by id';
CREATE TABLE log (first bigint NOT NULL, rows integer);
COMMENT ON TABLE log IS '@shard_by first';
CREATE FUNCTION log_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log SELECT min(id), count(*) FROM added;
    RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT ON logged REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION log_statement();

-- A trigger that counts the rows that it sees.
CREATE TABLE counted (id bigint PRIMARY KEY, others integer);
COMMENT ON TABLE counted IS '@shard_by id';
CREATE FUNCTION count_others() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.others := (SELECT count(*) FROM counted);
    RETURN NEW;
END $$;
CREATE TRIGGER count_others BEFORE INSERT ON counted FOR EACH ROW EXECUTE FUNCTION count_others();

-- Triggers between a reference table and sharded ones, put together so that planning does not see what they write.
CREATE TABLE nations (code text PRIMARY KEY, towns integer DEFAULT 0);
COMMENT ON TABLE nations IS '@reference';
CREATE TABLE towns (id bigint PRIMARY KEY, nation text);
COMMENT ON TABLE towns IS '@shard_by id';
CREATE FUNCTION count_towns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'UPDATE nations SET towns = towns + 1 WHERE code = $1' USING NEW.nation;
    RETURN NULL;
END $$;
CREATE TRIGGER count_towns AFTER INSERT ON towns FOR EACH ROW EXECUTE FUNCTION count_towns();
CREATE TABLE holidays (day date PRIMARY KEY);
COMMENT ON TABLE holidays IS '@reference';
CREATE TABLE reminders (day date, who bigint NOT NULL);
COMMENT ON TABLE reminders IS '@shard_by who';
CREATE FUNCTION remind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'INSERT INTO reminders VALUES ($1, 1)' USING NEW.day;
    RETURN NULL;
END $$;
CREATE TRIGGER remind AFTER INSERT ON holidays FOR EACH ROW EXECUTE FUNCTION remind();

-- Triggers and a default of reference tables that write another one, also when a foreign key's action fires them.
CREATE TABLE paints (code text PRIMARY KEY);
COMMENT ON TABLE paints IS '@reference';
CREATE TABLE paint_log (id serial PRIMARY KEY, code text);
COMMENT ON TABLE paint_log IS '@reference';
CREATE FUNCTION log_paint(code text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO paint_log (code) VALUES (log_paint.code);
    RETURN code;
END $$;
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM log_paint(coalesce(NEW.code, OLD.code));
    RETURN NULL;
END $$;
CREATE TABLE shades (code text PRIMARY KEY, paint text REFERENCES paints ON DELETE CASCADE ON UPDATE CASCADE);
COMMENT ON TABLE shades IS '@reference';
CREATE TRIGGER log AFTER INSERT OR DELETE ON shades FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TABLE tints (code text PRIMARY KEY DEFAULT log_paint('some'), paint text REFERENCES paints ON DELETE CASCADE);
COMMENT ON TABLE tints IS '@reference';
CREATE FUNCTION log_in_sql(code text) RETURNS text LANGUAGE sql AS
    'INSERT INTO paint_log (code) VALUES (code) RETURNING code';
CREATE TABLE hues (code text PRIMARY KEY DEFAULT log_in_sql('some'));
COMMENT ON TABLE hues IS '@reference';
CREATE TABLE walls (id bigint PRIMARY KEY, code text REFERENCES paints ON DELETE CASCADE);
COMMENT ON TABLE walls IS '@shard_by id';
CREATE TRIGGER log AFTER DELETE ON walls FOR EACH ROW WHEN (pg_trigger_depth() > 0) EXECUTE FUNCTION log_it();

-- A trigger that notes what happens to rows.
CREATE TABLE travellers (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE travellers IS '@shard_by id';
CREATE TABLE diary (traveller bigint NOT NULL, what text);
COMMENT ON TABLE diary IS '@shard_by traveller';
CREATE FUNCTION keep_diary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO diary VALUES (coalesce(NEW.id, OLD.id), TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER keep_diary AFTER INSERT OR UPDATE OR DELETE ON travellers
    FOR EACH ROW EXECUTE FUNCTION keep_diary();

-- Triggers that do what no transaction can that is prepared.
CREATE TABLE calls (id bigint PRIMARY KEY);
COMMENT ON TABLE calls IS '@shard_by id';
CREATE FUNCTION call_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY calls;
    RETURN NULL;
END $$;
CREATE TRIGGER call_out AFTER INSERT ON calls FOR EACH ROW EXECUTE FUNCTION call_out();
CREATE TABLE sketches (id bigint PRIMARY KEY);
COMMENT ON TABLE sketches IS '@shard_by id';
CREATE FUNCTION sketch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS paper (line text) ON COMMIT DROP;
    RETURN NULL;
END $$;
CREATE TRIGGER sketch AFTER INSERT ON sketches FOR EACH ROW EXECUTE FUNCTION sketch();

CREATE TABLE circles (
    a bigint, b integer, ra bigint, rb integer, PRIMARY KEY (a, b), FOREIGN KEY (ra, rb) REFERENCES circles
);
COMMENT ON TABLE circles IS '@shard_by a';

CREATE TABLE documents (id bigint PRIMARY KEY, plain json, body jsonb DEFAULT 'null');
COMMENT ON TABLE documents IS '@shard_by id';

CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), buyer bigint NOT NULL);
COMMENT ON TABLE orders IS '@shard_by buyer';

-- Two keys share a column, and the one that covers less is the older one.
CREATE TABLE coded (id bigint PRIMARY KEY, code integer UNIQUE, UNIQUE (id, code));
COMMENT ON TABLE coded IS '@shard_by id';
CREATE TABLE coding (
    id bigint PRIMARY KEY,
    parent bigint,
    code integer REFERENCES coded (code) ON UPDATE CASCADE,
    FOREIGN KEY (parent, code) REFERENCES coded (id, code) ON UPDATE CASCADE
);
COMMENT ON TABLE coding IS '@shard_by id';

-- Rows that cannot move along with their parent, and rows that can.
CREATE TABLE painters (id bigint PRIMARY KEY);
COMMENT ON TABLE painters IS '@shard_by id';
CREATE TABLE pictures (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES painters ON UPDATE CASCADE);
COMMENT ON TABLE pictures IS '@shard_with owner';
CREATE TABLE scans (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES painters ON UPDATE CASCADE);
COMMENT ON TABLE scans IS E'@shard_with owner\\n@claim';
"""

TABLES = [
    *("bottoms", "lefts", "rights", "tops", "numbered", "drawers", "visitors", "guest_book"),
    *("pets", "shelters", "logged", "log", "counted"),
    *("nations", "towns", "holidays", "reminders", "travellers", "diary"),
    *("walls", "hues", "tints", "shades", "paints", "paint_log"),
    *("calls", "sketches", "documents", "orders", "circles"),
    *("pictures", "scans", "painters", "coding", "coded"),
]


@pytest.fixture(autouse=True)
def _empty_tables(pair: Pair, _same_tables: None) -> Iterator[None]:
    """Empties both sides, each by itself, before they are compared."""
    yield
    pair.empty(TABLES)


def outcomes(pair: Pair, *writes: Write) -> tuple[Any, Any]:
    """What Crosskey and what PostgreSQL make of a transaction."""
    try:
        by_crosskey: Outcome = pair.client.transact(writes)
    except CrosskeyError as error:
        by_crosskey = refusal_by_crosskey(error)
    return by_crosskey, pair.plain.run(writes)


@pytest.mark.parametrize("shards", [(0, 0, 0), (1, 2, 0), (2, 1, 1)], ids=str)
def test_no_action_looks_at_the_very_end_of_a_statement(pair: Pair, shards: tuple[int, int, int]) -> None:
    parent, left, right, bottom = (pair.number(shard) for shard in (PARENT_SHARD, *shards))
    pair.insert("tops", {"id": parent})
    pair.insert("lefts", {"id": left, "parent": parent})
    pair.insert("rights", {"id": right, "parent": parent})
    pair.insert("bottoms", {"id": bottom, "l": left, "r": right})
    by_crosskey, by_postgres = outcomes(pair, delete("tops", key={"id": parent}))
    assert by_crosskey == [1]
    assert isinstance(by_postgres, Refusal)


@pytest.mark.parametrize("shards", [(0, 0), (0, 1), (1, 2)], ids=str)
def test_cascades_of_keys_that_share_a_column_meet(pair: Pair, shards: tuple[int, int]) -> None:
    (moved, child), parent = (pair.number(shard) for shard in shards), pair.number(PARENT_SHARD)
    pair.insert("coded", {"id": parent, "code": 1})
    pair.insert("coding", {"id": child, "parent": parent, "code": 1})
    by_crosskey, by_postgres = outcomes(pair, update("coded", {"id": moved, "code": 2}, key={"id": parent}))
    assert by_crosskey == [[{"id": str(moved), "code": 2}]]
    assert isinstance(by_postgres, Refusal)
    assert pair.client.get("coding", {"id": child}) == {"id": str(child), "parent": str(moved), "code": 2}


def test_a_router_draws_numbers_ahead(pair: Pair) -> None:
    rows = [{"id": pair.number(shard)} for shard in range(SHARDS)]
    [by_crosskey], [by_postgres] = outcomes(pair, insert("numbered", rows))
    last, gap = by_crosskey[-1]["number"], "SELECT nextval('numbered_number_seq') - %s"
    assert [row["number"] for row in by_crosskey] == [last - 2, last - 1, last]
    [(ahead,)] = pair.shards[0].execute(gap, [last])
    [(next_number,)] = pair.plain.connection.execute(gap, [by_postgres[-1]["number"]])
    assert next_number == 1 < ahead


REFUSED_ROWS = {
    "a row": ([{"checked": 1}, {"checked": -1}, {"checked": 1}], 2, 3),
    "a value that is none": ([{"checked": 1}, {"checked": "x"}, {"checked": 1}], 0, 3),
    "a column that is not there": ([{"checked": 1}, {"nope": 1}], 0, 2),
}


@pytest.mark.parametrize(("rows", "drawn_by_postgres", "drawn"), REFUSED_ROWS.values(), ids=REFUSED_ROWS)
def test_what_a_refused_insert_has_drawn(
    pair: Pair, rows: list[dict[str, Any]], drawn_by_postgres: int, drawn: int
) -> None:
    request = insert("refusing", [{"id": pair.number(1), **row} for row in rows])
    before_and_after = []
    for requests in ([], [request]):
        for refused in requests:
            by_crosskey, by_postgres = outcomes(pair, refused)
            assert by_crosskey.sqlstate == by_postgres.sqlstate
        [[by_crosskey]], [[by_postgres]] = outcomes(pair, insert("refusing", {"id": pair.number(1)}))
        before_and_after.append((by_crosskey["number"], by_postgres["number"]))
    (first, first_by_postgres), (last, last_by_postgres) = before_and_after
    pair.empty(["refusing"])
    assert (last - first - 1, last_by_postgres - first_by_postgres - 1) == (drawn, drawn_by_postgres)


@pytest.mark.parametrize("shards", [(0, 0, 0), (0, 1, 2)], ids=["together", "apart"])
def test_positions_over_shards_are_in_nobodys_way(pair: Pair, shards: tuple[int, int, int]) -> None:
    pair.insert("positions", *({"id": pair.number(shard), "position": place} for place, shard in enumerate(shards)))
    shifted = update("positions", {"position": column("position") + 1}, where=is_null("position", False))
    by_crosskey, by_postgres = outcomes(pair, shifted)
    assert by_postgres.sqlstate == "23505"
    if shards == (0, 0, 0):
        assert by_crosskey.message == by_postgres.message
    else:
        assert sorted(row["position"] for row in by_crosskey[0]) == [1, 2, 3]
    pair.empty(["positions"])


def test_a_number_that_is_too_large_for_its_column(pair: Pair) -> None:
    by_crosskey, by_postgres = outcomes(pair, insert("drawers", {"id": pair.number(0)}))
    assert by_crosskey.sqlstate == by_postgres.sqlstate == "22003"
    assert by_postgres.message == "smallint out of range"
    assert "is out of range for type smallint" in by_crosskey.message


def test_columns_that_draw_from_one_sequence(pair: Pair) -> None:
    rows = [{"id": pair.number(shard), "small": 1} for shard in range(SHARDS)]
    [by_crosskey], [by_postgres] = outcomes(pair, insert("drawers", rows))
    assert {row["second"] - row["first"] for row in by_crosskey} == {SHARDS}
    assert {row["second"] - row["first"] for row in by_postgres} == {1}


def test_a_trigger_on_another_shard_than_the_first_draws_from_the_other_side_of_zero(pair: Pair) -> None:
    rows = [{"id": pair.number(shard)} for shard in (0, 1, 2, 1, 2)]
    outcomes(pair, insert("visitors", rows))
    pair.client.insert("guest_book", {"visitor": pair.number(1)})
    assert sorted(int(row["entry"]) for row in pair.client.list("guest_book")) == [-5, -4, -2, -1, 1, 2]
    assert sorted(int(row["entry"]) for row in pair.plain.rows("guest_book", [])) == [1, 2, 3, 4, 5]


def test_rows_that_leave_other_columns_to_their_defaults_are_inserted_apart(pair: Pair) -> None:
    rows: list[dict[str, Any]] = [{"id": pair.number(1)} for _ in range(3)]
    rows[1]["label"] = "given"
    [by_crosskey], [by_postgres] = outcomes(pair, insert("numbered", rows))
    assert [row["moment"] > by_crosskey[2]["moment"] for row in by_crosskey] == [False, True, False]
    assert by_postgres[1]["moment"] <= by_postgres[2]["moment"]


def test_statement_triggers_fire_on_each_shard(pair: Pair) -> None:
    outcomes(pair, insert("logged", [{"id": pair.number(shard)} for shard in range(SHARDS)]))
    assert [row["rows"] for row in pair.client.list("log")] == [1, 1, 1]
    assert [row["rows"] for row in pair.plain.rows("log", [])] == [3]


def test_triggers_see_the_rows_of_their_shard(pair: Pair) -> None:
    rows = [{"id": pair.number(shard)} for shard in range(SHARDS)]
    [by_crosskey], [by_postgres] = outcomes(pair, insert("counted", rows))
    assert [row["others"] for row in by_crosskey] == [0, 0, 0]
    assert [row["others"] for row in by_postgres] == [0, 1, 2]


def test_a_trigger_of_a_sharded_table_cannot_write_a_reference_table(pair: Pair) -> None:
    pair.insert("nations", {"code": "x"})
    by_crosskey, by_postgres = outcomes(pair, insert("towns", {"id": pair.number(1), "nation": "x"}))
    assert "is a reference table" in by_crosskey.message
    assert isinstance(by_postgres, list)


@pytest.mark.parametrize(("table", "row"), [("shades", {"code": "x"}), ("tints", {"paint": None}), ("hues", {})])
def test_a_trigger_or_function_cannot_write_a_reference_table(pair: Pair, table: str, row: dict[str, Any]) -> None:
    by_crosskey, by_postgres = outcomes(pair, insert(table, row))
    assert "a trigger or function would write each copy by itself" in by_crosskey.message
    assert isinstance(by_postgres, list)


def test_a_trigger_that_a_foreign_key_fires_cannot_write_a_reference_table(pair: Pair) -> None:
    pair.insert("paints", {"code": "red"})
    pair.insert("walls", {"id": pair.number(1), "code": "red"})
    by_crosskey, by_postgres = outcomes(pair, delete("paints", key={"code": "red"}))
    assert "a trigger or function would write each copy by itself" in by_crosskey.message
    assert by_postgres == [1]


def test_a_trigger_of_a_reference_table_cannot_insert_into_a_sharded_one(pair: Pair) -> None:
    by_crosskey, by_postgres = outcomes(pair, insert("holidays", {"day": "2024-12-25"}))
    assert "a trigger that fires on all shards" in by_crosskey.message
    assert isinstance(by_postgres, list)


def test_a_row_that_moves_fires_the_triggers_of_delete_and_insert_too(pair: Pair) -> None:
    old, new = pair.number(1), pair.number(2)
    pair.insert("travellers", {"id": old})
    outcomes(pair, update("travellers", {"id": new}, key={"id": old}))
    assert sorted(row["what"] for row in pair.client.list("diary")) == ["DELETE", "INSERT", "INSERT", "UPDATE"]
    assert sorted(row["what"] for row in pair.plain.rows("diary", [])) == ["INSERT", "UPDATE"]


@pytest.mark.parametrize("table", ["calls", "sketches"])
def test_a_trigger_may_do_what_cannot_be_prepared_on_one_shard_only(pair: Pair, table: str) -> None:
    pair.insert(table, {"id": pair.number(1)}, {"id": pair.number(1)})
    numbers = [pair.number(shard) for shard in range(SHARDS)]
    by_crosskey, by_postgres = outcomes(pair, insert(table, [{"id": number} for number in numbers]))
    assert (by_crosskey.sqlstate, by_crosskey.message[:29]) == ("0A000", "cannot PREPARE a transaction ")
    with pytest.raises(errors.NotSupported) as refused:
        pair.client.insert(table, [{"id": number} for number in numbers])
    assert "in one of a single shard it may" in refused.value.metadata["hint"]
    assert isinstance(by_postgres, list)


def test_json_objects_have_no_order(pair: Pair) -> None:
    request = insert("documents", {"id": pair.number(1), "plain": {"longer": 1, "b": 2}})
    [[by_crosskey]], [[by_postgres]] = outcomes(pair, request)
    assert by_crosskey["plain"] == by_postgres["plain"]


def test_a_json_null_is_shown_as_null(pair: Pair) -> None:
    number = pair.number(1)
    outcomes(pair, insert("documents", {"id": number}))
    assert pair.client.get("documents", id=number)["body"] is None
    assert pair.client.count("documents", {"id": number, "body": None}) == 0


def test_a_json_null_does_not_travel_in_a_key(pair: Pair) -> None:
    book = pair.number(0)
    pair.insert("empty_books", {"id": book})
    by_crosskey, by_postgres = outcomes(pair, insert("empty_pages", {"id": pair.number(1), "book": book}))
    assert by_crosskey.sqlstate == "23503"
    assert len(by_postgres[0]) == 1
    pair.empty(["empty_pages", "empty_books"])


def test_numbers_that_a_double_cannot_hold_are_refused_in_a_struct(pair: Pair) -> None:
    """As JSON text, in which clients of ours send them, they are what is written there."""
    row = {"id": pair.number(1), "body": 2.0**60}
    with pytest.raises(CrosskeyError, match=r"beyond 2\^53"):
        pair.client.transact([InsertRequest(table="documents", rows=[dict_to_struct(row)])])
    assert isinstance(pair.plain.run([insert("documents", row)]), list)
    pair.empty(["documents"])


def test_ids_that_carry_a_slot_are_minted(pair: Pair) -> None:
    [[by_crosskey]], [[by_postgres]] = outcomes(pair, insert("orders", {"buyer": pair.number(1)}))
    assert (UUID(by_crosskey["id"]).version, UUID(by_postgres["id"]).version) == (7, 4)


def test_ids_that_carry_a_slot_keep_their_row_there(pair: Pair) -> None:
    buyer, wrong = pair.number(1), pair.uuid(2)
    by_crosskey, _ = outcomes(pair, insert("orders", {"id": wrong, "buyer": buyer}))
    assert "carries slot" in by_crosskey.message
    order = pair.uuid_beside(buyer)
    pair.insert("orders", {"id": order, "buyer": buyer})
    by_crosskey, by_postgres = outcomes(pair, update("orders", {"buyer": pair.number(2)}, key={"id": order}))
    assert "carries another slot" in by_crosskey.message
    assert len(by_postgres[0]) == 1


def test_a_parent_of_ids_that_carry_a_slot_keeps_its_slot(pair: Pair) -> None:
    owner, other = pair.number(1), pair.number(2)
    pair.insert("painters", {"id": owner})
    pair.insert("pictures", {"id": pair.uuid_beside(owner), "owner": owner})
    with pytest.raises(SlotMismatch) as refused:
        pair.client.update("painters", {"id": other}, where={"id": owner})
    assert refused.value.metadata["table"] == "pictures"
    assert "ON UPDATE CASCADE" in refused.value.metadata["hint"]
    assert "@claim" in refused.value.metadata["hint"]


def test_ids_of_foreign_make_move_along_with_their_parent(pair: Pair) -> None:
    owner, other = pair.number(1), pair.number(2)
    scan = {"id": pair.uuid(0), "owner": owner}
    pair.insert("painters", {"id": owner})
    pair.insert("scans", scan)
    pair.update("painters", {"id": other}, key={"id": owner})
    assert pair.client.get("scans", id=scan["id"])["owner"] == str(other)


def test_one_of_several_faults_is_named(pair: Pair) -> None:
    numbers = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("numbered", *[{"id": number, "number": 1, "moment": "2024-12-25"} for number in numbers])
    by_crosskey, by_postgres = outcomes(pair, insert("numbered", [{"id": number} for number in numbers]))
    assert by_crosskey.message == by_postgres.message
    assert by_crosskey.detail in [f"Key (id)=({number}) already exists." for number in numbers]
    assert by_postgres.detail == f"Key (id)=({numbers[0]}) already exists."


def test_a_row_that_moves_away_from_its_own_reference_may_be_named_for_that(pair: Pair) -> None:
    one, two = pair.number(0), pair.number(0)
    references = {(one, 1): (one, 1), (two, 1): (one, 1), (two, 2): (two, 1), (one, 3): (two, 2)}
    for (a, b), (ra, rb) in references.items():
        pair.insert("circles", {"a": a, "b": b, "ra": ra, "rb": rb})
    by_crosskey, by_postgres = outcomes(pair, update("circles", {"a": pair.number(1)}, key={"a": one, "b": 1}))
    assert (by_crosskey.sqlstate, by_crosskey.constraint) == (by_postgres.sqlstate, by_postgres.constraint)
    assert by_crosskey.message.startswith('insert or update on table "circles"')
    assert by_postgres.message.startswith('update or delete on table "circles"')


@pytest.mark.parametrize("default_first", [True, False])
@pytest.mark.parametrize("shards", [(1, 1), (0, 1), (2, 0)], ids=str)
def test_a_default_whose_parent_goes_too_is_refused(pair: Pair, shards: tuple[int, int], default_first: bool) -> None:
    parent, child = map(pair.number, shards)
    shelters = [{"id": 0}, {"id": parent}]
    pair.insert("shelters", *(shelters if default_first else reversed(shelters)))
    pair.insert("pets", {"id": child, "shelter": parent})
    by_crosskey, by_postgres = outcomes(pair, delete("shelters", where=is_null("id", False)))
    assert (by_crosskey.sqlstate, by_crosskey.constraint) == (by_postgres.sqlstate, by_postgres.constraint)
    at_child, at_parent = "insert or update on table", "update or delete on table"
    assert by_postgres.message.startswith(at_child if default_first else at_parent)
    assert by_crosskey.message.startswith((at_child, at_parent))

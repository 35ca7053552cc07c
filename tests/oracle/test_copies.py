"""Copies of parents' columns: a plain PostgreSQL with ordinary triggers does the same."""

from typing import Any

import pytest

from crosskey import CheckViolation, ForeignKeyViolation, NotNullViolation, delete, in_, insert, update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import Pair
from tests.oracle.plain_copies import PlainCopy, plain_triggers

pytestmark = pytest.mark.searches

COPIES = (
    PlainCopy("essays", "scribe_name", "scribe", "scribes", "name"),
    PlainCopy("essays", "mood", "scribe", "scribes", "mood"),
    PlainCopy("essays", "first_name", "scribe", "scribes", "name", live=False),
    PlainCopy("essays", "price", "scribe", "scribes", "price", live=False, fixed=False),
    PlainCopy("quotes", "scribe_name", "essay", "essays", "scribe_name"),
    PlainCopy("letters", "scribe_name", "scribe", "scribes", "name"),
    PlainCopy("letters", "name_then", "scribe", "scribes", "name", live=False),
    PlainCopy("ballads", "style_title", "style", "styles", "title"),
    PlainCopy("verses", "ballad_title", "ballad", "ballads", "title"),
    PlainCopy("verses", "title_then", "ballad", "ballads", "title", live=False),
    PlainCopy("elders", "guide_name", "guide", "elders", "name"),
)

_TAGS = "\n".join(
    f"COMMENT ON COLUMN {copy.table}.{copy.column} IS '@copy {copy.by}.{copy.parent_column}"
    f"{'' if copy.live else ' snapshot' if copy.fixed else ' snapshot overridable'}';"
    for copy in COPIES
)

SCHEMA = f"""
CREATE TABLE scribes (id bigint PRIMARY KEY, name text, mood text, price numeric(8, 2), seen integer);
COMMENT ON TABLE scribes IS '@shard_by id';
CREATE TABLE essays (
    id bigint PRIMARY KEY,
    scribe bigint REFERENCES scribes ON DELETE CASCADE ON UPDATE CASCADE,
    scribe_name text NOT NULL,
    mood text,
    first_name text,
    price numeric(8, 2)
);
COMMENT ON TABLE essays IS '@shard_by id';
CREATE TABLE quotes (
    id bigint PRIMARY KEY, essay bigint REFERENCES essays ON DELETE CASCADE ON UPDATE CASCADE, scribe_name text
);
COMMENT ON TABLE quotes IS '@shard_by id';
CREATE TABLE letters (
    id bigint PRIMARY KEY,
    box bigint NOT NULL,
    scribe bigint REFERENCES scribes ON DELETE SET NULL ON UPDATE CASCADE,
    scribe_name text,
    name_then text
);
COMMENT ON TABLE letters IS '@shard_by box';
CREATE TABLE styles (id text PRIMARY KEY, title text);
COMMENT ON TABLE styles IS '@reference';
CREATE TABLE ballads (
    id bigint PRIMARY KEY, title text, style text REFERENCES styles ON UPDATE CASCADE, style_title text
);
COMMENT ON TABLE ballads IS '@shard_by id';
CREATE TABLE verses (
    id bigint,
    ballad bigint REFERENCES ballads ON DELETE CASCADE ON UPDATE CASCADE,
    ballad_title text,
    title_then text NOT NULL,
    PRIMARY KEY (ballad, id)
);
COMMENT ON TABLE verses IS '@shard_by ballad';
CREATE TABLE elders (id bigint PRIMARY KEY, name text, guide bigint REFERENCES elders, guide_name text);
COMMENT ON TABLE elders IS '@shard_by id';
{_TAGS}
"""


@pytest.fixture(scope="module", autouse=True)
def _plain_triggers(pair: Pair) -> None:
    pair.plain.connection.execute(plain_triggers(COPIES).encode())


@pytest.fixture
def scribe(pair: Pair) -> int:
    """A new scribe on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("scribes", {"id": number, "name": "Ann", "mood": "glad", "price": "2.50"})
    return number


def write_essay(pair: Pair, shard: int, scribe: int, **values: Any) -> dict[str, Any]:
    """Insert an essay; return it as stored."""
    [row] = pair.insert("essays", {"id": pair.number(shard), "scribe": scribe, **values})
    return row


def test_references_take_what_the_parent_has(pair: Pair, scribe: int, child_shard: int) -> None:
    first, later = (write_essay(pair, child_shard, scribe) for _ in range(2))
    for row in (first, later):
        assert (row["scribe_name"], row["mood"], row["first_name"]) == ("Ann", "glad", "Ann")


def test_children_follow_and_snapshots_stay(pair: Pair, scribe: int, child_shard: int) -> None:
    write_essay(pair, child_shard, scribe)
    pair.update("scribes", {"name": "Bea", "mood": None, "price": "3.00"}, key={"id": scribe})
    later = write_essay(pair, child_shard, scribe)
    assert (later["scribe_name"], later["first_name"]) == ("Bea", "Bea")
    [earlier] = [row for row in pair.rows("essays", {"scribe": scribe}) if row["id"] != later["id"]]
    assert (earlier["scribe_name"], earlier["mood"], earlier["first_name"]) == ("Bea", None, "Ann")


def test_a_right_value_may_be_given_and_no_other(pair: Pair, scribe: int, child_shard: int) -> None:
    row = write_essay(pair, child_shard, scribe, scribe_name="Ann", mood=None)
    for column in ("scribe_name", "mood", "first_name"):
        with pytest.raises(CheckViolation, match="not to be given") as raised:
            write_essay(pair, child_shard, scribe, **{column: "Eve"})
        assert raised.value.metadata["columns"] == column
        with pytest.raises(CheckViolation, match="not to be given"):
            pair.update("essays", {column: "Eve"}, key={"id": row["id"]})
    pair.update("essays", {"scribe_name": "Ann", "mood": None}, key={"id": row["id"]})


def test_an_overridable_snapshot(pair: Pair, scribe: int, child_shard: int) -> None:
    assert write_essay(pair, child_shard, scribe)["price"] == "2.50"
    row = write_essay(pair, child_shard, scribe, price="1.00")
    assert row["price"] == "1.00"
    [changed] = pair.update("essays", {"price": "0.50"}, key={"id": row["id"]})
    assert changed["price"] == "0.50"


def test_another_parent(pair: Pair, scribe: int, child_shard: int) -> None:
    row = write_essay(pair, child_shard, scribe)
    other = pair.number(2)
    pair.insert("scribes", {"id": other, "name": "Cid"})
    [moved] = pair.update("essays", {"scribe": other}, key={"id": row["id"]})
    assert (moved["scribe_name"], moved["mood"], moved["first_name"]) == ("Cid", None, "Cid")
    pair.update("scribes", {"name": "Dan"}, key={"id": scribe})
    pair.update("scribes", {"name": "Dot"}, key={"id": other})


def test_copies_of_copies(pair: Pair, scribe: int, child_shard: int) -> None:
    essay = write_essay(pair, child_shard, scribe)["id"]
    for shard in range(3):
        [quote] = pair.insert("quotes", {"id": pair.number(shard), "essay": essay})
        assert quote["scribe_name"] == "Ann"
    pair.update("scribes", {"name": "Flo"}, key={"id": scribe})
    assert {row["scribe_name"] for row in pair.rows("quotes", {"essay": essay})} == {"Flo"}


def test_the_parent_goes(pair: Pair, scribe: int, child_shard: int) -> None:
    number = pair.number(child_shard)
    pair.insert("letters", {"id": number, "box": number, "scribe": scribe})
    pair.delete("scribes", key={"id": scribe})
    [letter] = pair.rows("letters", {"box": number})
    assert (letter["scribe"], letter["scribe_name"], letter["name_then"]) == (None, None, "Ann")


def test_the_parent_gets_another_key(pair: Pair, scribe: int, child_shard: int) -> None:
    number = pair.number(child_shard)
    write_essay(pair, child_shard, scribe)
    pair.insert("letters", {"id": number, "box": number, "scribe": scribe})
    pair.update("scribes", {"name": "Gus"}, key={"id": scribe})
    pair.update("scribes", {"id": pair.number(PARENT_SHARD), "name": "Hal"}, key={"id": scribe})
    [letter] = pair.rows("letters", {"box": number})
    assert (letter["scribe_name"], letter["name_then"]) == ("Hal", "Ann")


def test_the_parent_moves(pair: Pair, scribe: int, child_shard: int) -> None:
    write_essay(pair, child_shard, scribe)
    moved = pair.number(2)
    pair.update("scribes", {"id": moved, "name": "Ida"}, key={"id": scribe})
    pair.update("scribes", {"name": "Jan"}, key={"id": moved})
    assert [row["scribe_name"] for row in pair.rows("essays", {"scribe": moved})] == ["Jan"]


@pytest.mark.parametrize("known", [True, False])
def test_children_move(pair: Pair, scribe: int, child_shard: int, known: bool) -> None:
    box = pair.number(child_shard)
    pair.insert("letters", {"id": box, "box": box, "scribe": scribe})
    pair.update("scribes", {"name": "Kay"}, key={"id": scribe})
    if known:
        there = pair.number(2)
        pair.insert("letters", {"id": there, "box": there, "scribe": scribe})
    [moved] = pair.update("letters", {"box": pair.number(2)}, key={"id": box})
    assert (moved["scribe_name"], moved["name_then"]) == ("Kay", "Ann")
    pair.update("scribes", {"name": "Lea"}, key={"id": scribe})


def test_what_is_not_null(pair: Pair, scribe: int, child_shard: int) -> None:
    """Without PostgreSQL's DETAIL, which shows the row."""
    write_essay(pair, child_shard, scribe)
    nameless = pair.number(PARENT_SHARD)
    pair.insert("scribes", {"id": nameless})
    for essay in ({"scribe": None}, {"scribe": nameless}):
        with pytest.raises(NotNullViolation, match='null value in column "scribe_name" of relation "essays"'):
            pair.client.insert("essays", [{"id": pair.number(child_shard), **essay}])
    with pytest.raises(NotNullViolation):
        pair.client.update("scribes", {"name": None}, key={"id": scribe})


def test_no_such_parent(pair: Pair, child_shard: int) -> None:
    number = pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("letters", {"id": number, "box": number, "scribe": pair.number(PARENT_SHARD)})


def test_many_rows_on_all_shards(pair: Pair, scribe: int) -> None:
    for _ in range(2):
        rows = [{"id": pair.number(shard), "scribe": scribe} for shard in range(3)]
        assert {row["scribe_name"] for row in pair.insert("essays", *rows)} == {"Ann"}
    pair.update("scribes", {"name": "Mia"}, key={"id": scribe})


def test_in_one_transaction(pair: Pair, child_shard: int) -> None:
    scribe, essays = pair.number(PARENT_SHARD), [pair.number(child_shard) for _ in range(2)]
    answers = pair.transact(
        insert("scribes", [{"id": scribe, "name": "Ned"}]),
        insert("essays", [{"id": essays[0], "scribe": scribe}]),
        update("scribes", {"name": "Ola"}, key={"id": scribe}),
        insert("essays", [{"id": essays[1], "scribe": scribe}]),
        delete("essays", key={"id": essays[0]}),
    )
    assert [rows[0]["scribe_name"] for rows in (answers[1], answers[3]) if not isinstance(rows, int)] == ["Ned", "Ola"]


def test_many_parents_at_once(pair: Pair, child_shard: int) -> None:
    scribes = [pair.number(shard) for shard in (0, 1, 2)]
    pair.insert("scribes", *({"id": number, "name": f"n{number}"} for number in scribes))
    for number in scribes:
        write_essay(pair, child_shard, number)
    pair.update("scribes", {"name": "all"}, where=in_("id", scribes))


def test_another_column_of_the_parent(pair: Pair, scribe: int, child_shard: int) -> None:
    write_essay(pair, child_shard, scribe)
    pair.update("scribes", {"seen": 1}, key={"id": scribe})


def test_copies_of_a_reference_table(pair: Pair, child_shard: int) -> None:
    style = pair.text(0)
    pair.insert("styles", {"id": style, "title": "Ode"})
    [ballad] = pair.insert("ballads", {"id": pair.number(child_shard), "style": style})
    assert ballad["style_title"] == "Ode"
    pair.update("styles", {"title": "Epos"}, key={"id": style})
    pair.update("styles", {"id": pair.text(0), "title": "Epic"}, key={"id": style})


def test_copies_of_a_row_beside(pair: Pair, child_shard: int) -> None:
    ballad = pair.number(child_shard)
    pair.insert("ballads", {"id": ballad, "title": "Lenore"})
    [verse] = pair.insert("verses", {"id": 1, "ballad": ballad})
    assert verse["ballad_title"] == "Lenore"
    pair.update("ballads", {"title": "Loreley"}, key={"id": ballad})
    with pytest.raises(CheckViolation, match="not to be given"):
        pair.insert("verses", {"id": 2, "ballad": ballad, "ballad_title": "Lenore"})
    moved = pair.number(2)
    pair.update("ballads", {"id": moved, "title": "Erlking"}, key={"id": ballad})
    assert pair.rows("verses", {"ballad": moved})[0]["ballad_title"] == "Erlking"


def test_copies_of_rows_of_the_same_table(pair: Pair, child_shard: int) -> None:
    guide, pupils = pair.number(PARENT_SHARD), [pair.number(child_shard), pair.number(2)]
    pair.insert("elders", {"id": guide, "name": "Pia"})
    pair.insert("elders", *({"id": one, "guide": guide} for one in pupils))
    pair.update("elders", {"name": "Rob"}, key={"id": guide})
    assert {row["guide_name"] for row in pair.rows("elders", {"guide": guide})} == {"Rob"}


def test_rows_that_come_with_their_parent(pair: Pair, child_shard: int) -> None:
    """They are answered as they were before it was there, where it is on another shard."""
    guide, pupil = pair.number(PARENT_SHARD), pair.number(child_shard)
    rows: list[dict[str, Any]] = [{"id": guide, "name": "Sam"}, {"id": pupil, "guide": guide}]
    pair.client.insert("elders", rows)
    pair.plain.run([insert("elders", rows)])
    assert [row["guide_name"] for row in pair.rows("elders", {"id": pupil})] == ["Sam"]


def test_a_row_moves_to_another_parent_that_it_lives_beside(pair: Pair) -> None:
    """It is answered as it was on its old shard, where the new parent is not."""
    ballads = [pair.number(shard) for shard in (0, 1)]
    pair.insert("ballads", *({"id": ballad, "title": f"title{ballad}"} for ballad in ballads))
    pair.insert("verses", {"id": 1, "ballad": ballads[0]})
    change = update("verses", {"ballad": ballads[1]}, key={"ballad": ballads[0], "id": 1})
    pair.client.transact([change])
    pair.plain.run([change])
    [row] = pair.rows("verses", {"ballad": ballads[1]})
    assert row["ballad_title"] == row["title_then"] == f"title{ballads[1]}"

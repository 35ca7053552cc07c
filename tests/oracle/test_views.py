"""Views: what their lists answer over all shards is what they hold on one PostgreSQL, or they are refused."""

import random
from collections import Counter
from typing import Any

import pytest
from psycopg import sql

import crosskey
from crosskey import InvalidRequest, NotSupported
from tests.oracle.pair import Pair

SCHEMA = """
CREATE TABLE seen_kinds (code text PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE seen_kinds IS '@reference';
CREATE TABLE seen_people (id bigint PRIMARY KEY, name text, kind text REFERENCES seen_kinds);
COMMENT ON TABLE seen_people IS '@shard_by id';
CREATE TABLE seen_notes (
    id bigint PRIMARY KEY, owner bigint NOT NULL REFERENCES seen_people, reader bigint REFERENCES seen_people,
    label text, points int
);
COMMENT ON TABLE seen_notes IS '@shard_by owner';
CREATE TABLE seen_marks (note bigint NOT NULL REFERENCES seen_notes, place int, PRIMARY KEY (note, place));
COMMENT ON TABLE seen_marks IS '@shard_with note';
CREATE TABLE seen_words (word text) PARTITION BY LIST (word);
CREATE TABLE seen_words_all PARTITION OF seen_words DEFAULT;
ALTER TABLE seen_words ADD PRIMARY KEY (word);
COMMENT ON TABLE seen_words IS '@shard_by word';
CREATE TABLE seen_logs (owner int NOT NULL, line text);
COMMENT ON TABLE seen_logs IS '@shard_by owner';
CREATE FUNCTION seen_looks() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM seen_people';
CREATE FUNCTION seen_twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
"""

READ = {
    "plain": "SELECT id, name FROM seen_people WHERE name <> 'b'",
    "sorted": "SELECT * FROM seen_people ORDER BY name LIMIT ALL",
    "kinds": "SELECT upper(code) AS code, (SELECT count(*) FROM seen_kinds) AS all_kinds FROM seen_kinds ORDER BY 1",
    "least_kinds": "SELECT min(code) AS least FROM seen_kinds",
    "parts": "SELECT word FROM seen_words_all",
    "without_a_key": "SELECT label, points FROM seen_notes",
    "twins": "SELECT owner, line FROM seen_logs",
    "computed": "SELECT id, seen_twice(points) AS doubled, count(*) OVER (PARTITION BY owner) FROM seen_notes",
    "beside": "SELECT n.id, p.name, k.name AS kind FROM seen_notes n JOIN seen_people p ON p.id = n.owner"
    " LEFT JOIN seen_kinds k ON k.code = p.kind",
    "by_comma": "SELECT p.id AS person, n.id AS note FROM seen_people p, seen_notes n"
    " WHERE n.owner = p.id AND points > 2",
    "by_using": "SELECT owner, label FROM (SELECT id AS owner, name FROM seen_people) p JOIN seen_notes USING (owner)",
    "with_none": "SELECT p.id AS person, n.id AS note FROM seen_people p LEFT JOIN seen_notes n ON n.owner = p.id",
    "turned": "SELECT p.id AS person, n.id AS note FROM seen_notes n RIGHT JOIN seen_people p ON n.owner = p.id",
    "whole": "SELECT p.id AS person, l.line FROM seen_people p FULL JOIN seen_logs l ON l.owner = p.id",
    "anchored": "SELECT m.note, m.place, n.label FROM seen_marks m JOIN seen_notes n ON n.id = m.note",
    "led_counts": "SELECT note, count(*) AS marks FROM seen_marks GROUP BY note",
    "marked_twice": "SELECT a.note FROM seen_marks a JOIN seen_marks b ON b.note = a.note AND a.place < b.place",
    "counts": "SELECT owner, count(*) AS notes, max(label) AS last FROM seen_notes GROUP BY owner HAVING count(*) > 1",
    "counts_of_joined": "SELECT p.id, p.name, count(n.id) AS notes FROM seen_people p"
    " LEFT JOIN seen_notes n ON n.owner = p.id GROUP BY p.id",
    "owners": "SELECT DISTINCT owner FROM seen_notes",
    "first_of_each": "SELECT DISTINCT ON (owner) owner, id FROM seen_notes ORDER BY owner, id",
    "ranks": "SELECT id, row_number() OVER (PARTITION BY owner ORDER BY id) AS place FROM seen_notes",
    "exists": "SELECT id FROM seen_people p"
    " WHERE EXISTS (SELECT FROM seen_notes n WHERE n.owner = p.id AND points > 1)",
    "scalars": "SELECT id, (SELECT count(*) FROM seen_notes n WHERE n.owner = p.id) AS notes FROM seen_people p",
    "laterals": "SELECT p.id, n.id AS note FROM seen_people p LEFT JOIN LATERAL"
    " (SELECT id FROM seen_notes n WHERE n.owner = p.id ORDER BY id DESC LIMIT 2) n ON true",
    "named": "WITH big AS (SELECT * FROM seen_notes WHERE points > 1) SELECT p.name, big.id FROM big"
    " JOIN seen_people p ON p.id = big.owner",
    "all_of_two": "SELECT id, name FROM seen_people UNION ALL SELECT owner, label FROM seen_notes",
    "owners_and_people": "SELECT id FROM seen_people INTERSECT SELECT owner FROM seen_notes",
    "few_kinds": "SELECT code FROM seen_kinds OFFSET 0 LIMIT 3",
    "kinds_or_names": "SELECT code FROM seen_kinds UNION SELECT name FROM seen_kinds",
    "of_a_view": "SELECT id, kind FROM v_beside WHERE kind IS NOT NULL",
    "joined_views": "SELECT c.owner, c.notes, p.name FROM v_counts c JOIN v_plain p ON p.id = c.owner",
    "constant": "SELECT 1 AS one, 'x'::text AS \"a \\ (b)\"",
    "several_of_one": "SELECT id, unnest(ARRAY[1, 2]) AS part FROM seen_people",
    "values": "SELECT p.id, v.x FROM seen_people p CROSS JOIN (VALUES (1), (2)) v (x)",
    "first_value": "SELECT id, (SELECT x FROM unnest(ARRAY[2, 1]) x LIMIT 1) AS x FROM seen_people",
    "least_kind": "SELECT id, (SELECT name FROM seen_kinds ORDER BY code DESC LIMIT 1) AS last FROM seen_people",
    "any_kind": "SELECT 1 AS one FROM seen_kinds LIMIT 1",
    "kinds_by_place": "SELECT p.id, k.code, k.place FROM seen_people p JOIN"
    " (SELECT code, row_number() OVER (ORDER BY code) AS place FROM seen_kinds) k ON k.code = p.kind",
    "one_kind_a_name": "SELECT p.id, k.code FROM seen_people p CROSS JOIN"
    " (SELECT DISTINCT ON (name) name, code FROM seen_kinds ORDER BY name, code) k",
    "most_usual": "SELECT p.id, k.name FROM seen_people p CROSS JOIN"
    " (SELECT name, count(*) FROM seen_kinds GROUP BY name ORDER BY count(*), name LIMIT 1) k",
}
REFUSED = {
    "apart": ("SELECT n.id, p.name FROM seen_notes n JOIN seen_people p ON p.id = n.reader", "different shards"),
    "crossed": ("SELECT p.id, n.id AS note FROM seen_people p, seen_notes n", "different shards"),
    "by_or": ("SELECT p.id FROM seen_people p JOIN seen_notes n ON n.owner = p.id OR n.id = 1", "different shards"),
    "left_apart": (
        "SELECT p.id FROM seen_people p LEFT JOIN seen_notes n ON n.label = p.name WHERE n.owner = p.id",
        "different shards",
    ),
    "kinds_first": ("SELECT k.code, p.id FROM seen_kinds k LEFT JOIN seen_people p ON p.kind = k.code", "outer join"),
    "sums": ("SELECT sum(points) FROM seen_notes", "an aggregate adds up rows of several shards"),
    "by_label": ("SELECT label, count(*) FROM seen_notes GROUP BY label", "GROUP BY adds up"),
    "by_null": (
        "SELECT n.owner, count(*) FROM seen_people p LEFT JOIN seen_notes n ON n.owner = p.id GROUP BY n.owner",
        "GROUP BY adds up",
    ),
    "having": ("SELECT 1 AS one FROM seen_notes HAVING count(*) > 0", "an aggregate"),
    "rolled_up": ("SELECT owner, count(*) FROM seen_notes GROUP BY ROLLUP (owner)", "GROUPING SETS"),
    "labels": ("SELECT DISTINCT label FROM seen_notes", "DISTINCT"),
    "one": ("SELECT id FROM seen_people LIMIT 1", "LIMIT"),
    "few": ("SELECT id FROM seen_people UNION ALL SELECT owner FROM seen_notes LIMIT 3", "LIMIT"),
    "numbered": ("SELECT id, row_number() OVER (ORDER BY id) FROM seen_notes", "a window"),
    "two_sorts": ("SELECT name FROM seen_people UNION ALL SELECT code FROM seen_kinds", "once for every shard"),
    "names": ("SELECT name FROM seen_people UNION SELECT label FROM seen_notes", "UNION, INTERSECT and EXCEPT"),
    "in_any": ("SELECT id FROM seen_people WHERE id IN (SELECT reader FROM seen_notes)", "a query inside"),
    "total": ("SELECT code, (SELECT count(*) FROM seen_people) AS n FROM seen_kinds", "an aggregate"),
    "named_within": (
        "WITH n AS (SELECT * FROM seen_notes) SELECT id FROM seen_people WHERE EXISTS (SELECT FROM n WHERE points = 1)",
        "a query inside",
    ),
    "recursive": (
        """WITH RECURSIVE r AS (
            SELECT id, owner FROM seen_notes
            UNION ALL SELECT n.id, n.owner FROM seen_notes n JOIN r ON r.owner = n.owner WHERE n.id < 0
        ) SELECT * FROM r""",
        "WITH RECURSIVE",
    ),
    "looking": ("SELECT id, seen_looks() AS n FROM seen_people", "seen_looks"),
    "catalog": ("SELECT relname::text AS name FROM pg_class", "PostgreSQL's own"),
    "locking": ("SELECT id FROM seen_people FOR UPDATE", "locks"),
    "of_a_refused_one": ("SELECT * FROM v_sums", "an aggregate"),
    "of_a_stored_one": ("SELECT n FROM seen_total", "materialized view seen_total"),
    "any_of_all": ("SELECT id, (SELECT code FROM seen_kinds LIMIT 1) AS kind FROM seen_people", "LIMIT of reference"),
    "any_by_name": (
        "SELECT id, (SELECT code FROM seen_kinds ORDER BY name LIMIT 1) AS kind FROM seen_people",
        "LIMIT of reference",
    ),
    "any_of_a_view": ("SELECT p.id, k.code FROM seen_people p, v_few_kinds k", "LIMIT of reference"),
    "any_of_two": (
        """SELECT p.id, k.code FROM seen_people p,
        (SELECT code FROM seen_kinds UNION ALL SELECT name FROM seen_kinds LIMIT 1) k""",
        "LIMIT of reference",
    ),
    "any_deep_inside": (
        """SELECT id, (SELECT count(*) FROM seen_notes n
        WHERE n.owner = p.id AND n.label = (SELECT code FROM seen_kinds LIMIT 1)) AS n FROM seen_people p""",
        "LIMIT of reference",
    ),
    "numbered_kinds": (
        """SELECT p.id, k.place FROM seen_people p JOIN
        (SELECT code, row_number() OVER () AS place FROM seen_kinds) k ON k.code = p.kind""",
        "a window of reference",
    ),
    "any_kind_a_name": (
        "SELECT p.id, k.code FROM seen_people p CROSS JOIN (SELECT DISTINCT ON (name) name, code FROM seen_kinds) k",
        "DISTINCT ON of reference",
    ),
    "odd": ("SELECT id AS ctid FROM seen_people", "ctid"),
}
SCHEMA += "".join(f"CREATE VIEW v_{name} AS {query};\n" for name, query in READ.items() if "v_" not in query) + "".join(
    f"CREATE VIEW v_{name} AS {query};\n" for name, query in READ.items() if "v_" in query
)
SCHEMA += "CREATE MATERIALIZED VIEW seen_total AS SELECT count(*) AS n FROM seen_people;\n"
SCHEMA += "".join(f"CREATE VIEW v_{name} AS {query};\n" for name, (query, _) in REFUSED.items())

Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _rows(pair: Pair) -> None:
    """People on all shards, of whom some have notes of their own and are named by others'."""
    pair.insert("seen_kinds", *({"code": code, "name": code.upper()} for code in ("a", "b", "c")))
    people = [pair.number(number % 3) for number in range(9)]
    pair.insert(
        "seen_people",
        *({"id": person, "name": "abc"[place % 3], "kind": "ab"[place % 2]} for place, person in enumerate(people)),
    )
    notes = [pair.number(0) for _ in range(20)]
    pair.insert(
        "seen_notes",
        *(
            {
                "id": note,
                "owner": people[place % 6],
                "reader": people[place % 5],
                "label": "xy"[place % 2],
                "points": place % 4,
            }
            for place, note in enumerate(notes)
        ),
    )
    pair.insert("seen_marks", *({"note": note, "place": place} for note in notes[:10] for place in range(3)))
    pair.insert("seen_words", *({"word": word} for word in ("one", "two", "three", "four")))
    lines = [{"owner": people[0], "line": "same"}] * 5 + [{"owner": people[1], "line": "same"}] * 4
    pair.insert("seen_logs", *lines, {"owner": people[2]}, {"owner": people[2]}, {"owner": 1_000_000})


@pytest.mark.parametrize("name", READ)
def test_a_view_is_listed_as_one_postgresql_has_it(pair: Pair, name: str) -> None:
    expected = _expected(pair, name)
    assert len(expected) > 0
    for page_size in (3, 1000):
        assert Counter(map(_texts, pair.client.list(f"v_{name}", page_size=page_size))) == Counter(expected)
    assert pair.client.count(f"v_{name}") == len(expected)
    [aggregated] = pair.client.aggregate(f"v_{name}", {"n": "count"})
    assert aggregated == {"n": str(len(expected))}


@pytest.mark.parametrize("name", READ)
def test_its_rows_are_sorted_and_chosen_as_on_one_postgresql(pair: Pair, name: str) -> None:
    rng = random.Random(name)
    rows = [dict(row) for row in _expected(pair, name)]
    column = rng.choice(sorted(rows[0]))
    values = [row[column] for row in rows if row[column] is not None]
    chosen = rng.choice(values)
    listed = pair.client.list(f"v_{name}", {column: chosen}, page_size=2)
    assert Counter(map(_texts, listed)) == Counter(_texts(row) for row in rows if row[column] == chosen)
    statement = sql.SQL("SELECT {0}::text FROM {1} AS v ORDER BY v.{0} DESC")
    cursor = pair.plain.connection.execute(statement.format(sql.Identifier(column), sql.Identifier(f"v_{name}")))
    expected = [value for (value,) in cursor]
    listed = pair.client.list(f"v_{name}", order_by=crosskey.desc(column), page_size=4)
    assert [dict(_texts(row))[column] for row in listed] == expected


@pytest.mark.parametrize("name", REFUSED)
def test_a_view_is_refused_with_the_reason(pair: Pair, name: str) -> None:
    for read in (pair.client.list_page, pair.client.count):
        with pytest.raises(NotSupported, match=f'"v_{name}" is a view that cannot be read over all shards') as caught:
            read(f"v_{name}")
        assert REFUSED[name][1] in caught.value.message


def _expected(pair: Pair, name: str) -> list[tuple[tuple[str, str | None], ...]]:
    cursor = pair.plain.connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(f"v_{name}")))
    names = [column.name for column in cursor.description or ()]
    return [_texts(dict(zip(names, row, strict=True))) for row in cursor]


def _texts(row: Row) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted((name, None if value is None else str(value)) for name, value in row.items()))


def test_it_is_told_where_rows_are_and_what_tells_them_apart(pair: Pair) -> None:
    told = {view.view: view for view in pair.client.describe_schema().views}
    assert {f"v_{name}" for name in (*READ, *REFUSED)} <= told.keys()
    assert {name: (list(told[f"v_{name}"].locators), list(told[f"v_{name}"].key)) for name in _TOLD} == _TOLD
    assert told["v_kinds"].placement == "reference"
    assert told["v_plain"].placement == "sharded"
    assert told["v_sums"].why_not_read.startswith("an aggregate adds up rows")
    assert "materialized" in told["seen_total"].why_not_read


_TOLD = {
    "plain": (["id"], ["id"]),
    "beside": ([], ["id"]),
    "with_none": (["person"], ["person", "note"]),
    "anchored": ([], ["note", "place"]),
    "counts": (["owner"], ["owner"]),
    "without_a_key": ([], []),
    "several_of_one": (["id"], []),
    "joined_views": (["owner"], ["owner"]),
}
"""Of some views, the columns whose values tell the shard, and those that tell rows apart."""


def test_only_the_shard_is_asked_that_the_values_tell(pair: Pair) -> None:
    explanation = pair.client.explain(crosskey.list_rows("v_counts", {"owner": pair.number(1)}))
    assert list(explanation.shards) == [1]


def test_nothing_else_is_done_to_a_view(pair: Pair) -> None:
    for request in (
        lambda: pair.client.insert("v_plain", {"id": 1}),
        lambda: pair.client.update("v_plain", {"name": "x"}, key={"id": 1}),
        lambda: pair.client.delete("v_plain", where={"id": 1}),
        lambda: pair.client.get("v_plain", id=1),
    ):
        with pytest.raises(NotSupported, match='"v_plain" is a view, which is only listed, counted and aggregated'):
            request()
    with pytest.raises(InvalidRequest, match='"v_plain" has no relation "owner"; its relations are none'):
        pair.client.list_page("v_plain", include="owner")
    with pytest.raises(InvalidRequest, match="whose rows are not locked"):
        pair.client.transact([crosskey.list_rows("v_plain", lock="UPDATE")])

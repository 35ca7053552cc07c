"""SQL texts split into statements, as PostgreSQL's lexer and psql do."""

import pytest

from crosskey.shard_node.sql_text.sql_script import canonical, next_statement, statements


def split(text: str) -> list[str]:
    return [statement.text for statement in statements(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ;; -- nothing;\n/* ; /* ; */ ; */", []),
        ("a; b ;c", ["a", "b", "c"]),
        ("SET x = 'a;''b;'; d", ["SET x = 'a;''b;'", "d"]),
        ("E'\\';' ; d", ["E'\\';'", "d"]),
        ("E'a'\n -- so\n '\\';' ; d", ["E'a'\n -- so\n '\\';'", "d"]),
        ("'\\'; d", ["'\\'", "d"]),
        ('";"";"; d', ['";"";"', "d"]),
        ("$$ ; $a$ $$ ; $a$ ; $$ $a$ ; d", ["$$ ; $a$ $$", "$a$ ; $$ $a$", "d"]),
        ("a$b$ ; c$b$", ["a$b$", "c$b$"]),
        ("CREATE RULE r AS ON INSERT TO t DO (a; b); c", ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"]),
        (
            "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 2; END; c",
            ["CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 2; END", "c"],
        ),
        ("BEGIN; a; END; b", ["BEGIN", "a", "END", "b"]),
        ("a;\n\\connect b c; d\ne; \\restrict x", ["a", "\\connect b c; d", "e", "\\restrict x"]),
        ("COPY t (a) FROM stdin WITH (FORMAT text);\n;a\n'\n\\.\nb", ["COPY t (a) FROM stdin WITH (FORMAT text)", "b"]),
        ("copy t from stdin;\n\\.\n; b", ["copy t from stdin", "b"]),
        ("COPY t FROM stdin; \r\n1\r\n\\.\r\nb", ["COPY t FROM stdin", "b"]),
        ("COPY t FROM stdin;\na; b", ["COPY t FROM stdin"]),
        ("COPY t TO stdout; b", ["COPY t TO stdout", "b"]),
        ("a 'never ends; b", ["a 'never ends; b"]),
        ("a /* never ends; b", ["a"]),
    ],
)
def test_statements(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_backslashes_escape_where_strings_are_not_standard() -> None:
    statement, position = next_statement("'\\'; b'; c", 0, backslashes=True)
    assert statement is not None
    assert (statement.text, position) == ("'\\'; b'", 8)


def test_words() -> None:
    [statement] = statements("SET \"Role\" /* to */ TO E'x' -- y")
    assert statement.words == ("set", "Role", "to", "x")
    assert statement.start == 0


@pytest.mark.parametrize(("text", "rows"), [("\n\\.", 0), ("\n1\n2\n\\.\n3", 2), ("", 0)])
def test_rows_behind_a_copy(text: str, rows: int) -> None:
    statement, _ = next_statement(f"COPY t FROM stdin;{text}", 0)
    assert statement is not None
    assert statement.rows == rows


SAME = [
    ("SELECT  a.b", "select a /* so */ . b -- and so"),
    ("CHECK((a)>=1)", "CHECK ( ( a ) >= 1 )"),
    ("a\n", "\tA"),
]
OTHERS = [
    ("a<-b", "a < -b"),
    ("'a'", "'A'"),
    ('"a"', '"A"'),
    ("'a  b'", "'a b'"),
    ("b'01'", "b '01'"),
    ("1.5", "1 .5"),
    ("$$ a $$", "$$ a  $$"),
    ("E'a'", "'a'"),
]


def canonical_of(text: str) -> str:
    [statement] = statements(text)
    return canonical(statement.tokens, text)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_texts_that_say_the_same(one: str, other: str) -> None:
    assert canonical_of(one) == canonical_of(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_texts_that_say_something_else(one: str, other: str) -> None:
    assert canonical_of(one) != canonical_of(other)

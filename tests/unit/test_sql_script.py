"""SQL texts split into statements, as PostgreSQL's lexer and psql do."""

import pytest

from crosskey.shard_node.sql_text.script import next_statement, statements


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

"""What of a schema's text is left out, and what stays."""

import re

import pytest

from crosskey import errors
from crosskey.shard_node.schema import skipping
from crosskey.shard_node.schema.skipping import take
from crosskey.shard_node.sql_text.sql_script import statements

SKIPPED = [
    (r"\restrict abc", skipping.PSQL),
    (r"\set ON_ERROR_STOP on", skipping.PSQL),
    ("ALTER TABLE ONLY a.b OWNER TO c", skipping.OWNERS),
    ("ALTER FUNCTION f(integer, text) OWNER TO CURRENT_USER", skipping.OWNERS),
    ('ALTER TABLE "owner" OWNER TO "to"', skipping.OWNERS),
    ("GRANT ALL ON LARGE OBJECT 1 TO a", skipping.PRIVILEGES),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON TABLES FROM PUBLIC", skipping.PRIVILEGES),
    ("CREATE DATABASE a", skipping.DATABASE),
    ("COMMENT ON DATABASE a IS 'b'", skipping.DATABASE),
    ("ALTER ROLE a IN DATABASE b SET c = 1", skipping.DATABASE),
    ("CREATE SUBSCRIPTION a CONNECTION '' PUBLICATION b", skipping.REPLICATION),
    ("ALTER PUBLICATION a ADD TABLE b", skipping.REPLICATION),
    ("CREATE EVENT TRIGGER a ON ddl_command_end EXECUTE FUNCTION f()", skipping.EVENT_TRIGGERS),
    ("COMMENT ON EVENT TRIGGER a IS 'b'", skipping.EVENT_TRIGGERS),
    ("CREATE POLICY a ON b", skipping.POLICIES),
    ("COMMENT ON EXTENSION a IS 'b'", skipping.EXTENSION_COMMENTS),
    ("CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public", skipping.OPERATORS),
    ("CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql", skipping.LANGUAGES),
    ("SECURITY LABEL FOR a ON TABLE b IS 'c'", skipping.SECURITY_LABELS),
    ("CREATE SCHEMA IF NOT EXISTS public", skipping.PUBLIC_SCHEMA),
    ("SET SESSION statement_timeout = 0", skipping.SETTINGS),
    ("START TRANSACTION", skipping.TRANSACTIONS),
    ("COPY a (b) FROM stdin;\n1\n\\.", skipping.ROWS),
]
TAKEN = [
    "ALTER TABLE a ADD COLUMN b int, OWNER TO c",
    "COMMENT ON TABLE a IS 'OWNER TO b'",
    "GRANT a TO b",
    "ALTER ROLE a SET b = 1",
    "COMMENT ON TRIGGER event ON a IS 'b'",
    "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS ''",
    "CREATE LANGUAGE plperlu",
    "CREATE SCHEMA publicity",
    "SET timezone = 'UTC'",
    "COMMIT AND CHAIN",
    "COPY a FROM 'b'",
    "DROP TABLE a",
    "CREATE TABLE unlogged (a boolean, b int CHECK (not valid))",
    "ALTER TABLE a ADD CHECK (not valid)",
    "CREATE INDEX concurrently_made ON a (b)",
]
WORDS = [
    ("CREATE UNLOGGED TABLE a ()", skipping.UNLOGGED, "UNLOGGED"),
    ("CREATE INDEX CONCURRENTLY ON a (b)", skipping.CONCURRENTLY, "CONCURRENTLY"),
    ("CREATE UNIQUE INDEX CONCURRENTLY a ON b (c)", skipping.CONCURRENTLY, "CONCURRENTLY"),
    ("ALTER TABLE a ADD b NOT VALID, ADD c NOT VALID", skipping.NOT_VALID, "NOT VALID"),
]


def taken(text: str, *, empty: bool = False) -> skipping.Taken:
    [statement] = statements(text)
    return take(statement, 1, empty=empty)


@pytest.mark.parametrize(("text", "reason"), SKIPPED)
def test_what_is_skipped(text: str, reason: str) -> None:
    assert taken(text) == skipping.Taken("", (), reason)


@pytest.mark.parametrize("text", TAKEN)
def test_what_is_taken(text: str) -> None:
    assert (taken(text).text, taken(text).skipped) == (text, "")


@pytest.mark.parametrize(("text", "reason", "words"), WORDS)
def test_words_that_are_skipped_leave_all_else_where_it_is(text: str, reason: str, words: str) -> None:
    left = "".join(" " * len(part) if part == words else part for part in re.split(f"({words})", text))
    found = taken(text)
    assert (found.text.split(), len(found.text.rstrip()), found.skipped) == (left.split(), len(left.rstrip()), reason)
    assert not {word.lower() for word in words.split()} & set(found.words)


@pytest.mark.parametrize("text", ["DROP SCHEMA public", "ALTER TABLE ONLY a DROP CONSTRAINT b"])
def test_nothing_is_removed_before_there_is_something(text: str) -> None:
    assert taken(text, empty=True).skipped == skipping.NOTHING_THERE
    assert taken(text).text == text


@pytest.mark.parametrize("command", [r"\i a.sql", r"\ir a.sql", r"\set name value", r"\! ls", r"\gexec", r"\q"])
def test_commands_that_change_what_is_read(command: str) -> None:
    with pytest.raises(errors.SchemaRefused, match="is a command of psql"):
        taken(command)

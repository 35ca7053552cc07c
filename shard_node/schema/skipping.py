"""What of a schema's text means nothing here, or is to be said otherwise: it is left out, and told with its line.

A dump of any application goes in as it is, so that nobody edits what a program wrote. What is left out never reaches
PostgreSQL; what stays is judged by admission.py and by PostgreSQL itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from crosskey import errors
from crosskey.shard_node.sql_text.sql_script import Statement, Token

# Each ends a sentence that begins with "Skipped".
PSQL: Final = "commands of psql, which does not read this text"
OWNERS: Final = "owners: the role of each shard's node owns everything"
PRIVILEGES: Final = "privileges: clients come as the owner; grant to other roles on the shards, as their superuser"
POLICIES: Final = "row security policies: they do not hold the owner, which clients come as"
DATABASE: Final = "the database and its settings: each shard has its own"
REPLICATION: Final = "publications and subscriptions: replication is set up on the shards, as their superuser"
EVENT_TRIGGERS: Final = "event triggers: only a superuser may have them, and nothing but this text changes the schema"
EXTENSION_COMMENTS: Final = "comments on extensions and languages: they belong to PostgreSQL"
OPERATORS: Final = "extensions for who runs a server, which no table needs: they are made on the shards"
LANGUAGES: Final = "the language plpgsql, which is there"
SECURITY_LABELS: Final = "security labels: they are set on the shards, as their superuser"
PUBLIC_SCHEMA: Final = "CREATE SCHEMA public, which is there"
SETTINGS: Final = "settings that do not change what the schema means"
TRANSACTIONS: Final = "BEGIN and COMMIT: the schema is installed whole or not at all"
NOTHING_THERE: Final = "what removes an older schema before the first CREATE: there is none"
ROWS: Final = "rows, which are no part of a schema: `crosskey load` brings them in"
UNLOGGED: Final = "UNLOGGED: tables are logged, as what crosses shards must be there after a crash"
CONCURRENTLY: Final = "CONCURRENTLY: nobody waits for a table that is being made"
NOT_VALID: Final = "NOT VALID: constraints hold for all rows, as there are none yet"

_OF_OBJECTS: Final = {
    "database": DATABASE,
    "policy": POLICIES,
    "publication": REPLICATION,
    "subscription": REPLICATION,
    "event": EVENT_TRIGGERS,
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Those of psql that change neither what is read nor how.
_HARMLESS_COMMANDS = _words(
    r"\restrict \unrestrict \connect \c \encoding \echo \qecho \warn \timing \pset \x \conninfo"
)
# They bound, place or tell what a session does; none changes what a statement makes.
_SETTINGS_OF_SESSIONS = _words(
    "application_name client_encoding client_min_messages default_tablespace default_transaction_deferrable"
    " default_transaction_isolation default_transaction_read_only default_with_oids escape_string_warning"
    " idle_in_transaction_session_timeout idle_session_timeout lock_timeout log_min_messages log_statement"
    " maintenance_work_mem quote_all_identifiers row_security statement_timeout synchronous_commit temp_tablespaces"
    " transaction_timeout work_mem"
)
_OF_OPERATORS = _words(
    "amcheck auto_explain hypopg pageinspect pg_buffercache pg_freespacemap pg_prewarm pg_repack pg_stat_kcache"
    " pg_stat_statements pg_visibility pg_walinspect pgrowlocks pgstattuple"
)
_BEFORE_LANGUAGE = frozenset({"or", "replace", "trusted", "procedural"})
_TRANSACTION_WORDS = frozenset({"begin", "start", "commit", "transaction", "work"})


@dataclass(frozen=True)
class Taken:
    """What PostgreSQL is given of a statement: no tokens if nothing, and what was left out of it and why, "" if all is.

    `text` has spaces for words that were left out, so that positions in it are those of the statement.
    """

    text: str
    tokens: tuple[Token, ...]
    skipped: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the tokens."""
        return tuple(token.value for token in self.tokens)


def take(statement: Statement, line: int, *, empty: bool) -> Taken:
    """What is left of a statement. `empty` says that nothing was created yet.

    Raises SchemaRefused, naming the line, for a command of psql that would change what is read.
    """
    reason = _reason(statement, line, empty)
    if reason:
        return Taken("", (), reason)
    for reason, unwanted in _unwanted_words(statement):
        return _without(statement, unwanted, reason)
    return Taken(statement.text, statement.tokens)


def begins_anew(statement: Statement) -> bool:
    """Whether psql would connect anew here, so that no setting before it counts behind it."""
    return statement.words[0] in (r"\connect", r"\c")


def _reason(statement: Statement, line: int, empty: bool) -> str:
    """Why all of the statement is left out; "" if it is not."""
    first = statement.tokens[0]
    if first.kind == "psql":
        return _of_psql(statement, line)
    words = statement.words
    match first.value:
        case "copy":
            return ROWS if ("from", "stdin") in pairwise(words) else ""
        case "grant" | "revoke":
            return PRIVILEGES if "on" in words else ""
        case "set" | "reset":
            name = next((word for word in words[1:] if word not in ("session", "local")), "")
            return SETTINGS if name in _SETTINGS_OF_SESSIONS else ""
        case "begin" | "start" | "commit":
            return TRANSACTIONS if _TRANSACTION_WORDS.issuperset(words) else ""
        case "security":
            return SECURITY_LABELS if words[1:2] == ("label",) else ""
        case "create" | "alter" | "drop" | "comment":
            return _of_definition(statement, empty)
    return ""


def _of_psql(statement: Statement, line: int) -> str:
    command, argument = statement.words
    # Names in capital letters are those of psql itself.
    if command in _HARMLESS_COMMANDS or (command == r"\set" and argument.split(" ")[0].isupper()):
        return PSQL
    raise errors.SchemaRefused(
        f"line {line}: {command} is a command of psql, which does not read this text",
        hint="Write SQL in its place, such as the text of a file that is included.",
    )


def _of_definition(statement: Statement, empty: bool) -> str:
    verb, *words = statement.words
    words = [word for word in words if word != "on"] if verb == "comment" else words
    if empty and (verb == "drop" or (verb == "alter" and {"drop", "detach"} & set(words))):
        return NOTHING_THERE
    kind = words[0] if words else ""
    if kind in _OF_OBJECTS and not (kind == "event" and words[1:2] != ["trigger"]):
        return _OF_OBJECTS[kind]
    match verb, words:
        case "alter", ["default", "privileges", *_]:
            return PRIVILEGES
        case "alter", ["role", _, "in", "database", *_]:
            return DATABASE
        case "alter", _ if _only_gives_an_owner(statement):
            return OWNERS
        case "comment", ["extension", *_] | ["language", *_] | ["procedural", "language", *_]:
            return EXTENSION_COMMENTS
        case "create", ["extension", *names] if _OF_OPERATORS.intersection(names):
            return OPERATORS
        case "create", ["schema", "public"] | ["schema", "if", "not", "exists", "public"]:
            return PUBLIC_SCHEMA
        case "create", _ if [word for word in words if word not in _BEFORE_LANGUAGE] == ["language", "plpgsql"]:
            return LANGUAGES
    return ""


def _only_gives_an_owner(statement: Statement) -> bool:
    """Whether it is ALTER .. OWNER TO ..; one for a table that does more besides is not."""
    end = [(token.kind, token.value) for token in statement.tokens[-3:-1]]
    return end == [("word", "owner"), ("word", "to")] and all(
        token.value != "," for token in _outermost(statement.tokens)
    )


def _unwanted_words(statement: Statement) -> Iterator[tuple[str, list[Token]]]:
    """Words that are left out of a statement, and why."""
    tokens = _outermost(statement.tokens)
    words = [token.value for token in tokens]
    if words[:2] == ["create", "unlogged"]:
        yield UNLOGGED, [tokens[1]]
    if words[:3] == ["create", "index", "concurrently"]:
        yield CONCURRENTLY, [tokens[2]]
    if words[:4] == ["create", "unique", "index", "concurrently"]:
        yield CONCURRENTLY, [tokens[3]]
    if words[:2] == ["alter", "table"] and "add" in words and "using" not in words:
        found = [pair for pair in pairwise(tokens) if (pair[0].value, pair[1].value) == ("not", "valid")]
        if found:
            yield NOT_VALID, [token for pair in found for token in pair]


def _outermost(tokens: Sequence[Token]) -> list[Token]:
    """The words and signs outside of parentheses."""
    depth = 0
    found = []
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.value, 0) if token.kind == "sign" else 0
        if depth == 0 and token.kind in ("word", "sign"):
            found.append(token)
    return found


def _without(statement: Statement, unwanted: Sequence[Token], reason: str) -> Taken:
    text = statement.text
    for token in unwanted:
        start, end = token.start - statement.start, token.end - statement.start
        text = text[:start] + " " * (end - start) + text[end:]
    return Taken(text, tuple(token for token in statement.tokens if token not in unwanted), reason)

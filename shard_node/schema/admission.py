"""Which statements are a schema's, by their words; all others are refused before they run.

Words do not tell what a DO block puts together. That is met by the role that plans a schema, which owns nothing but
the scratch database, and by the footprint, which shows what a text has touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from crosskey import errors
from crosskey.shard_node.sql_text.sql_script import Statement, Token, scan


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TRANSACTION_VERBS = _words("begin start commit end rollback abort savepoint release prepare")
_NO_TRANSACTION = (
    "the schema ends its transaction: leave out BEGIN, COMMIT and ROLLBACK, it is installed whole or not at all"
)
_ON_OBJECTS = _words("create alter drop comment")
# What lives in one database and needs no superuser.
_OBJECTS = _words(
    "aggregate cast collation column constraint conversion default domain extension function index materialized"
    " operator policy procedure publication routine rule schema sequence statistics table text trigger type view"
)
_BEFORE_OBJECT = _words("or replace temp temporary unlogged global local recursive unique on")
_ROW_VERBS = _words("insert update delete merge truncate copy")
_NOT_SET = _words("role session_authorization session authorization characteristics transaction")
_CALLS_OF_A_DUMP = _words("set_config setval")

# Functions that reach beyond the database, or do what no rollback takes back.
_FORBIDDEN_FUNCTIONS = _words(
    "pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_promote pg_switch_wal pg_sleep"
    " pg_sleep_for pg_sleep_until pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file lo_import lo_export"
    " lo_create lo_creat lo_open lo_put lo_from_bytea lo_unlink lowrite dblink dblink_connect dblink_connect_u"
    " dblink_exec dblink_send_query pg_advisory_lock pg_advisory_lock_shared pg_stat_reset pg_stat_reset_shared"
    " pg_create_logical_replication_slot pg_create_physical_replication_slot"
)
_FORBIDDEN_OBJECTS = _words("role user group database system tablespace subscription server")
_BEGINS_STATEMENT = _words("; begin then else loop")


def check_statement(statement: Statement, line: int) -> None:
    """Raises SchemaRefused, naming the line, for a statement that is no part of a schema."""
    verb = statement.tokens[0].value
    if verb in _TRANSACTION_VERBS:
        raise errors.SchemaRefused(_NO_TRANSACTION)
    if statement.tokens[0].kind != "word" or not _is_schema(statement):
        raise errors.SchemaRefused(
            f"line {line}: {_shown(statement)} is no part of a schema",
            hint=_hint(verb),
        )
    if _forces_row_security(statement.words):
        raise errors.SchemaRefused(
            f"line {line}: FORCE ROW LEVEL SECURITY would hide rows from the shard's own node",
            hint="Leave it out. Policies cannot hold clients, which all come as the owner.",
        )
    for deed in _forbidden_deeds(statement):
        raise errors.SchemaRefused(
            f"line {line}: {deed} reaches beyond the schema",
            hint="Neither a schema nor its functions may deal with roles, databases, sessions and files.",
        )


def _is_schema(statement: Statement) -> bool:
    verb, *words = statement.words
    if verb in _ON_OBJECTS:
        return _object_of(words) in _OBJECTS
    match verb:
        case "set" | "reset":
            return _sets_no_role(statement.tokens[1:])
        case "select":
            return _is_call_of_a_dump(statement)
        case _:
            return verb in ("do", "refresh")


def _forces_row_security(words: Sequence[str]) -> bool:
    forcing = ("force", "row", "level", "security")
    places = [place for place in range(len(words) - 3) if tuple(words[place : place + 4]) == forcing]
    return words[:2] == ("alter", "table") and any(words[place - 1] != "no" for place in places)


def _hint(verb: str) -> str:
    if verb in _ROW_VERBS:
        return (
            "Rows are written through the router once the schema is applied: `crosskey insert`, or `crosskey load` for"
            " many. pg_dump --schema-only writes none."
        )
    return "A schema is made of CREATE, ALTER, DROP, COMMENT, SET and DO; rows are written by the router."


def _object_of(words: Sequence[str]) -> str:
    return next((word for word in words if word not in _BEFORE_OBJECT), "")


def _sets_no_role(tokens: Sequence[Token]) -> bool:
    if tokens[:1] and tokens[0].value in ("session", "local"):
        tokens = tokens[1:]
    if not tokens or tokens[0].kind not in ("word", "name") or tokens[0].value.lower() in _NOT_SET:
        return False
    # A name with Unicode escapes is U&"..".
    return [token.value for token in tokens[:2]] != ["u", "&"]


def _is_call_of_a_dump(statement: Statement) -> bool:
    """Whether it is as pg_dump writes it: a call of set_config or setval with constants."""
    tokens = list(statement.tokens[1:])
    if [token.value for token in tokens[:2]] == ["pg_catalog", "."]:
        tokens = tokens[2:]
    if len(tokens) < 4 or tokens[0].value not in _CALLS_OF_A_DUMP or tokens[1].value != "(" or tokens[-1].value != ")":
        return False
    arguments = tokens[2:-1]
    first = arguments[0].value.lower()
    return all(map(_is_constant, arguments)) and "\\" not in first and first not in _NOT_SET


def _is_constant(token: Token) -> bool:
    return token.kind in ("string", "number") or token.value in (",", "-", "true", "false")


def _shown(statement: Statement) -> str:
    """The words that tell what kind of statement it is."""
    first, *others = statement.tokens
    if first.kind != "word":
        return "this statement"
    second = [token.value for token in others[:1] if first.value in {*_ON_OBJECTS, "set", "reset"}]
    return " ".join([first.value, *second]).upper()


def _forbidden_deeds(statement: Statement) -> Iterator[str]:
    """What a statement does beyond the schema, as far as that is written down in it or in a function's body."""
    yield from _forbidden_calls(statement.tokens)
    if statement.words[0] == "do" or {"function", "procedure"} & set(statement.words[:4]):
        for token in statement.tokens:
            if token.kind == "string":
                yield from _forbidden_in_body(list(scan(token.value)))


def _forbidden_in_body(tokens: Sequence[Token]) -> Iterator[str]:
    yield from _forbidden_calls(tokens)
    for place, token in enumerate(tokens):
        before = tokens[place - 1].value if place else ";"
        if before in _BEGINS_STATEMENT:
            yield from _forbidden_statement([each.value for each in tokens[place : place + 3]])
        if token.kind == "string" and before in ("execute", "("):
            yield from _forbidden_in_body(list(scan(token.value)))


def _forbidden_calls(tokens: Sequence[Token]) -> Iterator[str]:
    for token, following in pairwise(tokens):
        if following.value == "(" and token.value in _FORBIDDEN_FUNCTIONS:
            yield token.value


def _forbidden_statement(words: Sequence[str]) -> Iterator[str]:
    verb, second = words[0], words[1] if len(words) > 1 else ""
    if verb in ("alter", "create", "drop") and second in _FORBIDDEN_OBJECTS:
        yield f"{verb} {second}".upper()
    elif verb in ("set", "reset") and "role" in words[1:3] and second in ("role", "local", "session"):
        yield f"{verb} ROLE".upper()
    elif verb in ("set", "reset") and words[1:3] == ["session", "authorization"]:
        yield f"{verb} SESSION AUTHORIZATION".upper()

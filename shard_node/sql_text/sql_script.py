"""An SQL text, split into its statements by the rules of PostgreSQL's own lexer and of psql.

Commands of psql and the rows behind a COPY are told from statements, since files that pg_dump wrote have both.

Whoever sends each statement in a message of its own need not trust the split: PostgreSQL refuses a message with two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_COMMENT_EDGE = re.compile(r"/\*|\*/")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")
_ESCAPED = r"'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'"
# A string goes on after a line break, by the rules of its beginning.
_GOES_ON = r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:\s|--[^\n\r]*(?=[\n\r]))*"
_E_STRING = re.compile(rf"[eE]{_ESCAPED}(?:{_GOES_ON}{_ESCAPED})*", re.DOTALL)
_BACKSLASH_STRING = re.compile(_ESCAPED, re.DOTALL)
_STRING = re.compile(r"'(?:[^']|'')*'")
_QUOTED_NAME = re.compile(r'"(?:[^"]|"")*"')
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*")
_NUMBER = re.compile(r"[0-9][\w.]*")
_LINE_END = re.compile(r"\r?\n|\Z")
_PSQL_COMMAND = re.compile(r"\\([a-zA-Z_!?.]*)([^\r\n]*)")
_END_OF_ROWS = re.compile(r"^\\\.\r?$", re.MULTILINE)
# Where one of them touches the next, they are one operator.
_OPERATOR_SIGNS = frozenset("+-*/<>=~!@#%^&|`?:")
_SPACE = re.compile(r"(?:\s|--[^\n\r]*)+")
# What is left when a string, a name or a comment does not end: PostgreSQL says so.
_REST = re.compile(r".*", re.DOTALL)


@dataclass(frozen=True)
class Token:
    """A word in lower case, a quoted name or a string without its quotes, a number, or one other character.

    `kind` is "word", "name", "string", "number" or "sign"; or "psql" for a command of psql, with its backslash, and
    "argument" for all that follows it.
    """

    kind: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Statement:
    """One statement without its semicolon, or a command of psql.

    `start` is the position of its first token in the whole text, as those of the tokens are. `rows` is how many lines
    of a COPY's data follow it.
    """

    text: str
    start: int
    tokens: tuple[Token, ...]
    rows: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens' values, where a quoted name or a string stands for what PostgreSQL takes it for."""
        return tuple(token.value for token in self.tokens)


def next_statement(text: str, position: int, *, backslashes: bool = False) -> tuple[Statement | None, int]:
    """The first statement from that position on, and where to look for the next; None at the end of the text.

    `backslashes` says that standard_conforming_strings is off: a backslash escapes in every string.
    """
    tokens: list[Token] = []
    nesting = _Nesting()
    for token in scan(text, position, backslashes=backslashes):
        position = token.end
        if token.kind == "sign" and token.value == "\\" and not tokens:
            return _psql_command(text, token.start)
        if token.kind == "sign" and token.value == ";" and nesting.is_outermost:
            if tokens:
                return _with_rows(_statement(text, tokens), text, position)
            continue
        nesting.pass_by(token)
        tokens.append(token)
    return (_statement(text, tokens) if tokens else None), len(text)


def canonical(tokens: Sequence[Token], text: str) -> str:
    """Tokens of a text as they are written, but for white space, comments and capital letters, which mean nothing."""
    parts: list[str] = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and not (before.end == token.start and _is_one_with(before, token)):
            parts.append(" ")
        parts.append(token.value if token.kind == "word" else text[token.start : token.end])
    return "".join(parts)


def _is_one_with(before: Token, token: Token) -> bool:
    """Whether two tokens mean something else where a space is between them: `<=`, b'01'."""
    if before.kind == token.kind == "sign":
        return before.value in _OPERATOR_SIGNS and token.value in _OPERATOR_SIGNS
    return before.kind == "word" and token.kind in ("string", "name")


def statements(text: str) -> Iterator[Statement]:
    """All statements of a text in which no setting changes how it is read."""
    statement, position = next_statement(text, 0)
    while statement is not None:
        yield statement
        statement, position = next_statement(text, position)


def scan(text: str, position: int = 0, *, backslashes: bool = False) -> Iterator[Token]:
    """The tokens of a text; white space and comments are left out."""
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
        elif text.startswith("/*", position):
            position = _end_of_comment(text, position)
        else:
            token = _token(text, position, backslashes)
            position = token.end
            yield token


class _Nesting:
    """How deep in parentheses and in the BEGIN ATOMIC of a function the text is; as psql counts."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._parentheses = 0
        self._blocks = 0

    @property
    def is_outermost(self) -> bool:
        return self._parentheses == 0 and self._blocks == 0

    def pass_by(self, token: Token) -> None:
        if token.kind == "sign":
            self._parentheses = max(self._parentheses + {"(": 1, ")": -1}.get(token.value, 0), 0)
        elif token.kind == "word":
            if len(self._words) < 4:
                self._words.append(token.value)
            if self._parentheses == 0 and self._makes_function:
                self._count_blocks(token.value)

    @property
    def _makes_function(self) -> bool:
        words = [word for word in self._words if word not in ("or", "replace")]
        return words[:1] == ["create"] and words[1:2] in (["function"], ["procedure"])

    def _count_blocks(self, word: str) -> None:
        if word == "begin" or (word == "case" and self._blocks):
            self._blocks += 1
        elif word == "end" and self._blocks:
            self._blocks -= 1


def _statement(text: str, tokens: list[Token]) -> Statement:
    start, end = tokens[0].start, tokens[-1].end
    return Statement(text[start:end], start, tuple(tokens))


def _psql_command(text: str, start: int) -> tuple[Statement, int]:
    found = _PSQL_COMMAND.match(text, start)
    assert found is not None, "the text goes on with a backslash"
    command = Token("psql", "\\" + found.group(1), start, found.end(1))
    argument = Token("argument", found.group(2).strip(), found.start(2), found.end())
    return Statement(found.group().rstrip(), start, (command, argument)), found.end()


def _with_rows(statement: Statement, text: str, position: int) -> tuple[Statement, int]:
    """The statement, and where to look for the next one: behind the rows, if it is a COPY that reads them."""
    words = statement.words
    if words[0] != "copy" or ("from", "stdin") not in pairwise(words):
        return statement, position
    line_end = _LINE_END.search(text, position)
    assert line_end is not None, "every text has an end"
    end = _END_OF_ROWS.search(text, line_end.end())
    stop, behind = (len(text), len(text)) if end is None else (end.start(), end.end())
    rows = text.count("\n", line_end.end(), stop)
    return replace(statement, rows=rows), behind


def _end_of_comment(text: str, position: int) -> int:
    """The end of a comment that begins there; comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _token(text: str, start: int, backslashes: bool) -> Token:
    character = text[start]
    if character == "'":
        return _quoted("string", _BACKSLASH_STRING if backslashes else _STRING, text, start)
    if character == '"':
        return _quoted("name", _QUOTED_NAME, text, start)
    if character in "eE" and text.startswith("'", start + 1):
        return _quoted("string", _E_STRING, text, start)
    if character == "$" and (dollar := _DOLLAR.match(text, start)):
        return _dollar_quoted(text, dollar)
    for kind, pattern in (("word", _WORD), ("number", _NUMBER)):
        if found := pattern.match(text, start):
            return Token(kind, found.group().lower(), start, found.end())
    return Token("sign", character, start, start + 1)


def _quoted(kind: str, pattern: re.Pattern[str], text: str, start: int) -> Token:
    found = pattern.match(text, start) or _REST.match(text, start)
    assert found is not None, "the rest of a text is always there"
    value = found.group().lstrip("eE") if kind == "string" else found.group()
    quote = value[0]
    return Token(kind, value[1:].removesuffix(quote).replace(quote * 2, quote), start, found.end())


def _dollar_quoted(text: str, dollar: re.Match[str]) -> Token:
    closing = text.find(dollar.group(), dollar.end())
    end = len(text) if closing < 0 else closing
    return Token("string", text[dollar.end() : end], dollar.start(), min(end + len(dollar.group()), len(text)))

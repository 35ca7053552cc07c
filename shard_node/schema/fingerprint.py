"""The fingerprint of a schema: the same for texts that make the same schema of the same statements."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from crosskey.catalog.tags import parse_tags
from crosskey.shard_node.schema.skipping import Taken
from crosskey.shard_node.sql_text.sql_script import Token, canonical

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SETTING_VERBS = frozenset({"set", "reset"})


class Fingerprint:
    """Takes in the statements of a text in order.

    White space, SQL comments and what is skipped do not count, nor does the prose of a COMMENT, nor what is no schema
    but its state: the numbers that sequences go on with, and the rows of materialized views. Settings count before what
    they are set for.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._settings: list[str] = []
        self._tagged: set[str] = set()
        self._has_statements = False

    def take_in(self, taken: Taken, schema_sql: str) -> None:
        """Counts what is run of a statement."""
        words = taken.words
        if words[0] == "refresh" or (words[0] == "select" and "setval" in words):
            return
        statement = f"{canonical(taken.tokens, schema_sql)};"
        if words[0] in _SETTING_VERBS or words[0] == "select":
            self._settings.append(statement)
            return
        if words[0] == "comment":
            target, tags = canonical(taken.tokens[:-1], schema_sql), _tags_of(taken.tokens, schema_sql)
            if tags == "" and target not in self._tagged:
                # Prose alone; where there were tags before, it takes them away.
                return
            self._tagged.add(target)
            statement = statement if tags is None else f"{target} {tags};"
        for part in (*self._settings, statement):
            self._digest.update(part.encode())
        self._settings.clear()
        self._has_statements = True

    def forget_settings(self) -> None:
        """Settings so far count for nothing that follows."""
        self._settings = ["RESET ALL;"] if self._has_statements else []

    def hexdigest(self) -> str:
        """SHA-256 in hex."""
        return self._digest.hexdigest()


def _tags_of(tokens: Sequence[Token], schema_sql: str) -> str | None:
    """The lines of a COMMENT that are tags, however the string is written; None if that takes PostgreSQL to tell."""
    before, said = tokens[-2:]
    if (said.kind, said.value) == ("word", "null"):
        return ""
    if said.kind != "string" or before.value != "is":
        return None
    text, written = said.value, schema_sql[said.start]
    if written in "eE":
        if "'" in text or not set(_ESCAPE.findall(text)) <= set(_ESCAPES):
            return None
        text = _ESCAPE.sub(lambda found: _ESCAPES[found.group(1)], text)
    elif written == "'" and "\\" in text:
        # Whether a backslash escapes is a setting.
        return None
    return "\n".join(f"@{tag.name} {tag.argument}".rstrip() for tag in parse_tags(text))

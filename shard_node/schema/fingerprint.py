"""The fingerprint of a schema: the same for texts that make the same schema of the same statements."""

from __future__ import annotations

import hashlib

from crosskey.shard_node.schema.skipping import Taken
from crosskey.shard_node.sql_text.script import canonical

_SETTING_VERBS = frozenset({"set", "reset"})


class Fingerprint:
    """Takes in the statements of a text in order.

    White space, SQL comments and what is skipped do not count, nor what is no schema but its state: the numbers that
    sequences go on with, and the rows of materialized views. Settings count before what they are set for.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._settings: list[str] = []
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

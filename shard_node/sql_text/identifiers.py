"""Names in SQL text."""

from __future__ import annotations

from psycopg import sql


def identifier(*names: str) -> sql.Identifier:
    """A quoted name, with its qualifiers before it, for a statement that is executed with parameters.

    psycopg.sql.Identifier alone leaves a `%` in a name to be taken for a placeholder. Statements must therefore always
    be executed with a sequence of parameters, if only an empty one, which turns `%%` back.
    """
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def literal(value: object) -> sql.Literal:
    """A quoted constant, likewise for a statement that is executed with parameters."""
    return sql.Literal(value.replace("%", "%%") if isinstance(value, str) else value)

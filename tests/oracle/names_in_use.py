"""Names that may be in the way of each other: PostgreSQL's keywords, and all that SQL of ours calls anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from crosskey import shard_node

_FOLDERS = ("auditing", "guards", "reading", "sql_text", "writing")
"""Where SQL is made that concerns tables of users."""

_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|FROM|JOIN|AS|IF|RAISE|WITH|DROP|SET|ON|NULL|CASE)\b")
_NAME = re.compile(r"\b[a-z_][a-z0-9_]*\b")

_ROWS = re.compile(
    r"\b([a-z_][a-z0-9_]*)\."
    r"|(?:\bAS|\bFROM|\bJOIN|\bUSING|\bTABLE|\bINTO|\bUPDATE|[)}])\s+([a-z_][a-z0-9_]*)"
    r"|\b([a-z_][a-z0-9_]*)\s+AS\b"
)

_OF_POSTGRESQL = """
    found new old sqlstate sqlerrm tg_name tg_when tg_level tg_op tg_relid tg_relname tg_table_name tg_table_schema
    tg_nargs tg_argv tg_event tg_tag excluded oid ctid xmin public pg_temp information_schema
"""
"""Variables of PL/pgSQL, and what else PostgreSQL itself has names for."""


def names_of_ours() -> set[str]:
    """Every lower-case word in SQL that concerns tables of users: aliases, columns, parameters, and more."""
    return {name for text in _texts() for name in _NAME.findall(text)} | set(_OF_POSTGRESQL.split())


def names_of_rows() -> set[str]:
    """Those of them that are names of tables, aliases, common table expressions and rows of functions."""
    found = {name for text in _texts() for groups in _ROWS.findall(text) for name in groups if name}
    return found | set(_OF_POSTGRESQL.split())


def _texts() -> Iterator[str]:
    package = Path(shard_node.__file__).parent
    yield re.sub(r"--.*", "", (package / "sql" / "bootstrap.sql").read_text())
    for folder in _FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            yield from _sql_in(ast.parse(path.read_text()))


def _sql_in(module: ast.Module) -> Iterator[str]:
    nodes = list(ast.walk(module))
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value if _SQL.search(node.value) else ""

"""SQL to paste, and the copy of a schema that has it at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crosskey.catalog.model import ForeignKey, Table, TableName

HEADING = "-- Where rows live, as `crosskey advise` proposed."


def comment_with(table: Table, tag: str) -> str:
    """The table's comment with one more tag; its prose and other tags stay."""
    return f"{table.comment}\n{tag}" if table.comment else tag


def comment_statement(table: Table, tag: str, quoted: Mapping[str, str]) -> str:
    """The statement that adds a tag to what a table's comment says already."""
    return f"COMMENT ON TABLE {_qualified(table.name, quoted)} IS {_literal(comment_with(table, tag))};"


def index_statement(key: ForeignKey, quoted: Mapping[str, str]) -> str:
    """The statement that indexes the child's columns of a foreign key."""
    columns = ", ".join(quoted.get(column, column) for column in key.columns)
    return f"CREATE INDEX ON {_qualified(key.table, quoted)} ({columns});"


def tagged_copy(schema_sql: str, statements: Iterable[str]) -> str:
    """The text as it is, with these statements after it; without any, the text itself."""
    added = "\n".join(statements)
    if not added:
        return schema_sql
    # The last statement of a file needs no semicolon. One too many does no harm.
    end = "" if schema_sql.rstrip().endswith(";") else "\n;"
    return f"{schema_sql.rstrip()}{end}\n\n{HEADING}\n{added}\n"


def _qualified(name: TableName, quoted: Mapping[str, str]) -> str:
    # Also public: a dump of a schema sets an empty search path.
    return f"{quoted.get(name.schema, name.schema)}.{quoted.get(name.name, name.name)}"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"E'{escaped}'" if escaped != text.replace("'", "''") else f"'{escaped}'"

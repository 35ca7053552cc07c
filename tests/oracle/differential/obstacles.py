"""Taking away what PostgreSQL met first, or turning rows round, to see what it would have met otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from tests.oracle.outcome import Refusal
from tests.oracle.plain import PlainTable

# A foreign key is looked at from two ends, by triggers on the child (RI_FKey_check_...) and on the parent.
_CHECKING_TRIGGERS = """
SELECT t.tgrelid::regclass::text, t.tgname
FROM pg_trigger t
JOIN pg_constraint c ON c.oid = t.tgconstraint
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.conname = %s AND p.proname LIKE ANY (%s)
"""
# Foreign keys hold on to the constraint, so it cannot be dropped; without this mark its index, which is called like it,
# takes equal values.
_NO_LONGER_UNIQUE = """
UPDATE pg_index SET indisunique = false
WHERE indexrelid = (SELECT oid FROM pg_class WHERE relname = %s AND relkind = 'i') AND indrelid = %s::regclass
"""
# Nor can the mark be taken off by ALTER TABLE from a column of a primary key.
_NO_LONGER_NOT_NULL = """
UPDATE pg_attribute SET attnotnull = false
WHERE attrelid = %s::regclass AND starts_with(%s, format('null value in column "%%s" of relation ', attname))
"""
_TAKEN = "23505"
_NOT_NULL = "23502"
_ON_CHILD = ["RI_FKey_check_%"]
_ON_PARENT = ["RI_FKey_noaction_%", "RI_FKey_restrict_%"]


def can_be_taken_away(refusal: Refusal) -> bool:
    """Whether a constraint refused that, and PostgreSQL says which."""
    return bool(refusal.constraint) or refusal.sqlstate == _NOT_NULL


def is_needed_by_upserts(refusal: Refusal) -> bool:
    """Whether it is a unique key that earlier statements may name in ON CONFLICT.

    Such a key is taken away just before the statement that it refused. What is no key is taken away before all, as
    PostgreSQL alters no table with checks that wait.
    """
    return refusal.sqlstate == _TAKEN


def take_away(connection: psycopg.Connection[Any], refusal: Refusal) -> None:
    """Lets the constraint no longer refuse that, in the transaction that is open."""
    if refusal.sqlstate == _NOT_NULL:
        connection.execute(_NO_LONGER_NOT_NULL, (refusal.table, refusal.message))
        return
    if refusal.sqlstate == _TAKEN:
        connection.execute(_NO_LONGER_UNIQUE, (refusal.constraint, refusal.table))
        return
    if refusal.sqlstate not in ("23503", "23001"):
        table, constraint = sql.Identifier(refusal.table), sql.Identifier(refusal.constraint)
        connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, constraint))
        return
    functions = _ON_CHILD if refusal.message.startswith("insert or update") else _ON_PARENT
    for table_name, trigger in connection.execute(_CHECKING_TRIGGERS, (refusal.constraint, functions)).fetchall():
        connection.execute(
            sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(sql.Identifier(table_name), sql.Identifier(trigger))
        )


def reverse_rows(connection: psycopg.Connection[Any], tables: Iterable[PlainTable]) -> None:
    """Puts the rows of each table into the reverse order on disk, in the transaction that is open."""
    # Else foreign keys would act.
    connection.execute("SET LOCAL session_replication_role = replica")
    for table in tables:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.types))
        connection.execute(
            sql.SQL(
                "WITH gone AS (DELETE FROM {table} RETURNING ctid AS its_place, {columns})"
                " INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE"
                " SELECT {columns} FROM gone ORDER BY its_place DESC"
            ).format(table=table.identifier, columns=columns)
        )
    connection.execute("SET LOCAL session_replication_role = origin")

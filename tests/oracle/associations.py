"""What associations and nested writes mean, as plain statements on one PostgreSQL.

The relations are written down here once more, by hand: nothing of how the engine finds them is used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from tests.oracle import related

SCHEMA = related.SCHEMA.replace("rel_", "nw_").replace("role text NOT NULL", "role text NOT NULL DEFAULT 'guest'")

Counts = tuple[int, int, int]
"""How many rows were added, removed and kept."""


class RefusedError(Exception):
    """What PostgreSQL would not refuse by itself, with the reason that Crosskey names."""


@dataclass(frozen=True)
class BelongsTo:
    """The row references a parent by its id."""

    table: LiteralString
    column: LiteralString
    target: LiteralString
    key: LiteralString = "id"


@dataclass(frozen=True)
class HasMany:
    """Rows of `target` reference the row; their key may be NULL or not."""

    target: LiteralString
    column: LiteralString
    nullable: bool


@dataclass(frozen=True)
class Through:
    """Rows of `join` reference the row and one of `target`."""

    join: LiteralString
    column: LiteralString
    far: LiteralString
    target: LiteralString


Relation = BelongsTo | HasMany | Through

RELATIONS: dict[tuple[str, str], Relation] = {
    ("nw_users", "country"): BelongsTo("nw_users", "country_code", "nw_countries", "code"),
    ("nw_users", "invited_by"): BelongsTo("nw_users", "invited_by_id", "nw_users"),
    ("nw_users", "guests"): HasMany("nw_users", "invited_by_id", True),
    ("nw_users", "sent"): HasMany("nw_messages", "sender_id", False),
    ("nw_users", "inbox"): HasMany("nw_messages", "recipient_id", False),
    ("nw_users", "nw_accounts"): Through("nw_memberships", "user_id", "account_id", "nw_accounts"),
    ("nw_users", "following"): Through("nw_follows", "follower_id", "followee_id", "nw_users"),
    ("nw_users", "followers"): Through("nw_follows", "followee_id", "follower_id", "nw_users"),
    ("nw_accounts", "nw_users"): Through("nw_memberships", "account_id", "user_id", "nw_users"),
    ("nw_messages", "sender"): BelongsTo("nw_messages", "sender_id", "nw_users"),
    ("nw_messages", "reply_to"): BelongsTo("nw_messages", "reply_to_id", "nw_messages"),
    ("nw_messages", "replies"): HasMany("nw_messages", "reply_to_id", True),
}


class Plain:
    """Associations on one PostgreSQL. Raises RefusedError, and what PostgreSQL raises."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def associate(self, relation: Relation, owner: Any, operation: str, keys: Sequence[Any], *, delete: bool) -> Counts:
        """Does it, and tells what became of rows."""
        match relation:
            case BelongsTo():
                return self._parent(relation, owner, operation, keys)
            case HasMany():
                return self._children(relation, owner, operation, keys, delete=delete)
            case Through():
                return self._joined(relation, owner, operation, keys)

    def _parent(self, relation: BelongsTo, owner: Any, operation: str, keys: Sequence[Any]) -> Counts:
        [(current,)] = self._all(f"SELECT {relation.column}::text FROM {relation.table} WHERE id = %s", owner)
        set_to = f"UPDATE {relation.table} SET {relation.column} = %s WHERE id = %s"
        if operation in ("append", "replace") and keys:
            self._check_there(relation.target, relation.key, keys)
            if str(keys[0]) == current:
                return 0, 0, 1
            self._count(set_to, keys[0], owner)
            return 1, int(current is not None), 0
        if current is None or (operation == "remove" and current not in map(str, keys)):
            return 0, 0, 0
        if relation.column == "sender_id":
            raise RefusedError("INVALID_REQUEST")
        self._count(set_to, None, owner)
        return 0, 1, 0

    def _children(self, relation: HasMany, owner: Any, operation: str, keys: Sequence[Any], *, delete: bool) -> Counts:
        table, column = relation.target, relation.column
        if operation != "append" and not relation.nullable and not delete and not (operation == "remove" and not keys):
            raise RefusedError("INVALID_REQUEST")
        taking = f"UPDATE {table} SET {column} = NULL" if relation.nullable else f"DELETE FROM {table}"
        removed = added = kept = 0
        if operation in ("replace", "clear"):
            removed = self._count(f"{taking} WHERE {column} = %s AND id <> ALL (%s)", owner, list(keys))
        elif operation == "remove":
            removed = self._count(f"{taking} WHERE {column} = %s AND id = ANY (%s)", owner, list(keys))
        if operation in ("append", "replace"):
            self._check_there(table, "id", keys)
            kept = self._count_rows(f"FROM {table} WHERE {column} = %s AND id = ANY (%s)", owner, list(keys))
            giving = f"UPDATE {table} SET {column} = %s WHERE id = ANY (%s) AND {column} IS DISTINCT FROM %s"
            added = self._count(giving, owner, list(keys), owner)
        return added, removed, kept

    def _joined(self, relation: Through, owner: Any, operation: str, keys: Sequence[Any]) -> Counts:
        join, own, far = relation.join, relation.column, relation.far
        removed = added = 0
        if operation in ("replace", "clear"):
            removed = self._count(f"DELETE FROM {join} WHERE {own} = %s AND {far} <> ALL (%s)", owner, list(keys))
        elif operation == "remove":
            removed = self._count(f"DELETE FROM {join} WHERE {own} = %s AND {far} = ANY (%s)", owner, list(keys))
        if operation in ("append", "replace"):
            adding = f"INSERT INTO {join} ({own}, {far}) SELECT %s, unnest(%s::bigint[]) ON CONFLICT DO NOTHING"
            added = self._count(adding, owner, list(dict.fromkeys(keys)))
            return added, removed, len(set(keys)) - added
        return added, removed, 0

    def ids(self, table: str, key: str = "id") -> list[Any]:
        """The ids of all rows, in order."""
        return [one for (one,) in self._all(f"SELECT {key} FROM {table} ORDER BY {key}")]

    def linked(self, relation: Relation, owner: Any) -> list[Any]:
        """The ids of the rows that the row has, in order."""
        match relation:
            case BelongsTo():
                found = (
                    f"SELECT {relation.column} FROM {relation.table} WHERE id = %s AND {relation.column} IS NOT NULL"
                )
            case HasMany():
                found = f"SELECT id FROM {relation.target} WHERE {relation.column} = %s ORDER BY id"
            case Through():
                found = f"SELECT {relation.far} FROM {relation.join} WHERE {relation.column} = %s ORDER BY 1"
        return [one for (one,) in self._all(found, owner)]

    def emails(self) -> list[str]:
        """The unique values of the accounts, in order."""
        return [one for (one,) in self._all("SELECT email FROM nw_accounts ORDER BY email")]

    def insert(self, table: str, row: dict[str, Any]) -> None:
        """Inserts one row."""
        columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
        self._count(f"INSERT INTO {table} ({columns}) VALUES ({values})", *row.values())

    def join(self, user: Any, email: str) -> None:
        """Makes a user a member of the account with that address."""
        self.insert("nw_memberships", {"user_id": user, "account_id": self.id_of("nw_accounts", "email", email)})

    def rename(self, user: Any, name: str) -> None:
        """Gives a user another name."""
        self._count("UPDATE nw_users SET name = %s WHERE id = %s", name, user)

    def id_of(self, table: str, column: str, value: Any) -> Any:
        """The id of the row with a unique value. Raises RefusedError if there is none."""
        self._check_there(table, column, [value])
        return self._all(f"SELECT id FROM {table} WHERE {column} = %s", value)[0][0]

    def _check_there(self, table: str, key: str, keys: Collection[Any]) -> None:
        found = self._count_rows(f"FROM {table} WHERE {key}::text = ANY (%s)", [*map(str, keys)])
        if found < len(set(map(str, keys))):
            raise RefusedError("ROW_NOT_FOUND")

    def _count_rows(self, source: str, *parameters: Any) -> int:
        return int(self._all(f"SELECT count(*) {source}", *parameters)[0][0])

    def _count(self, statement: str, *parameters: Any) -> int:
        return self._connection.execute(statement.encode(), parameters).rowcount

    def _all(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), parameters).fetchall()

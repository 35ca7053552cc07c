"""Includes and conditions drawn at random, each with the SQL that says the same on one PostgreSQL.

The relations are written down here once more, by hand: nothing of how the engine finds them is used.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

import crosskey
from crosskey.v1.rows_pb2 import Predicate
from tests.oracle.plain import PlainPostgres

SCHEMA = """
CREATE TABLE rel_countries (code text PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE rel_countries IS '@reference';
CREATE TABLE rel_users (
    id bigint PRIMARY KEY, name text NOT NULL, nick text, points int, tags text[], facts jsonb,
    country_code text REFERENCES rel_countries, invited_by_id bigint REFERENCES rel_users ON DELETE SET NULL
);
COMMENT ON TABLE rel_users IS '@shard_by id';
COMMENT ON CONSTRAINT rel_users_country_code_fkey ON rel_users IS E'@relation country\\n@inverse people';
COMMENT ON CONSTRAINT rel_users_invited_by_id_fkey ON rel_users IS E'@inverse guests';
CREATE TABLE rel_profiles (user_id bigint PRIMARY KEY REFERENCES rel_users ON DELETE CASCADE, bio text NOT NULL);
COMMENT ON TABLE rel_profiles IS '@shard_with user_id';
CREATE TABLE rel_accounts (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, level numeric(6,2));
COMMENT ON TABLE rel_accounts IS '@shard_by id';
CREATE TABLE rel_memberships (
    user_id bigint REFERENCES rel_users ON DELETE CASCADE, account_id bigint REFERENCES rel_accounts ON DELETE CASCADE,
    role text NOT NULL, PRIMARY KEY (user_id, account_id)
);
COMMENT ON TABLE rel_memberships IS '@shard_with user_id';
CREATE TABLE rel_follows (
    follower_id bigint REFERENCES rel_users ON DELETE CASCADE,
    followee_id bigint REFERENCES rel_users ON DELETE CASCADE, PRIMARY KEY (follower_id, followee_id)
);
COMMENT ON TABLE rel_follows IS '@shard_with follower_id';
COMMENT ON CONSTRAINT rel_follows_followee_id_fkey ON rel_follows IS E'@through following\\n@inverse followed';
COMMENT ON CONSTRAINT rel_follows_follower_id_fkey ON rel_follows IS E'@through followers';
CREATE TABLE rel_messages (
    id bigint PRIMARY KEY, recipient_id bigint NOT NULL REFERENCES rel_users ON DELETE CASCADE,
    sender_id bigint NOT NULL REFERENCES rel_users ON DELETE RESTRICT, reply_to_id bigint REFERENCES rel_messages,
    content text NOT NULL, weight int NOT NULL
);
COMMENT ON TABLE rel_messages IS '@shard_by recipient_id';
COMMENT ON CONSTRAINT rel_messages_recipient_id_fkey ON rel_messages IS '@inverse inbox';
COMMENT ON CONSTRAINT rel_messages_sender_id_fkey ON rel_messages IS '@inverse sent';
COMMENT ON CONSTRAINT rel_messages_reply_to_id_fkey ON rel_messages IS '@inverse replies';
CREATE TABLE rel_logins (
    id bigint PRIMARY KEY, email text NOT NULL REFERENCES rel_accounts (email), place int NOT NULL
);
COMMENT ON TABLE rel_logins IS '@shard_by id';
"""


@dataclass(frozen=True)
class Relation:
    """What leads from rows `p` of a table to rows `f` of another, perhaps through rows `j`, as SQL."""

    target: str
    many: bool
    link: str
    join: str = ""
    join_columns: tuple[str, ...] = ()


KEYS = {
    "rel_countries": ("code",),
    "rel_users": ("id",),
    "rel_profiles": ("user_id",),
    "rel_accounts": ("id",),
    "rel_memberships": ("user_id", "account_id"),
    "rel_follows": ("follower_id", "followee_id"),
    "rel_messages": ("id",),
    "rel_logins": ("id",),
}

RELATIONS: dict[str, dict[str, Relation]] = {
    "rel_countries": {"people": Relation("rel_users", True, "f.country_code = p.code")},
    "rel_users": {
        "country": Relation("rel_countries", False, "f.code = p.country_code"),
        "invited_by": Relation("rel_users", False, "f.id = p.invited_by_id"),
        "guests": Relation("rel_users", True, "f.invited_by_id = p.id"),
        "rel_profiles": Relation("rel_profiles", False, "f.user_id = p.id"),
        "rel_memberships": Relation("rel_memberships", True, "f.user_id = p.id"),
        "rel_accounts": Relation(
            "rel_accounts", True, "f.id = j.account_id AND j.user_id = p.id", "rel_memberships", ("role",)
        ),
        "following": Relation("rel_users", True, "f.id = j.followee_id AND j.follower_id = p.id", "rel_follows"),
        "followers": Relation("rel_users", True, "f.id = j.follower_id AND j.followee_id = p.id", "rel_follows"),
        "followed": Relation("rel_follows", True, "f.followee_id = p.id"),
        "inbox": Relation("rel_messages", True, "f.recipient_id = p.id"),
        "sent": Relation("rel_messages", True, "f.sender_id = p.id"),
    },
    "rel_profiles": {"user": Relation("rel_users", False, "f.id = p.user_id")},
    "rel_accounts": {
        "rel_memberships": Relation("rel_memberships", True, "f.account_id = p.id"),
        "rel_users": Relation(
            "rel_users", True, "f.id = j.user_id AND j.account_id = p.id", "rel_memberships", ("role",)
        ),
        "rel_logins": Relation("rel_logins", True, "f.email = p.email"),
    },
    "rel_memberships": {
        "user": Relation("rel_users", False, "f.id = p.user_id"),
        "account": Relation("rel_accounts", False, "f.id = p.account_id"),
    },
    "rel_follows": {
        "follower": Relation("rel_users", False, "f.id = p.follower_id"),
        "followee": Relation("rel_users", False, "f.id = p.followee_id"),
    },
    "rel_messages": {
        "recipient": Relation("rel_users", False, "f.id = p.recipient_id"),
        "sender": Relation("rel_users", False, "f.id = p.sender_id"),
        "reply_to": Relation("rel_messages", False, "f.id = p.reply_to_id"),
        "replies": Relation("rel_messages", True, "f.reply_to_id = p.id"),
    },
    "rel_logins": {"rel_accounts": Relation("rel_accounts", False, "f.email = p.email")},
}

_LEAVES: dict[str, Sequence[tuple[Any, str]]] = {
    "rel_countries": [(crosskey.like("name", "%a%"), "{0}.name LIKE '%a%'")],
    "rel_users": [
        (crosskey.ge("points", 3), "{0}.points >= 3"),
        (crosskey.is_null("nick"), "{0}.nick IS NULL"),
        (crosskey.ilike("name", "a%"), "{0}.name ILIKE 'a%'"),
        (crosskey.starts_with("nick", "n%"), "starts_with({0}.nick, 'n%')"),
        (crosskey.contains("tags", ["x"]), "{0}.tags @> '{{x}}'"),
        (crosskey.contains("facts", {"a": 1}), """{0}.facts @> '{{"a": 1}}'"""),
        (crosskey.has_path("facts", "$.b[*] ? (@ > 1)"), "{0}.facts @? '$.b[*] ? (@ > 1)'"),
        (crosskey.between("points", 2, 4), "{0}.points BETWEEN 2 AND 4"),
        (crosskey.not_in("points", [1, 2]), "{0}.points NOT IN (1, 2)"),
        (crosskey.not_in("points", [1, None]), "{0}.points NOT IN (1, NULL)"),
        (crosskey.columns_compare("nick", "<", "name"), "{0}.nick < {0}.name"),
    ],
    "rel_profiles": [(crosskey.ne("bio", "none"), "{0}.bio <> 'none'")],
    "rel_accounts": [(crosskey.gt("level", "1.5"), "{0}.level > 1.5")],
    "rel_memberships": [(crosskey.eq("role", "owner"), "{0}.role = 'owner'")],
    "rel_follows": [(crosskey.columns_compare("follower_id", "<", "followee_id"), "{0}.follower_id < {0}.followee_id")],
    "rel_messages": [
        (crosskey.le("weight", 4), "{0}.weight <= 4"),
        (crosskey.like("content", "%b%"), "{0}.content LIKE '%b%'"),
    ],
    "rel_logins": [(crosskey.gt("place", 2), "{0}.place > 2")],
}


class Draw:
    """Draws conditions and includes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._aliases = iter(range(10**6))

    def condition(self, table: str, alias: str, depth: int = 3) -> tuple[Predicate, str]:
        """A condition on rows of a table, and the same as SQL on the rows called `alias`."""
        kind = self.random.choice(["leaf", "leaf", "any", "all", "none", "related", "related"]) if depth else "leaf"
        if kind == "leaf":
            predicate, text = self.random.choice(_LEAVES[table])
            return predicate, text.format(alias)
        if kind == "related":
            return self._related(table, alias, depth - 1)
        parts = [self.condition(table, alias, depth - 1) for _ in range(self.random.randint(1, 3))]
        predicates, texts = [one for one, _ in parts], [f"({text})" for _, text in parts]
        if kind == "all":
            return crosskey.all_of(*predicates), " AND ".join(texts)
        if kind == "any":
            return crosskey.any_of(*predicates), " OR ".join(texts)
        return crosskey.none_of(*predicates), f"NOT ({' OR '.join(texts)})"

    def _related(self, table: str, alias: str, depth: int) -> tuple[Predicate, str]:
        name, relation = self.random.choice(list(RELATIONS[table].items()))
        number = next(self._aliases)
        far, join = f"f{number}", f"j{number}"
        link = relation.link.replace("f.", f"{far}.").replace("j.", f"{join}.").replace("p.", f"{alias}.")
        source = f"{relation.target} {far}" + (f", {relation.join} {join}" if relation.join else "")
        predicate, text = self.condition(relation.target, far, depth)
        match self.random.choice(["some", "none", "every"]):
            case "some":
                return crosskey.some(name, predicate), f"EXISTS (SELECT FROM {source} WHERE {link} AND ({text}))"
            case "none":
                return crosskey.none(name, predicate), f"NOT EXISTS (SELECT FROM {source} WHERE {link} AND ({text}))"
        return (
            crosskey.every(name, predicate),
            f"NOT EXISTS (SELECT FROM {source} WHERE {link} AND ({text}) IS NOT TRUE)",
        )

    def change(self) -> tuple[Any, str]:
        """A write of rows that meet a condition over a relation, and the same as SQL."""
        table = self.random.choice(list(_CHANGES))
        condition, text = self._related(table, table, 1)
        if self.random.random() < 0.3:
            leaf, also = self.condition(table, table, 0)
            condition, text = crosskey.any_of(leaf, condition), f"({also}) OR {text}"
        if table in _DELETED and self.random.random() < 0.4:
            return crosskey.delete(table, where=[condition]), f"DELETE FROM {table} WHERE {text}"
        column, values = _CHANGES[table]
        value = self.random.choice(values)
        change = crosskey.update(table, {column: value}, where=[condition])
        return change, f"UPDATE {table} SET {column} = '{value}' WHERE {text}"

    def includes(self, table: str, depth: int) -> dict[str, dict[str, Any]]:
        """A tree of includes, each with its own fields and, under "sql", what of them SQL needs."""
        names = self.random.sample(sorted(RELATIONS[table]), self.random.randint(1, min(2, len(RELATIONS[table]))))
        return {name: self._include(RELATIONS[table][name], depth) for name in names}

    def _include(self, relation: Relation, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {"sql": "TRUE", "sort": ""}
        keys = ", ".join(f"f.{name}" for name in KEYS[relation.target])
        found["sort"] = f"ORDER BY {keys}"
        if self.random.random() < 0.4:
            found["where"], found["sql"] = self.condition(relation.target, "f", 1)
        if relation.many and self.random.random() < 0.5:
            [column] = self.random.sample(["name", "content", "level", "role", "place"], 1)
            if column in _COLUMNS[relation.target]:
                found["order_by"] = [crosskey.desc(column)]
                descending = ", ".join(f"f.{name} DESC" for name in KEYS[relation.target])
                found["sort"] = f"ORDER BY f.{column} DESC, {descending}"
        if relation.many and self.random.random() < 0.5:
            found["limit"] = self.random.randint(1, 3)
        if relation.many:
            found["count"] = self.random.choice([False, True, "only"])
        if self.random.random() < 0.3:
            found["columns"] = self.random.sample(_COLUMNS[relation.target], 2)
        if depth > 1 and found.get("count") != "only" and self.random.random() < 0.7:
            found["include"] = self.includes(relation.target, depth - 1)
        return found


_CHANGES: dict[str, tuple[str, Sequence[Any]]] = {
    "rel_countries": ("name", ["a", "Peru"]),
    "rel_users": ("points", [2, 4]),
    "rel_profiles": ("bio", ["none", "some"]),
    "rel_accounts": ("level", ["1.00", "2.00"]),
    "rel_memberships": ("role", ["owner", "guest"]),
    "rel_messages": ("content", ["a", "b"]),
    "rel_logins": ("place", [1, 3]),
}
_DELETED = ("rel_memberships", "rel_logins", "rel_profiles")

_COLUMNS = {
    "rel_countries": ["code", "name"],
    "rel_users": ["id", "name", "nick", "points", "tags", "facts", "country_code", "invited_by_id"],
    "rel_profiles": ["user_id", "bio"],
    "rel_accounts": ["id", "email", "level"],
    "rel_memberships": ["user_id", "account_id", "role"],
    "rel_follows": ["follower_id", "followee_id"],
    "rel_messages": ["id", "recipient_id", "sender_id", "reply_to_id", "content", "weight"],
    "rel_logins": ["id", "email", "place"],
}


def without_sql(includes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The includes as a client takes them."""
    found = {}
    for name, include in includes.items():
        found[name] = {field: value for field, value in include.items() if field not in ("sql", "sort")}
        if "include" in include:
            found[name]["include"] = without_sql(include["include"])
    return found


def expected_rows(
    plain: PlainPostgres, table: str, condition: str, includes: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with what they include, in the order of their keys, one query for each row and relation."""
    keys = ", ".join(f"{table}.{name}" for name in KEYS[table])
    rows = _query(plain, table, f"SELECT {{row}} FROM {table} WHERE {condition} ORDER BY {keys}")
    return [_with_includes(plain, table, row, includes) for row in rows]


def _with_includes(
    plain: PlainPostgres, table: str, row: dict[str, Any], includes: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    found, counts = dict(row), {}
    for name, include in includes.items():
        relation = RELATIONS[table][name]
        rows = _far_rows(plain, table, row, relation, include)
        if include.get("count"):
            counts[name] = len(rows)
        if include.get("count") == "only":
            continue
        found[name] = rows[: include.get("limit", 100)] if relation.many else next(iter(rows), None)
    return {**found, **({"crosskey_counts": counts} if counts else {})}


def _far_rows(
    plain: PlainPostgres, table: str, row: dict[str, Any], relation: Relation, include: dict[str, Any]
) -> list[dict[str, Any]]:
    own = sql.SQL(" AND ").join(
        sql.SQL("p.{} = {}").format(sql.Identifier(name), sql.Literal(str(row[name]))) for name in KEYS[table]
    )
    source = f"{table} p, {relation.target} f" + (f", {relation.join} j" if relation.join else "")
    where = f"{relation.link} AND ({include['sql']}) AND {own.as_string()}"
    sort = include["sort"]
    rows = _query(plain, relation.target, f"SELECT {{row}} FROM {source} WHERE {where} {sort}", alias="f")
    joins: list[dict[str, Any]] = [{} for _ in rows]
    if relation.join_columns:
        columns = ", ".join(f"'{name}', j.{name}" for name in relation.join_columns)
        query = f"SELECT json_build_object({columns}) FROM {source} WHERE {where} {sort}"
        joins = [{"crosskey_join": one} for (one,) in plain.connection.execute(query.encode())]
    return [{**_projected(plain, relation.target, far, include), **join} for far, join in zip(rows, joins, strict=True)]


def _projected(plain: PlainPostgres, table: str, row: dict[str, Any], include: dict[str, Any]) -> dict[str, Any]:
    whole = _with_includes(plain, table, row, include.get("include", {}))
    if "columns" not in include:
        return whole
    extra = {name: value for name, value in whole.items() if name not in row}
    return {**{name: row[name] for name in include["columns"]}, **extra}


def _query(plain: PlainPostgres, table: str, text: str, alias: str = "") -> list[dict[str, Any]]:
    shown = ", ".join(
        f"{alias or table}.{name}{'::text' if kind in ('int8', 'numeric') else ''} AS {name}"
        for name, kind in plain.tables[table].types.items()
    )
    row = f"(SELECT row_to_json(shown) FROM (SELECT {shown}) shown)"
    return [one for (one,) in plain.connection.execute(text.replace("{row}", row).encode())]

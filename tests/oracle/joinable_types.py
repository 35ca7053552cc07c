"""All pairs of types that this PostgreSQL lets a foreign key join, with values of which some are equal.

Found by its catalogs: a type's default operator class has an operator for the other type, or takes it by an implicit
cast. Whether a key may join the two, and which values are equal by it, PostgreSQL says itself, of a key that is made
and rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, LiteralString, NamedTuple

import psycopg

_DAY, _NOON = "2020-01-01", "2020-01-01 12:00:00"
_OIDS = ("1", "7")

SAMPLES: dict[str, tuple[str, ...]] = {
    "smallint": ("1", "7"),
    "integer": ("1", "7", "100000"),
    "bigint": ("1", "7", "5000000000"),
    "numeric": ("1", "1.00", "0.5", "123456.789"),
    "numeric(4,2)": ("1", "99.99", "0.5"),
    "real": ("1", "0.5", "0.1"),
    "double precision": ("1", "0.5", "0.1", "1e300", "1e-300"),
    "text": ("k", "k ", "K", "too long for others"),
    "character varying(6)": ("k", "k ", "K", ""),
    "character(4)": ("k", "K", ""),
    "character(6)": ("k", "K", "longer"),
    "name": ("k", "k ", "K"),
    "word": ("k", "K"),
    "loose": ("k", "K", "k "),
    "date": (_DAY, "infinity", "5000000-01-01"),
    "timestamp without time zone": (_DAY, _NOON, "infinity"),
    "timestamp(0) without time zone": (_DAY, _NOON),
    "timestamp with time zone": (_DAY, _NOON, "infinity"),
    "time without time zone": ("10:00:00", "23:59:59.5"),
    "time with time zone": ("10:00:00", "12:00:00+02"),
    "interval": ("10:00:00", "1 day", "24:00:00"),
    "inet": ("10.0.0.0/8", "10.1.2.3/8"),
    "cidr": ("10.0.0.0/8", "::/0"),
    "macaddr": ("08:00:2b:01:02:03",),
    "macaddr8": ("08:00:2b:ff:fe:01:02:03", "08:00:2b:01:02:03:04:05"),
    "bit(3)": ("101", "000"),
    "bit varying": ("101", "1010", "1"),
    "oid": _OIDS,
    **{
        f"reg{name}": _OIDS
        for name in ("class", "type", "proc", "oper", "operator", "procedure", "role", "namespace", "config")
    },
    "regdictionary": _OIDS,
    "regcollation": _OIDS,
    "small": ("1", "0.5"),
    "spot": ("(1,k)", "(2,)"),
    "place": ("(1,k)", "(3,k)"),
    "integer[]": ("{1,2}", "{}"),
    "numbers": ("{1,2}", "{7}"),
}
"""Values of each type, as text; modifiers and types of TYPES stand beside the types that PostgreSQL has."""

TYPES = """
CREATE DOMAIN word AS text CHECK (value <> 'k ');
CREATE DOMAIN small AS numeric(4,2) CHECK (value > 0);
CREATE DOMAIN numbers AS integer[] CHECK (cardinality(value) > 0);
CREATE TYPE spot AS (x integer, y text);
CREATE TYPE place AS (a integer, b text);
CREATE SCHEMA elsewhere;
CREATE EXTENSION citext SCHEMA elsewhere;
CREATE DOMAIN loose AS elsewhere.citext;
"""

LOOSE_COLLATION = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);\n"
"""A collation that ignores case, for a PostgreSQL with ICU; only then LOOSE_TEXT and LOOSE_VARCHAR are types."""

LOOSE_TEXT, LOOSE_VARCHAR = "text COLLATE blind", "varchar(6) COLLATE blind"

SAMPLES |= {LOOSE_TEXT: ("k", "K", "k "), LOOSE_VARCHAR: ("k", "K", "")}

_LOOSE_PAIRS = ((LOOSE_TEXT, LOOSE_TEXT), (LOOSE_TEXT, LOOSE_VARCHAR), (LOOSE_TEXT, "text"), ("text", LOOSE_TEXT))

_CANDIDATES: LiteralString = """
WITH RECURSIVE below AS (
    SELECT s.name, s.name::regtype::oid AS oid FROM unnest(%s::text[]) AS s(name)
    UNION ALL
    SELECT below.name, t.typbasetype FROM below JOIN pg_type t ON t.oid = below.oid AND t.typtype = 'd'
),
declared AS (
    SELECT below.name, t.oid, t.typcategory, t.typtype
    FROM below
    JOIN pg_type t ON t.oid = below.oid AND t.typtype <> 'd'
),
compared AS (
    SELECT d.name, o.opcintype AS taken, o.opcfamily
    FROM declared d
    JOIN pg_opclass o ON o.opcdefault AND o.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')
        AND (
            o.opcintype = d.oid
            OR (o.opcintype = 'anyarray'::regtype AND d.typcategory = 'A')
            OR (o.opcintype = 'record'::regtype AND d.typtype = 'c')
            OR EXISTS (
                SELECT FROM pg_cast c
                WHERE c.castsource = d.oid AND c.casttarget = o.opcintype AND c.castmethod = 'b' AND c.castcontext = 'i'
            )
        )
)
SELECT DISTINCT p.name, c.name
FROM compared p
CROSS JOIN declared c
WHERE p.name <> c.name
AND (
    c.oid = p.taken
    OR (p.taken = 'anyarray'::regtype AND c.typcategory = 'A')
    OR (p.taken = 'record'::regtype AND c.typtype = 'c')
    OR EXISTS (SELECT FROM pg_cast k WHERE k.castsource = c.oid AND k.casttarget = p.taken AND k.castcontext = 'i')
    OR EXISTS (
        SELECT FROM pg_amop a
        WHERE a.amopfamily = p.opcfamily AND a.amoplefttype = p.taken AND a.amoprighttype = c.oid
        AND a.amopstrategy = 3
    )
)
ORDER BY 1, 2
"""


_REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.DataError,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.FeatureNotSupported,
)


class JoinablePair(NamedTuple):
    """A parent's and a child's type, and the values of the child's that reference a parent or do not.

    `follows` is whether the child's column can hold all values of the parent's. Else PostgreSQL refuses a new key of a
    parent that no child could reference, as it carries out ON UPDATE CASCADE for it all the same.
    """

    parent: str
    child: str
    accepted: tuple[str, ...]
    refused: tuple[str, ...]
    follows: bool


def candidates(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The pairs of a parent's and a child's type that a key may join, by the catalogs of a database that has types."""
    plain = [name for name in SAMPLES if "COLLATE" not in name]
    loose = _LOOSE_PAIRS if _has(connection, "SELECT FROM pg_collation WHERE collname = 'blind'") else ()
    return sorted([*connection.execute(_CANDIDATES, [plain]).fetchall(), *loose])


def types_of(connection: psycopg.Connection[Any]) -> str:
    """The DDL of the types that SAMPLES names, for this server. The connection is in autocommit mode."""
    with connection.transaction(force_rollback=True):
        has_icu = _accepts(connection, LOOSE_COLLATION)
    return TYPES + (LOOSE_COLLATION if has_icu else "")


def _has(connection: psycopg.Connection[Any], query: LiteralString) -> bool:
    return connection.execute(query).fetchone() is not None


def name_objects(pair: tuple[str, str]) -> bool:
    """Whether a type of the pair is one of the many that name objects, such as regclass. All are compared as oid is."""
    return any(name.startswith("reg") for name in pair)


def joinable(connection: psycopg.Connection[Any], pairs: Iterable[tuple[str, str]]) -> Iterator[JoinablePair]:
    """Those of the pairs that PostgreSQL lets a key join, judged by it. The connection is in autocommit mode."""
    for parent, child in pairs:
        try:
            with connection.transaction(force_rollback=True):
                yield _judged(connection, parent, child)
        except (psycopg.errors.DatatypeMismatch, psycopg.errors.CollationMismatch):
            continue


def _judged(connection: psycopg.Connection[Any], parent: str, child: str) -> JoinablePair:
    """Raises DatatypeMismatch if no key joins the two."""
    connection.execute(f"CREATE TABLE p (v {parent} UNIQUE); CREATE TABLE c (v {child} REFERENCES p (v))".encode())
    for sample in SAMPLES[parent]:
        _accepts(connection, "INSERT INTO p VALUES (%s)", sample)
    accepted = tuple(one for one in SAMPLES[child] if _accepts(connection, "INSERT INTO c VALUES (%s)", one))
    refused = tuple(one for one in SAMPLES[child] if one not in accepted)
    connection.execute(f"CREATE TABLE f (v {child})".encode())
    return JoinablePair(parent, child, accepted, refused, _accepts(connection, "INSERT INTO f SELECT v FROM p"))


def _accepts(connection: psycopg.Connection[Any], statement: LiteralString, *parameters: str) -> bool:
    """Whether the statement succeeds; else it left no trace."""
    try:
        with connection.transaction():
            connection.execute(statement, parameters)
    except _REFUSALS:
        return False
    return True

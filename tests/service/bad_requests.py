"""Requests that a cluster must refuse, each with the error that it is answered with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

import crosskey
from crosskey.catalog.slots import slot_of_value
from crosskey.v1.router_pb2 import GetRequest, InsertRequest, Statement, TransactRequest, UpdateRequest
from crosskey.v1.rows_pb2 import Assignment, Predicate, RowForm
from tests.numbers_on_shards import numbers_on

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);

CREATE TABLE places (code text PRIMARY KEY, "100% ""odd"" {name}s; --" text);
COMMENT ON TABLE places IS '@reference';

CREATE TABLE owners (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'nobody'), place text REFERENCES places);
COMMENT ON TABLE owners IS '@shard_by id';

CREATE FUNCTION refuse_by_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.name
        WHEN 'Eve' THEN RAISE EXCEPTION 'no % here', NEW.name USING HINT = 'Ask Alice.';
        WHEN 'Mallory' THEN RAISE EXCEPTION 'nor %', NEW.name USING ERRCODE = 'U0042', DETAIL = 'She knows why.';
        ELSE RETURN NEW;
    END CASE;
END
$$;
CREATE TRIGGER refuse_by_name BEFORE INSERT ON owners FOR EACH ROW EXECUTE FUNCTION refuse_by_name();

CREATE TABLE things (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner bigint NOT NULL REFERENCES owners ON DELETE CASCADE,
    friend bigint REFERENCES owners,
    small smallint, whole integer CHECK (whole <> 13), large bigint, exact numeric(20, 2), half float4, double float8,
    flag boolean, word varchar(5), fixed char(3), body text, bytes bytea, day date, moment timestamptz, clock time,
    span interval, address inet, bits bit(3), tree jsonb, raw json, numbers bigint[], doubles float8[], words text[],
    range int4range, feeling mood, pair pair, above positive, spot point
);
COMMENT ON TABLE things IS '@shard_by owner';
"""
ODD_COLUMN = '100% "odd" {name}s; --'

OWNERS = [next(numbers_on(shard)) for shard in range(3)]
"""One owner on each shard; each has one thing, whose friend is on the next shard."""

OWNER = OWNERS[0]
NOBODY = 10**12
BEYOND_EXACT = 2.0**53
MEGABYTE = 1_000_000

WRONG_ID = "00000000-0000-4000-8000-000000000001"
"""An id that carries the slot of none of the owners."""


@dataclass(frozen=True)
class Bad:
    """A request, and its error: `metadata` is all of it but for the hint, and for the shard if a shard found the fault.

    What only a shard can find does not keep the request from being explained.
    """

    request: Message
    reason: str
    message: str
    metadata: dict[str, str]
    found_by_shard: bool = False


def struct(**fields: Any) -> Struct:
    """A Struct with numbers that the client package would send as text."""
    made = Struct()
    made.update(fields)
    return made


def number(value: float) -> Value:
    return Value(number_value=value)


def raw_thing(**fields: Any) -> InsertRequest:
    return InsertRequest(table="things", rows=[struct(**{"owner": OWNER, **fields})])


def thing(**fields: Any) -> InsertRequest:
    return crosskey.insert("things", {"owner": OWNER, **fields})


def comparing(column: str, op: int, value: Value | None = None) -> Message:
    """A count whose predicate the client package would not make."""
    return crosskey.count("owners", Predicate(column=column, op=Predicate.Op.ValueType(op), value=value))


def no_table(request: Message, name: str, **metadata: str) -> Bad:
    named = {"table": name} if name else {}
    message = f'relation "{name}" does not exist'
    return Bad(request, "UNKNOWN_TABLE", message, {"sqlstate": "42P01", **named, **metadata})


def no_column(request: Message, name: str) -> Bad:
    metadata = {"table": "owners", "columns": name, "sqlstate": "42703"}
    return Bad(request, "UNKNOWN_COLUMN", f'column "{name}" does not exist', metadata)


def no_column_to_write(request: Message, name: str) -> Bad:
    metadata = {"table": "owners", "columns": name, "sqlstate": "42703"}
    return Bad(request, "UNKNOWN_COLUMN", f'column "{name}" of relation "owners" does not exist', metadata)


def not_exact(request: Message, column: str, table: str = "things") -> Bad:
    message = f'the number {BEYOND_EXACT} for column "{column}" is beyond 2^53 and may have been rounded'
    return Bad(request, "NUMBER_NOT_EXACT", message, {"table": table, "columns": column})


def malformed(request: Message, message: str, **metadata: str) -> Bad:
    return Bad(request, "INVALID_REQUEST", message, metadata)


def no_shard_key(request: Message, row: int) -> Bad:
    message = f'row {row} for table "owners" has no value for "id", which says where the row lives'
    return Bad(request, "SHARD_KEY_MISSING", message, {"table": "owners", "columns": "id"})


def bad_value(request: Message, sqlstate: str, message: str, **metadata: str) -> Bad:
    return Bad(request, "INVALID_VALUE", message, {"sqlstate": sqlstate, **metadata}, found_by_shard=True)


UNKNOWN_TABLES = {
    "insert": no_table(crosskey.insert("nothing", {"id": 1}), "nothing"),
    "get": no_table(crosskey.get("nothing", {"id": 1}), "nothing"),
    "update": no_table(crosskey.update("nothing", {"a": 1}, key={"id": 1}), "nothing"),
    "delete": no_table(crosskey.delete("nothing", key={"id": 1}), "nothing"),
    "list": no_table(crosskey.list_rows("nothing"), "nothing"),
    "count": no_table(crosskey.count("nothing"), "nothing"),
    "transact": no_table(crosskey.transaction([crosskey.delete("nothing", key={"id": 1})]), "nothing", statement="0"),
    "without a name": no_table(crosskey.count(""), ""),
    "PostgreSQL's own": no_table(crosskey.count("pg_catalog.pg_authid"), "pg_catalog.pg_authid"),
    "Crosskey's own": no_table(crosskey.count("crosskey.decision"), "crosskey.decision"),
    "in other letters": no_table(crosskey.count("Owners"), "Owners"),
    "injected": no_table(crosskey.count("owners; DROP TABLE owners"), "owners; DROP TABLE owners"),
    "with quotes": no_table(crosskey.count('public"."owners'), 'public"."owners'),
    "with placeholders": no_table(crosskey.count("%s%(x)s{}"), "%s%(x)s{}"),
    "with NUL": no_table(crosskey.count("own\0ers"), "own\0ers"),
}


def assigning(column: str, source: str, op: int, value: Value | None = None) -> UpdateRequest:
    """An update that the client package would not make."""
    assignment = Assignment(column=column, source=source, op=Assignment.Op.ValueType(op), value=value)
    return UpdateRequest(table="owners", key=struct(id=OWNER), assignments=[assignment])


NEW = {"id": NOBODY, "name": "x"}
UNKNOWN_COLUMNS = {
    "in a row": no_column_to_write(crosskey.insert("owners", {**NEW, "zip": 1}), "zip"),
    "in the last row": no_column_to_write(crosskey.insert("owners", [NEW, {"id": 5, "zip": 1}]), "zip"),
    "in set": no_column_to_write(crosskey.update("owners", {"zip": 1}, key={"id": OWNER}), "zip"),
    "that is computed": no_column_to_write(assigning("zip", "id", Assignment.COPY), "zip"),
    "to compute from": no_column_to_write(assigning("name", "zip", Assignment.COPY), "zip"),
    "in where": no_column(crosskey.count("owners", {"zip": 1}), "zip"),
    "in where of update": no_column(crosskey.update("owners", {"name": "x"}, where={"zip": 1}), "zip"),
    "in where of delete": no_column(crosskey.delete("owners", where={"zip": 1}), "zip"),
    "in order_by": no_column(crosskey.list_rows("owners", order_by="zip"), "zip"),
    "in key": no_column(crosskey.get("owners", {"zip": 1}), "zip"),
    "in key of update": no_column(crosskey.update("owners", {"name": "x"}, key={"zip": 1}), "zip"),
    "in key of delete": no_column(crosskey.delete("owners", key={"zip": 1}), "zip"),
    "PostgreSQL's own": no_column(crosskey.count("owners", {"xmin": 1}), "xmin"),
    "place of a row": no_column(crosskey.list_rows("owners", order_by="ctid"), "ctid"),
    "in quotes": no_column(crosskey.count("owners", {'"id"': 1}), '"id"'),
    "injected": no_column(crosskey.list_rows("owners", order_by="id; DROP TABLE owners"), "id; DROP TABLE owners"),
    "injected in key": no_column(crosskey.get("owners", {"id = 1 OR TRUE": 1}), "id = 1 OR TRUE"),
    "with placeholders": no_column_to_write(crosskey.insert("owners", {**NEW, "%s%(x)s{}": 1}), "%s%(x)s{}"),
    "with NUL": no_column_to_write(crosskey.insert("owners", {**NEW, "a\0b": 1}), "a\0b"),
}

ROUNDED_NUMBERS = {
    "bigint": not_exact(raw_thing(large=BEYOND_EXACT), "large"),
    "integer": not_exact(raw_thing(whole=BEYOND_EXACT), "whole"),
    "numeric": not_exact(raw_thing(exact=BEYOND_EXACT), "exact"),
    "text": not_exact(raw_thing(body=BEYOND_EXACT), "body"),
    "jsonb": not_exact(raw_thing(tree=BEYOND_EXACT), "tree"),
    "deep in jsonb": not_exact(raw_thing(tree={"a": [{"b": [BEYOND_EXACT]}]}), "tree"),
    "bigint[]": not_exact(raw_thing(numbers=[1, BEYOND_EXACT]), "numbers"),
    "shard key": not_exact(raw_thing(owner=BEYOND_EXACT), "owner"),
    "where": not_exact(comparing("id", Predicate.EQ, number(BEYOND_EXACT)), "id", "owners"),
    "key": not_exact(GetRequest(table="owners", key=struct(id=BEYOND_EXACT)), "id", "owners"),
    "set": not_exact(UpdateRequest(table="things", key=struct(id=WRONG_ID), set=struct(large=BEYOND_EXACT)), "large"),
}

KEY_OR_WHERE = 'the request on "owners" has {}; it takes one of them'
NOT_THE_KEY = 'the key of a row of "owners" is (id), not ({})'
ON_ID = {"table": "owners", "columns": "id"}
MALFORMED = {
    "insert of no rows": malformed(
        crosskey.insert("owners", []), 'an insert into "owners" has no rows', table="owners"
    ),
    "update by key and where": malformed(
        crosskey.update("owners", {"name": "x"}, key={"id": OWNER}, where={"id": OWNER}),
        KEY_OR_WHERE.format("both key and where"),
        table="owners",
    ),
    "update of nothing in particular": malformed(
        crosskey.update("owners", {"name": "x"}), KEY_OR_WHERE.format("neither key nor where"), table="owners"
    ),
    "delete by key and where": malformed(
        crosskey.delete("owners", key={"id": OWNER}, where={"id": OWNER}),
        KEY_OR_WHERE.format("both key and where"),
        table="owners",
    ),
    "delete of nothing in particular": malformed(
        crosskey.delete("owners"), KEY_OR_WHERE.format("neither key nor where"), table="owners"
    ),
    "update that sets nothing": malformed(
        crosskey.update("owners", {}, key={"id": OWNER}), 'an update of "owners" sets no column', table="owners"
    ),
    "columns that are no key": malformed(
        crosskey.get("owners", {"name": "x"}), NOT_THE_KEY.format("name"), table="owners", columns="name"
    ),
    "key with a column too many": malformed(
        crosskey.get("owners", {"id": 1, "name": "x"}),
        NOT_THE_KEY.format("id, name"),
        table="owners",
        columns="id, name",
    ),
    "empty key": malformed(crosskey.get("owners", {}), NOT_THE_KEY.format(""), table="owners"),
    "operator 99": malformed(
        comparing("id", 99, number(1)), 'the predicate on column "id" has no operator 99', **ON_ID
    ),
    "operator -1": malformed(
        comparing("id", -1, number(1)), 'the predicate on column "id" has no operator -1', **ON_ID
    ),
    "IN with a scalar": malformed(
        comparing("id", Predicate.IN, number(1)), 'the predicate on column "id" needs a list for IN', **ON_ID
    ),
    "EQ without a value": malformed(
        comparing("id", Predicate.EQ), 'the predicate on column "id" needs a value', **ON_ID
    ),
    "IS_NULL with text": malformed(
        comparing("id", Predicate.IS_NULL, Value(string_value="x")),
        'the predicate on column "id" takes true or false for IS_NULL',
        **ON_ID,
    ),
    "negative page_size": malformed(
        crosskey.list_rows("owners", page_size=-1), "page_size must not be negative, it is -1"
    ),
    "smallest page_size": malformed(
        crosskey.list_rows("owners", page_size=-(2**31)), "page_size must not be negative, it is -2147483648"
    ),
    "assignment operator 99": malformed(
        assigning("name", "name", 99, number(1)), "there is no assignment operator 99", table="owners"
    ),
    "form 7 of the answer": malformed(
        GetRequest(table="owners", key_json='{"id": 1}', row_form=RowForm.ValueType(7)), "there is no row_form 7"
    ),
    "key given twice": malformed(
        GetRequest(table="owners", key_json='{"id": 1}', key=struct(id=1)),
        "the request has both key and key_json; it takes one of them",
        table="owners",
    ),
    "value given twice": malformed(
        crosskey.count("owners", Predicate(column="id", value_json="1", value=number(1))),
        "the request has both value and value_json; it takes one of them",
        table="owners",
    ),
    "set given twice": malformed(
        UpdateRequest(table="owners", key=struct(id=OWNER), set=struct(name="x"), set_json='{"name": "y"}'),
        "the request has both set and set_json; it takes one of them",
        table="owners",
    ),
    "transaction of no statements": malformed(TransactRequest(), "a transaction has no statements"),
    "statement of no kind": malformed(
        TransactRequest(statements=[Statement(delete=crosskey.delete("owners", key={"id": 1})), Statement()]),
        "statement 1 is empty",
        statement="1",
    ),
}

IGNORED = "a statement of a transaction has no request_id"
IN_GROUPS = TransactRequest(
    statements=[
        Statement(delete=crosskey.delete("owners", key={"id": 1})),
        Statement(group=crosskey.group([InsertRequest(table="owners", rows=[struct(id=1)], request_id="once")])),
    ]
)
RESERVED = {
    "request_id of a statement": malformed(IN_GROUPS, IGNORED, statement="1.0"),
    "value to copy": malformed(
        assigning("name", "name", Assignment.COPY, number(1)),
        'the assignment to column "name" copies a column and takes no value',
        table="owners",
        columns="name",
    ),
}


def no_bytes(request: Message) -> Bad:
    message = 'invalid value for column "bytes": bytes are "\\x" and hexadecimal digits'
    return Bad(request, "INVALID_VALUE", message, {"table": "things", "columns": "bytes", "sqlstate": "22P02"})


BASE64 = "AP8="
BYTES = {
    "base64 to insert": no_bytes(thing(bytes=BASE64)),
    "base64 without padding": no_bytes(thing(bytes="AAECAwQF")),
    "base64 to set": no_bytes(crosskey.update("things", {"bytes": BASE64}, where={"owner": OWNER})),
    "base64 in where": no_bytes(crosskey.count("things", {"bytes": BASE64})),
    "base64 in IN": no_bytes(crosskey.count("things", crosskey.in_("bytes", ["\\x00", BASE64]))),
    "base64 to compute with": no_bytes(
        crosskey.update("things", {"bytes": crosskey.column("bytes").concatenate(BASE64)}, where={"owner": OWNER})
    ),
    "number as bytes": no_bytes(thing(bytes=5)),
}

PLACES = {
    "row without its shard key": no_shard_key(crosskey.insert("owners", [NEW, {"name": "x"}]), 2),
    "row whose shard key is NULL": no_shard_key(crosskey.insert("owners", {"id": None, "name": "x"}), 1),
    "id of another slot": Bad(
        thing(id=WRONG_ID),
        "SLOT_MISMATCH",
        f'"id" {WRONG_ID} of table "things" carries slot {slot_of_value("uuid", WRONG_ID)},'
        f' but its row\'s "owner" is of slot {slot_of_value("int8", OWNER)}',
        {"table": "things", "columns": "id", "key": WRONG_ID},
    ),
    "id of another slot, set": Bad(
        crosskey.update("things", {"id": WRONG_ID}, where={"owner": OWNER}),
        "SLOT_MISMATCH",
        'the id of a row of "things" carries another slot than its shard key',
        {"table": "things"},
        found_by_shard=True,
    ),
}

UNSUPPORTED_NUL = "unsupported Unicode escape sequence"
NUL_ENCODED = 'invalid byte sequence for encoding "UTF8": 0x00'
ON_THINGS = {"table": "things"}
VALUES = {
    "list for integer": bad_value(
        thing(whole=[1]), "22P02", 'invalid input syntax for type integer: "[1]"', **ON_THINGS
    ),
    "object for numeric": bad_value(
        thing(exact={"a": 1}), "22P02", 'invalid input syntax for type numeric: "{"a":1}"', **ON_THINGS
    ),
    "number for boolean": bad_value(thing(flag=3), "22P02", 'invalid input syntax for type boolean: "3"', **ON_THINGS),
    "number for date": bad_value(thing(day=5), "22007", 'invalid input syntax for type date: "5"', **ON_THINGS),
    "fraction for smallint": bad_value(
        thing(small=5.5), "22P02", 'invalid input syntax for type smallint: "5.5"', **ON_THINGS
    ),
    "scalar for bigint[]": bad_value(thing(numbers=5), "22P02", "expected JSON array", **ON_THINGS),
    "ragged bigint[][]": bad_value(
        thing(numbers=[[1], [2, 3]]),
        "22P02",
        "malformed JSON array",
        detail="Multidimensional arrays must have sub-arrays with matching dimensions.",
        **ON_THINGS,
    ),
    "list for composite": bad_value(
        thing(pair=[1]), "22023", "cannot call populate_composite on an array", **ON_THINGS
    ),
    "NaN for bigint": bad_value(
        raw_thing(large=float("nan")), "22P02", 'invalid input syntax for type bigint: "NaN"', **ON_THINGS
    ),
    "Infinity for integer": bad_value(
        raw_thing(whole=float("inf")), "22P02", 'invalid input syntax for type integer: "Infinity"', **ON_THINGS
    ),
    "1e300 for real": bad_value(raw_thing(half=1e300), "22003", '"1e300" is out of range for type real', **ON_THINGS),
    "NUL in text": bad_value(
        thing(body="a\0b"), "22P05", UNSUPPORTED_NUL, detail="\\u0000 cannot be converted to text.", **ON_THINGS
    ),
    "NUL in jsonb": bad_value(
        thing(tree={"a": "\0"}), "22P05", UNSUPPORTED_NUL, detail="\\u0000 cannot be converted to text.", **ON_THINGS
    ),
    "NUL in where": bad_value(
        crosskey.count("owners", {"name": "a\0b"}), "22021", NUL_ENCODED, table="owners", columns="name"
    ),
    "NUL in IN": bad_value(
        crosskey.count("owners", crosskey.in_("name", ["a\0b"])), "22021", NUL_ENCODED, table="owners", columns="name"
    ),
    "NUL in key": bad_value(crosskey.get("owners", {"id": "a\0b"}), "22021", NUL_ENCODED, table="owners", columns="id"),
    "key of the wrong type": bad_value(
        crosskey.get("owners", {"id": "x"}), "22P02", 'invalid input syntax for type bigint: "x"', table="owners"
    ),
    "id of the wrong type": bad_value(
        crosskey.delete("things", key={"id": "x"}), "22P02", 'invalid input syntax for type uuid: "x"', **ON_THINGS
    ),
    "list for a key": bad_value(
        crosskey.get("owners", {"id": [1]}), "22P02", 'invalid input syntax for type bigint: "[1]"', table="owners"
    ),
    "list in IN": bad_value(
        crosskey.count("owners", crosskey.in_("id", [[1], 2])),
        "22P02",
        'invalid input syntax for type bigint: "[1]"',
        table="owners",
    ),
    "where out of range": bad_value(
        crosskey.count("things", {"small": 99999}),
        "22003",
        'value "99999" is out of range for type smallint',
        **ON_THINGS,
    ),
    "comparison of json": bad_value(
        crosskey.count("things", {"raw": {"a": 1}}), "42883", "operator does not exist: json = unknown", **ON_THINGS
    ),
    "order of points": bad_value(
        crosskey.list_rows("things", order_by="spot"),
        "42883",
        "could not identify an ordering operator for type point",
        **ON_THINGS,
    ),
    "sum of texts": bad_value(
        assigning("name", "name", Assignment.ADD, Value(string_value="x")),
        "42883",
        "operator does not exist: text + unknown",
        table="owners",
    ),
    "value to set": bad_value(
        crosskey.update("things", {"whole": "q"}, where={"owner": OWNER}),
        "22P02",
        'invalid input syntax for type integer: "q"',
        **ON_THINGS,
    ),
}
SHARD_KEYS = {
    "shard key of the wrong type": Bad(
        crosskey.insert("things", {"owner": "x"}),
        "INVALID_VALUE",
        'invalid input syntax for type bigint: "x"',
        {"sqlstate": "22P02", "table": "things", "columns": "owner"},
    ),
}


def violation(request: Message, sqlstate: str, message: str, **metadata: str) -> Bad:
    reason = {"23502": "NOT_NULL", "23503": "FOREIGN_KEY", "23505": "UNIQUE", "23514": "CHECK"}[sqlstate]
    return Bad(request, f"{reason}_VIOLATION", message, {"sqlstate": sqlstate, **metadata}, found_by_shard=True)


def on_all_shards(table: str, column: str, last: dict[str, Any]) -> InsertRequest:
    """Rows for every shard, of which only the last one is bad."""
    good = [{column: next(islice(numbers_on(shard), 9, None)), "name": "good"} for shard in range(3)]
    return crosskey.insert(table, [*good, last])


def raised(request: Message, message: str, **metadata: str) -> Bad:
    return Bad(request, "RAISED_BY_DATABASE", message, {"table": "owners", **metadata}, found_by_shard=True)


NOT_IN_OWNERS = f'Key ({{}})=({NOBODY}) is not present in table "owners".'
VIOLATIONS = {
    "no value": violation(
        crosskey.insert("owners", {"id": NOBODY}),
        "23502",
        'null value in column "name" of relation "owners" violates not-null constraint',
        table="owners",
        columns="name",
        detail=f"Failing row contains ({NOBODY}, null, null).",
    ),
    "NULL set": violation(
        crosskey.update("owners", {"name": None}, key={"id": OWNER}),
        "23502",
        'null value in column "name" of relation "owners" violates not-null constraint',
        table="owners",
        columns="name",
        detail=f"Failing row contains ({OWNER}, null, null).",
    ),
    "CHECK": violation(
        crosskey.insert("owners", {"id": NOBODY, "name": "nobody"}),
        "23514",
        'new row for relation "owners" violates check constraint "owners_name_check"',
        table="owners",
        constraint="owners_name_check",
        detail=f"Failing row contains ({NOBODY}, nobody, null).",
    ),
    "CHECK of a domain": violation(
        thing(above=-1),
        "23514",
        'value for domain positive violates check constraint "positive_check"',
        constraint="positive_check",
    ),
    "no parent on the same shard": violation(
        crosskey.insert("things", {"owner": NOBODY}),
        "23503",
        'insert or update on table "things" violates foreign key constraint "things_owner_fkey"',
        table="things",
        constraint="things_owner_fkey",
        key=str(NOBODY),
        detail=NOT_IN_OWNERS.format("owner"),
    ),
    "no parent on any shard": violation(
        thing(friend=NOBODY),
        "23503",
        'insert or update on table "things" violates foreign key constraint "things_friend_fkey"',
        table="things",
        constraint="things_friend_fkey",
        key=str(NOBODY),
        detail=NOT_IN_OWNERS.format("friend"),
    ),
    "taken key": violation(
        crosskey.insert("owners", {"id": OWNER, "name": "x"}),
        "23505",
        'duplicate key value violates unique constraint "owners_pkey"',
        table="owners",
        constraint="owners_pkey",
        key=str(OWNER),
        detail=f"Key (id)=({OWNER}) already exists.",
    ),
    "taken key in the last row of three shards": violation(
        on_all_shards("owners", "id", {"id": OWNER, "name": "x"}),
        "23505",
        'duplicate key value violates unique constraint "owners_pkey"',
        table="owners",
        constraint="owners_pkey",
        key=str(OWNER),
        detail=f"Key (id)=({OWNER}) already exists.",
    ),
    "taken key in the last statement": violation(
        crosskey.transaction(
            [
                crosskey.update("owners", {"name": "y"}, where=crosskey.in_("id", OWNERS)),
                crosskey.delete("things", where={"owner": OWNERS[1]}),
                crosskey.insert("owners", {"id": OWNERS[2], "name": "x"}),
            ]
        ),
        "23505",
        'duplicate key value violates unique constraint "owners_pkey"',
        table="owners",
        constraint="owners_pkey",
        key=str(OWNERS[2]),
        detail=f"Key (id)=({OWNERS[2]}) already exists.",
        statement="2",
    ),
}

RAISED = {
    "exception": raised(crosskey.insert("owners", {"id": NOBODY, "name": "Eve"}), "no Eve here", sqlstate="P0001"),
    "exception with a code": raised(
        on_all_shards("owners", "id", {"id": NOBODY, "name": "Mallory"}),
        "nor Mallory",
        sqlstate="U0042",
        detail="She knows why.",
    ),
}

BAD_REQUESTS = {
    f"{kind}: {name}": bad
    for kind, many in {
        "table": UNKNOWN_TABLES,
        "column": UNKNOWN_COLUMNS,
        "number": ROUNDED_NUMBERS,
        "malformed": MALFORMED,
        "reserved": RESERVED,
        "bytes": BYTES,
        "place": PLACES | SHARD_KEYS,
        "value": VALUES,
        "violation": VIOLATIONS,
        "raised": RAISED,
    }.items()
    for name, bad in many.items()
}

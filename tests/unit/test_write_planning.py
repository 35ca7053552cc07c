"""Writes as statements for shards: placement, minted ids, grouping, and everything that is refused beforehand."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

import crosskey
from crosskey import errors
from crosskey.catalog.slots import mint_uuid, shard_of_slot, slot_of_text, slot_of_uuid, slot_of_value
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import Part, plan_delete, plan_insert, plan_update
from crosskey.rows import dict_to_struct
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2 import InsertRequest
from crosskey.v1.rows_pb2 import OnConflict
from tests.messenger_view import SHARDS, VIEW, user_on
from tests.schema_builders import column, plan_of, table


def rows_of(part: Part) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(part.statement.insert.rows_json)
    return rows


def test_rows_go_to_the_shards_of_their_shard_keys_in_the_order_of_the_request() -> None:
    users = [user_on(2), user_on(0), user_on(2, 1), user_on(1)]
    plan = plan_insert(VIEW, crosskey.insert("users", [{"id": one, "name": one[-1]} for one in users]))
    assert [(part.shard, list(part.positions)) for part in plan.parts] == [(2, [0, 2]), (0, [1]), (1, [3])]
    assert [row["id"] for row in rows_of(plan.parts[0])] == [users[0], users[2]]
    assert plan.shards == [0, 1, 2]


def test_the_statement_is_ready_to_send() -> None:
    plan = plan_insert(VIEW, crosskey.insert("public.users", {"name": "Cosette", "id": user_on(1), "score": 5.0}))
    (part,) = plan.parts
    assert part.statement.table == "public.users"
    assert not part.statement.lock_table
    assert list(part.statement.insert.columns) == ["id", "name", "score"]
    assert rows_of(part) == [{"id": user_on(1), "name": "Cosette", "score": 5}]


def test_an_absent_id_is_minted_for_the_slot_of_the_row() -> None:
    sender = user_on(1)
    plan = plan_insert(VIEW, crosskey.insert("messages", [{"sender_id": sender, "body": "hi"}] * 2))
    (part,) = plan.parts
    ids = [uuid.UUID(row["id"]) for row in rows_of(part)]
    assert len(set(ids)) == 2
    assert {slot_of_uuid(one) for one in ids} == {slot_of_value("uuid", sender)}
    assert list(part.statement.insert.columns) == ["id", "sender_id", "body"]


def test_a_given_id_must_carry_the_slot_of_its_row() -> None:
    sender = user_on(0)
    slot = slot_of_value("uuid", sender)
    right, wrong = str(mint_uuid(slot)), str(mint_uuid(slot ^ 1))
    plan = plan_insert(VIEW, crosskey.insert("messages", {"id": right, "sender_id": sender}))
    assert rows_of(plan.parts[0])[0]["id"] == right
    with pytest.raises(errors.SlotMismatch) as caught:
        plan_insert(VIEW, crosskey.insert("messages", {"id": wrong, "sender_id": sender}))
    for part in (wrong, f"carries slot {slot ^ 1}", f"of slot {slot}", "sender_id"):
        assert part in caught.value.message
    assert f"are {slot} modulo 16384" in caught.value.metadata["hint"]


def test_a_null_id_is_left_for_postgresql_to_refuse() -> None:
    plan = plan_insert(VIEW, crosskey.insert("messages", {"id": None, "sender_id": user_on(0)}))
    assert rows_of(plan.parts[0])[0]["id"] is None


def test_a_uuid_primary_key_that_is_the_shard_key_is_minted_where_the_schema_has_a_default() -> None:
    plan = plan_insert(VIEW, crosskey.insert("users", [{"name": str(number)} for number in range(64)]))
    assert {part.shard for part in plan.parts} == set(range(SHARDS))
    for part in plan.parts:
        for row in rows_of(part):
            assert shard_of_slot(slot_of_value("uuid", row["id"]), SHARDS) == part.shard


def test_without_a_default_it_is_missing() -> None:
    view = SchemaView(plan_of(table("tags", "@shard_by id", column("id", "uuid"))), SHARDS, "a fingerprint")
    with pytest.raises(errors.ShardKeyMissing):
        plan_insert(view, crosskey.insert("tags", {}))


@pytest.mark.parametrize("row", [{"body": "x"}, {"body": "x", "sender_id": None}])
def test_a_row_without_its_shard_key_is_named(row: dict[str, Any]) -> None:
    with pytest.raises(
        errors.ShardKeyMissing, match='row 2 for table "messages" has no value for "sender_id"'
    ) as caught:
        plan_insert(VIEW, crosskey.insert("messages", [{"sender_id": user_on(0)}, row]))
    assert caught.value.metadata == {"table": "messages", "columns": "sender_id"}


def test_a_null_shard_key_is_missing_even_where_an_absent_one_is_minted() -> None:
    with pytest.raises(errors.ShardKeyMissing):
        plan_insert(VIEW, crosskey.insert("users", {"id": None}))


@pytest.mark.parametrize(
    ("value", "message", "sqlstate"),
    [
        ("x", 'invalid input syntax for type bigint: "x"', "22P02"),
        (True, 'invalid input syntax for type bigint: "true"', "22P02"),
        ("9223372036854775808", 'value "9223372036854775808" is out of range for type bigint', "22003"),
    ],
)
def test_a_shard_key_of_the_wrong_type_gets_postgresqls_message(value: object, message: str, sqlstate: str) -> None:
    with pytest.raises(errors.InvalidValue) as caught:
        plan_insert(VIEW, crosskey.insert("accounts", [{"id": 1}, {"id": value}]))
    assert caught.value.message == message
    assert caught.value.metadata == {"table": "accounts", "columns": "id", "sqlstate": sqlstate}


def test_all_spellings_of_a_shard_key_go_to_one_shard() -> None:
    plan = plan_insert(VIEW, crosskey.insert("accounts", [{"id": 7}, {"id": "7"}, {"id": " +07"}, {"id": 7.0}]))
    assert [part.shard for part in plan.parts] == [shard_of_slot(slot_of_text("7"), SHARDS)]


def test_an_unknown_column_gets_postgresqls_message() -> None:
    with pytest.raises(errors.UnknownColumn) as caught:
        plan_insert(VIEW, crosskey.insert("users", [{"name": "x"}, {"nmae": "x"}]))
    assert caught.value.message == 'column "nmae" of relation "users" does not exist'


def test_an_insert_without_rows_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match='an insert into "users" has no rows'):
        plan_insert(VIEW, crosskey.insert("users", []))


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(errors.UnknownTable, match='relation "user" does not exist'):
        plan_insert(VIEW, crosskey.insert("user", {"id": 1}))


def request_with_number(column_name: str, number: float) -> router_pb2.InsertRequest:
    request = InsertRequest(table="users", rows=[dict_to_struct({"id": user_on(0)})])
    value = request.rows[0].fields[column_name]
    (value.struct_value.fields["deep"] if column_name == "profile" else value).number_value = number
    return request


@pytest.mark.parametrize("column_name", ["name", "profile"])
def test_a_number_that_may_have_been_rounded_is_refused(column_name: str) -> None:
    with pytest.raises(errors.NumberNotExact):
        plan_insert(VIEW, request_with_number(column_name, 2.0**53))


def test_a_float_column_takes_any_number() -> None:
    plan = plan_insert(VIEW, request_with_number("score", 1e300))
    assert rows_of(plan.parts[0])[0]["score"] == 1e300


def test_rows_that_leave_other_columns_out_share_a_statement() -> None:
    rows = [{"id": user_on(0), "name": "a"}, {"id": user_on(0, 1), "country": "FR"}, {"id": user_on(0, 2)}]
    (part,) = plan_insert(VIEW, crosskey.insert("users", rows)).parts
    assert list(part.statement.insert.columns) == ["id", "name", "country"]
    assert list(part.positions) == [0, 1, 2]


def test_a_column_with_a_default_divides_rows_that_give_it_from_rows_that_do_not() -> None:
    rows = [{"id": user_on(0)}, {"id": user_on(0, 1), "state": "old"}, {"id": user_on(0, 2), "name": "c"}]
    parts = plan_insert(VIEW, crosskey.insert("users", rows)).parts
    assert [(list(part.positions), list(part.statement.insert.columns)) for part in parts] == [
        ([0, 2], ["id", "name"]),
        ([1], ["id", "state"]),
    ]


def test_rows_for_a_reference_table_go_to_the_first_shard_only() -> None:
    plan = plan_insert(VIEW, crosskey.insert("countries", [{"code": "FR"}, {"code": "BE"}]))
    assert plan.reference
    assert [(part.shard, part.statement.lock_table) for part in plan.parts] == [(0, True)]


def test_an_update_by_key_is_one_part() -> None:
    plan = plan_update(VIEW, crosskey.update("users", {"state": "x", "name": None}, key={"id": user_on(1)}))
    (part,) = plan.parts
    assert part.shard == 1
    update = part.statement.update
    assert [(condition.column, condition.op, condition.value_json) for condition in update.where] == [
        ("id", 0, b'"%s"' % user_on(1).encode())
    ]
    assert list(update.columns) == ["name", "state"]
    assert json.loads(update.set_json) == {"name": None, "state": "x"}


def test_a_write_by_slot_carrying_id_is_one_part() -> None:
    message = str(mint_uuid(slot_of_value("uuid", user_on(2))))
    assert plan_delete(VIEW, crosskey.delete("messages", key={"id": message})).shards == [2]


def test_a_write_by_other_columns_is_a_part_for_each_shard() -> None:
    assert plan_update(VIEW, crosskey.update("users", {"name": "x"}, where={"name": "y"})).shards == [0, 1, 2]
    assert plan_delete(VIEW, crosskey.delete("users", where={"name": "y"})).shards == [0, 1, 2]


def test_a_write_to_a_reference_table_is_a_locked_part_for_each_shard() -> None:
    plan = plan_delete(VIEW, crosskey.delete("countries", key={"code": "FR"}))
    assert [(part.shard, part.statement.lock_table) for part in plan.parts] == [(0, True), (1, True), (2, True)]


@pytest.mark.parametrize(
    ("request_value", "message"),
    [
        (router_pb2.UpdateRequest(table="users"), "has neither key nor where"),
        (crosskey.update("users", {}, key={"id": 1}), 'an update of "users" sets no column'),
        (crosskey.update("users", {"name": "x"}, key={"name": "y"}), "the key of a row"),
        (crosskey.update("users", {"name": "x"}, key={}), "the key of a row"),
    ],
)
def test_a_malformed_update_is_refused(request_value: router_pb2.UpdateRequest, message: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=message):
        plan_update(VIEW, request_value)


def test_both_key_and_where_are_refused() -> None:
    request = crosskey.delete("users", key={"id": user_on(0)})
    request.where.add(column="name").value.string_value = "x"
    with pytest.raises(errors.InvalidRequest, match="has both key and where"):
        plan_delete(VIEW, request)


def test_an_update_of_an_unknown_column_gets_postgresqls_message() -> None:
    with pytest.raises(errors.UnknownColumn, match='column "nmae" of relation "users" does not exist'):
        plan_update(VIEW, crosskey.update("users", {"nmae": "x"}, key={"id": user_on(0)}))


def test_rows_of_an_upsert_are_one_statement_a_shard() -> None:
    users: list[dict[str, Any]] = [
        {"id": user_on(1), "name": "a"},
        {"id": user_on(1, 1), "score": 2},
        {"id": user_on(0)},
    ]
    request = crosskey.insert("users", users, on_conflict=crosskey.do_update("name", on="id"))
    parts = plan_insert(VIEW, request).parts
    assert [(part.shard, list(part.positions)) for part in parts] == [(1, [0, 1]), (0, [2])]
    assert [list(part.statement.insert.sometimes_absent) for part in parts] == [["name", "score"], []]
    assert all(part.statement.insert.on_conflict == request.on_conflict for part in parts)


@pytest.mark.parametrize(
    ("on_conflict", "error"),
    [
        (OnConflict(), errors.InvalidRequest),
        (OnConflict(columns=["id"], constraint="users_pkey", nothing=OnConflict.Nothing()), errors.InvalidRequest),
        (crosskey.do_update("name"), errors.InvalidRequest),
        (crosskey.do_update(on="id"), errors.InvalidRequest),
        (crosskey.do_update("nope", on="id"), errors.UnknownColumn),
        (crosskey.do_nothing("nope"), errors.UnknownColumn),
    ],
)
def test_an_upsert_must_say_on_what_and_what(on_conflict: OnConflict, error: type[errors.CrosskeyError]) -> None:
    with pytest.raises(error):
        plan_insert(VIEW, crosskey.insert("users", {"id": user_on(0)}, on_conflict=on_conflict))

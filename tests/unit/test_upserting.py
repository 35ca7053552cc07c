"""What became of each row of an upsert, put together from what shards answered."""

import json

import crosskey
from crosskey import errors
from crosskey.catalog.model import UniqueKey
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan, plan_insert
from crosskey.router.writing.upserting import lost_race
from crosskey.router.writing.write_results import collect
from crosskey.v1.router_pb2 import InsertResponse
from tests.messenger_view import SHARDS, VIEW, user_on
from tests.schema_builders import column, plan_of, table


def test_answers_are_put_in_the_order_of_the_request() -> None:
    """Places say which given row an answered row is; those that are missing were skipped."""
    users = [user_on(1), user_on(0), user_on(1, 1), user_on(0, 1), user_on(1, 2)]
    request = crosskey.insert("users", [{"id": one} for one in users], on_conflict=crosskey.do_update("name", on="id"))
    on_one = proto.CommandResult(count=2, rows_json=b'[{"n": 4}, {"n": 0}]', places=[3, -1])
    on_none = proto.CommandResult(count=1, rows_json=b'[{"n": 3}]', places=[2])

    result = collect(plan_insert(VIEW, request), {1: [on_one], 0: [on_none]})

    assert result.count == 3
    assert [row["n"] for row in json.loads(result.rows_json)] == [0, 3, 4]
    updated, inserted, skipped = (
        InsertResponse.OUTCOME_UPDATED,
        InsertResponse.OUTCOME_INSERTED,
        InsertResponse.OUTCOME_SKIPPED,
    )
    assert result.outcomes == (updated, skipped, skipped, inserted, inserted)


CLAIMING = SchemaView(
    plan_of(
        table(
            "accounts",
            "@shard_by id",
            column("id"),
            column("username", "text"),
            unique_keys=(
                UniqueKey("accounts_pkey", ("id",), primary=True),
                UniqueKey("accounts_username_key", ("username",)),
            ),
        )
    ),
    SHARDS,
    "a fingerprint",
)


def upsert_of(username: str) -> WritePlan:
    """An upsert of an account by its username."""
    row = {"id": 1, "username": username}
    return plan_insert(CLAIMING, crosskey.insert("accounts", row, on_conflict=crosskey.do_nothing("username")))


LOOKED_UP = frozenset({("public.accounts_username_key", "cosette")})


def violation_of(constraint: str, key: str) -> errors.UniqueViolation:
    """What a shard says of a value that is taken."""
    return errors.UniqueViolation("duplicate key value", constraint=constraint, key=key)


def test_a_given_value_that_others_take_again_and_again_is_a_conflict() -> None:
    lost = lost_race(upsert_of("cosette"), violation_of("accounts_username_key", "cosette"), LOOKED_UP)
    assert lost is not None
    assert lost.for_good() is lost
    assert isinstance(lost, errors.Conflict)
    assert lost.metadata["constraint"] == "accounts_username_key"


def test_a_value_that_a_trigger_made_is_taken_for_good() -> None:
    """It was never looked up, so that running again would not help."""
    lost = lost_race(upsert_of("cosette"), violation_of("accounts_username_key", "COSETTE"), LOOKED_UP)
    assert lost is not None
    refused = lost.for_good()
    assert type(refused) is errors.UniqueViolation
    assert (refused.message, refused.metadata["key"]) == ("duplicate key value", "COSETTE")


def test_a_key_on_which_rows_may_not_conflict_is_no_race() -> None:
    assert lost_race(upsert_of("cosette"), violation_of("accounts_pkey", "1"), LOOKED_UP) is None

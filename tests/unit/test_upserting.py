"""What became of each row of an upsert, put together from what shards answered."""

import json

import crosskey
from crosskey.v1 import shard_node_pb2 as proto
from crosskey.v1.router_pb2 import InsertResponse
from router.write_planning import plan_insert
from router.write_results import collect
from tests.messenger_view import VIEW, user_on


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

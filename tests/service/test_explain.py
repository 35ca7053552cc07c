"""What a request is said to cost is what it costs: Explain against the calls to nodes that are really made."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Request, explanation
from crosskey.router.explaining import AFTER_ANSWER_NOTE, COPIES_NOTE, MORE_PARTICIPANTS_NOTE, PINNED_NOTE, SORT_NOTE
from crosskey.router.router_service import CALLS_KEY
from crosskey.serving.request_id import METADATA_KEY
from crosskey.v1.router_pb2 import ExplainResponse
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.refusals import RawCalls

SHARDS = 3

SCHEMA = """
CREATE TABLE languages (code text PRIMARY KEY, name text);
COMMENT ON TABLE languages IS '@reference';

CREATE TABLE users (id bigint PRIMARY KEY, name text, language text REFERENCES languages);
COMMENT ON TABLE users IS '@shard_by id';

CREATE TABLE follows (
    follower bigint REFERENCES users ON DELETE CASCADE,
    followee bigint REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';

CREATE TABLE notes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    about bigint REFERENCES users ON DELETE SET NULL,
    text text
);
COMMENT ON TABLE notes IS '@shard_by owner';
"""

_new_numbers = [numbers_on(shard) for shard in range(SHARDS)]


class Explained:
    """A cluster whose calls to nodes are counted."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Connects to the router."""
        self.cluster = cluster
        self.calls = RawCalls(cluster.address)
        self._traces = itertools.count()

    def explain(self, request: Request) -> ExplainResponse:
        """The explanation, which costs nothing."""
        response, call = self.calls.router.Explain.with_call(explanation(request))
        assert _node_calls(call) == []
        return response

    def run(self, request: Message) -> list[str]:
        """Carries the request out; answers the calls to nodes that were made for it before its answer."""
        method = type(request).__name__.removesuffix("Request")
        _, call = getattr(self.calls.router, method).with_call(request)
        return _node_calls(call)

    def calls_seen_by_nodes(self, request: Message) -> list[str]:
        """Carries the request out; answers the calls that the nodes themselves have logged for it."""
        trace = f"trace-{next(self._traces)}"
        method = type(request).__name__.removesuffix("Request")
        getattr(self.calls.router, method)(request, metadata=((METADATA_KEY, trace),))
        eventually(lambda: self._logged(trace), "the call is logged")
        return self._logged(trace)

    def user(self, shard: int) -> int:
        """A new user on the shard."""
        number = next(_new_numbers[shard])
        self.run(crosskey.insert("users", {"id": number, "name": f"user {number}"}))
        return number

    def follow(self, follower: int, followee: int) -> None:
        """Makes one user follow another."""
        self.run(crosskey.insert("follows", {"follower": follower, "followee": followee}))

    def _logged(self, trace: str) -> list[str]:
        lines = [
            json.loads(line)
            for node in self.cluster.nodes
            for line in node.log.read_text().splitlines()
            if trace in line
        ]
        return [f"s{line['shard']} ShardNode.{line['method'].rpartition('/')[2]}" for line in lines]


def _node_calls(call: Any) -> list[str]:
    trailer = dict(call.trailing_metadata())[CALLS_KEY]
    return trailer.split(", ") if trailer else []


@pytest.fixture(scope="module")
def explained(fresh_cluster: FreshClusters) -> Iterator[Explained]:
    explained = Explained(fresh_cluster(SCHEMA))
    explained.run(crosskey.insert("languages", [{"code": "fr"}, {"code": "de"}]))
    yield explained
    explained.calls.close()


@pytest.fixture(scope="module")
def users(explained: Explained) -> list[int]:
    """A user on each shard, whom nobody references."""
    return [explained.user(shard) for shard in range(SHARDS)]


def execute(*shards: int) -> list[str]:
    return [f"s{shard} ShardNode.Run" for shard in shards]


def finish(*shards: int) -> list[str]:
    return [f"s{shard} ShardNode.FinishPrepared" for shard in shards]


def participate(*shards: int) -> list[str]:
    return [f"s{shard} ShardNode.Run" for shard in shards]


def check(explained: Explained, request: Request, rpcs: list[str]) -> ExplainResponse:
    """The request is explained as these calls to nodes, and makes just these."""
    explanation = explained.explain(request)
    assert list(explanation.rpcs) == rpcs
    before_answer = [rpc for rpc in rpcs if "Finish" not in rpc] if AFTER_ANSWER_NOTE in explanation.notes else rpcs
    made = explained.run(request)
    assert Counter(made) == Counter(before_answer)
    assert _phases(made) == _phases(before_answer)
    assert {int(rpc[1]) for rpc in made} == set(explanation.shards)
    return explanation


def _phases(rpcs: list[str]) -> list[str]:
    """The methods in order, each once."""
    return list(dict.fromkeys(rpc.rpartition(".")[2] for rpc in rpcs))


# Reads.


def test_a_read_by_key_asks_one_shard(explained: Explained, users: list[int]) -> None:
    for shard, user in enumerate(users):
        check(explained, crosskey.get("users", {"id": user}), [f"s{shard} ShardNode.Read"])
        check(explained, crosskey.count("users", {"id": user}), [f"s{shard} ShardNode.CountRows"])
        check(explained, crosskey.list_rows("notes", {"owner": user}, "text"), [f"s{shard} ShardNode.Read"])


def test_a_read_by_an_id_that_carries_its_slot_asks_one_shard(explained: Explained, users: list[int]) -> None:
    [note] = explained.calls.send(crosskey.insert("notes", {"owner": users[2]})).rows
    check(explained, crosskey.get("notes", {"id": note["id"]}), ["s2 ShardNode.Read"])
    check(explained, crosskey.delete("notes", key={"id": note["id"]}), execute(2))


def test_a_read_of_several_keys_asks_their_shards(explained: Explained, users: list[int]) -> None:
    where = crosskey.in_("id", users[1:])
    check(explained, crosskey.count("users", where), ["s1 ShardNode.CountRows", "s2 ShardNode.CountRows"])


@pytest.mark.usefixtures("users")
def test_a_read_of_all_rows_asks_all_shards(explained: Explained) -> None:
    reads = [f"s{shard} ShardNode.Read" for shard in range(SHARDS)]
    check(explained, crosskey.list_rows("users", order_by=crosskey.desc("id")), reads)
    check(explained, crosskey.count("users"), [f"s{shard} ShardNode.CountRows" for shard in range(SHARDS)])
    by_text = check(explained, crosskey.list_rows("users", order_by="name"), [*reads, "s0 ShardNode.Sort"])
    assert list(by_text.notes) == [SORT_NOTE]


def test_a_read_of_a_reference_table_asks_any_one_shard(explained: Explained) -> None:
    for request in (crosskey.get("languages", {"code": "fr"}), crosskey.list_rows("languages", order_by="name")):
        explanation = explained.explain(request)
        [made] = explained.run(request)
        assert [rpc[2:] for rpc in explanation.rpcs] == [made[2:]]
        assert list(explanation.notes) == [COPIES_NOTE]


# Writes without a reference over shards.


def test_a_write_to_one_shard_is_one_call(explained: Explained) -> None:
    user = next(_new_numbers[1])
    check(explained, crosskey.insert("users", {"id": user, "language": "fr"}), execute(1))
    check(explained, crosskey.insert("follows", {"follower": user, "followee": user}), execute(1))
    check(explained, crosskey.update("users", {"name": "x"}, key={"id": user}), execute(1))
    rows = [{"owner": user, "text": str(number)} for number in range(100)]
    insert, delete = crosskey.insert("notes", rows), crosskey.delete("notes", where={"owner": user})
    check(explained, crosskey.transaction([insert, delete]), execute(1))


def test_a_write_to_several_shards_has_a_home_and_others(explained: Explained, users: list[int]) -> None:
    rows = [{"id": next(_new_numbers[shard])} for shard in (2, 0, 1)]
    check(explained, crosskey.insert("users", rows), [*participate(0, 1, 2), *finish(0, 1)])
    where = crosskey.in_("id", [row["id"] for row in rows[1:]])
    check(explained, crosskey.update("users", {"name": "y"}, where=where), [*participate(0, 1), *finish(1)])
    statements = [crosskey.update("users", {"name": "z"}, key={"id": users[shard]}) for shard in (1, 2)]
    check(explained, crosskey.transaction(statements), [*participate(1, 2), *finish(2)])


def test_an_update_that_moves_a_row_takes_both_shards(explained: Explained) -> None:
    user, moved = explained.user(0), next(_new_numbers[2])
    request = crosskey.update("users", {"id": moved, "name": "x"}, key={"id": user})
    explanation = check(explained, request, [*participate(0, 2), *finish(2)])
    assert (explanation.route, list(explanation.shards)) == ("distributed", [0, 2])
    # What is not there moves nowhere, and the other shard is not asked.
    assert explained.run(request) == participate(0)


def test_a_write_to_a_reference_table_takes_all_shards(explained: Explained) -> None:
    all_shards = [*participate(0, 1, 2), *finish(1, 2)]
    check(explained, crosskey.insert("languages", {"code": "es"}), all_shards)
    check(explained, crosskey.update("languages", {"name": "espagnol"}, key={"code": "es"}), all_shards)
    check(explained, crosskey.delete("languages", key={"code": "es"}), all_shards)


# References over shards.


def note_on(explanation: ExplainResponse, constraint: str) -> str:
    [note] = [key.note for key in explanation.keys if key.constraint == constraint]
    return note


def test_a_first_reference_pins_its_parent_and_a_later_one_is_one_call(explained: Explained) -> None:
    followee, first, second = explained.user(1), explained.user(0), explained.user(0)
    request = crosskey.insert("follows", {"follower": first, "followee": followee})
    explanation = check(explained, request, [*execute(1), *execute(0), *finish(1)])
    assert "of 1 needed, 1 not seen before" in note_on(explanation, "follows_followee_fkey")
    assert note_on(explanation, "follows_follower_fkey") == "PostgreSQL checks it on the row's own shard."
    later = crosskey.insert("follows", {"follower": second, "followee": followee})
    explanation = check(explained, later, execute(0))
    assert "all seen before: no other shard is asked" in note_on(explanation, "follows_followee_fkey")


def test_nodes_see_one_call_for_a_later_reference(explained: Explained) -> None:
    owner, about = explained.user(2), explained.user(1)
    explained.run(crosskey.insert("notes", {"owner": owner, "about": about}))
    rows = [{"owner": owner, "about": about} for _ in range(100)]
    for later in (
        crosskey.insert("notes", rows),
        crosskey.update("notes", {"about": about}, where={"owner": owner}),
        crosskey.transaction([crosskey.insert("notes", rows), crosskey.insert("notes", rows)]),
    ):
        check(explained, later, execute(2))
        assert explained.calls_seen_by_nodes(later) == ["s2 ShardNode.run"]


def test_first_references_to_many_parents_are_one_call_a_shard(explained: Explained) -> None:
    owner = explained.user(0)
    parents = [explained.user(shard) for shard in (1, 1, 2, 2, 2, 0)]
    request = crosskey.insert("notes", [{"owner": owner, "about": parent} for parent in parents])
    explanation = check(explained, request, [*execute(1, 2), *execute(0), *finish(1, 2)])
    assert "of 6 needed, 6 not seen before" in note_on(explanation, "notes_about_fkey")
    check(explained, request, execute(0))


def test_an_update_to_a_parent_not_seen_before_pins_it(explained: Explained) -> None:
    owner, about = explained.user(2), explained.user(0)
    explained.run(crosskey.insert("notes", {"owner": owner}))
    request = crosskey.update("notes", {"about": about}, where={"owner": owner})
    check(explained, request, [*execute(0), *execute(2), *finish(0)])
    check(explained, request, execute(2))


def test_no_parent_is_asked_where_none_is_named(explained: Explained) -> None:
    request = crosskey.insert("notes", {"owner": explained.user(0), "about": None})
    explanation = check(explained, request, execute(0))
    assert note_on(explanation, "notes_about_fkey") == "The request names no parent: there is nothing to check."


def test_writes_to_several_shards_say_who_may_join(explained: Explained) -> None:
    owners, about = [explained.user(shard) for shard in (0, 1)], explained.user(2)
    request = crosskey.insert("notes", [{"owner": owner, "about": about} for owner in owners])
    explanation = explained.explain(request)
    assert list(explanation.rpcs) == [*participate(0, 1), *finish(1)]
    assert MORE_PARTICIPANTS_NOTE in explanation.notes
    assert Counter(explained.run(request)) == Counter([*participate(0, 1, 2), *finish(1, 2)])
    check(explained, request, [*participate(0, 1), *finish(1)])


# Parents that go.


def test_the_delete_of_a_row_without_pins_is_one_call(explained: Explained) -> None:
    user = explained.user(1)
    explanation = check(explained, crosskey.delete("users", key={"id": user}), execute(1))
    assert PINNED_NOTE in explanation.notes
    assert {(key.constraint, key.kind) for key in explanation.keys} == {
        ("follows_follower_fkey", "local"),
        ("follows_followee_fkey", "cross-shard"),
        ("notes_owner_fkey", "local"),
        ("notes_about_fkey", "cross-shard"),
    }


def test_the_delete_of_a_pinned_row_visits_only_the_shards_that_hold_pins(explained: Explained) -> None:
    followee = explained.user(1)
    explained.follow(explained.user(2), followee)
    request = crosskey.delete("users", key={"id": followee})
    explanation = explained.explain(request)
    assert list(explanation.rpcs) == execute(1)
    assert PINNED_NOTE in explanation.notes
    assert Counter(explained.run(request)) == Counter([*execute(1), *participate(2), *finish(2)])


def test_to_explain_teaches_nothing(explained: Explained) -> None:
    follower = explained.user(0)
    request = crosskey.insert("follows", {"follower": follower, "followee": explained.user(1)})
    assert explained.explain(request) == explained.explain(request)
    assert explained.calls.send(crosskey.count("follows", {"follower": follower})).count == 0
    check(explained, request, [*execute(1), *execute(0), *finish(1)])

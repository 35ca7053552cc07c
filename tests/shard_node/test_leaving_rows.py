"""A row that is to leave its shard is locked before it is changed: PostgreSQL forgets locks on versions rolled back."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
import pytest

import crosskey
from crosskey import Client
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.internal.v1.effects_pb2 import Effect, TakeOutDisplaced
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandCoordinator, apply, update
from tests.hot_keys.anchored_rows import ANCHORED_SCHEMA
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import as_node, query, wait_for_waiters

HERE, ELSEWHERE, _ = range(SHARDS)
ROUNDS = 20
"""Who goes on first after a rollback is up to PostgreSQL: in every second round or so it is who moves the row."""

_AS_A_NODE: LiteralString = """
SET application_name = 'crosskey'; SET LOCAL crosskey.coordinated = 'on'; SET CONSTRAINTS ALL DEFERRED
"""


@dataclass(frozen=True)
class Departure:
    """A row of a table that is to leave shard HERE by a change, and how a child of it comes."""

    change: LiteralString
    lock: LiteralString
    arrive: LiteralString
    row: int
    value: int
    begin: LiteralString = "BEGIN"

    def leave(self, connection: psycopg.Connection) -> None:
        """Does what is done on the shard of a row that moves, up to the lock that it is taken out under."""
        connection.execute(self.change, (self.value, self.row))
        connection.execute(self.lock, (self.row,))

    def come(self, connection: psycopg.Connection, child: int) -> None:
        """Inserts a child, and has its foreign key checked."""
        connection.execute(self.arrive, (self.row, child))
        connection.execute("DELETE FROM crosskey.effect")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(ANCHORED_SCHEMA)


@pytest.fixture(scope="module")
def numbers() -> list[Iterator[int]]:
    """Those that live on each shard."""
    return [numbers_on(shard) for shard in range(SHARDS)]


@pytest.fixture(scope="module")
def media(cluster: LocalCluster, numbers: list[Iterator[int]]) -> list[int]:
    """One on each shard."""
    media = [{"id": next(here), "owner_id": next(here)} for here in numbers]
    with Client(cluster.address) as client:
        client.insert("media", media)
    return [one["id"] for one in media]


@pytest.fixture
def media_leaves(media: list[int], numbers: list[Iterator[int]]) -> Departure:
    """Media that gets another owner, and comments."""
    return Departure(
        change="UPDATE media SET owner_id = %s WHERE id = %s",
        lock="SELECT FROM media WHERE id = %s FOR UPDATE",
        arrive="INSERT INTO comments (media_id, id) VALUES (%s, %s)",
        row=media[HERE],
        value=next(numbers[ELSEWHERE]),
    )


@pytest.fixture
def comment_leaves(cluster: LocalCluster, media: list[int], numbers: list[Iterator[int]]) -> Departure:
    """A comment that is put under other media, and likes."""
    comment = next(numbers[HERE])
    with Client(cluster.address) as client:
        client.insert("comments", {"id": comment, "media_id": media[HERE]})
    return Departure(
        change="UPDATE comments SET media_id = %s WHERE id = %s",
        lock="SELECT FROM comments WHERE id = %s FOR UPDATE",
        arrive="INSERT INTO likes (comment_id, user_id) VALUES (%s, %s)",
        row=comment,
        value=media[ELSEWHERE],
    )


@pytest.fixture
def comment_is_taken_along(comment_leaves: Departure) -> Departure:
    """A comment of media that leave, which was changed before in a transaction that locks early."""
    return replace(
        comment_leaves,
        change="UPDATE comments SET note = %s::text WHERE id = %s",
        begin="BEGIN; SET LOCAL crosskey.lock_early = 'on'",
    )


@pytest.mark.parametrize("leaving_row", ["media_leaves", "comment_leaves", "comment_is_taken_along"])
def test_a_child_and_who_moves_its_parent_wait_for_each_other(
    cluster: LocalCluster, numbers: list[Iterator[int]], leaving_row: str, request: pytest.FixtureRequest
) -> None:
    departure: Departure = request.getfixturevalue(leaving_row)
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            gives_up, leaves, comes = (stack.enter_context(as_node(cluster, HERE)) for _ in range(3))
            threads = stack.enter_context(ThreadPoolExecutor())
            for connection in (gives_up, leaves, comes):
                connection.execute(departure.begin)
                connection.execute(_AS_A_NODE)
            departure.leave(gives_up)
            leaving = threads.submit(departure.leave, leaves)
            wait_for_waiters(cluster, HERE)
            coming = threads.submit(departure.come, comes, next(numbers[HERE]))
            wait_for_waiters(cluster, HERE, 2)
            gives_up.execute("ROLLBACK")
            wait({leaving, coming}, return_when=FIRST_COMPLETED)
            # Did both, the child would be committed while its parent leaves without it.
            wait_for_waiters(cluster, HERE)
            first, second = (leaves, comes) if leaving.done() else (comes, leaves)
            first.execute("ROLLBACK")
            leaving.result()
            coming.result()
            second.execute("ROLLBACK")


def test_rows_that_were_changed_without_a_lock_are_not_taken_out(
    cluster: LocalCluster, media: list[int], comment_leaves: Departure, numbers: list[Iterator[int]]
) -> None:
    take_out = apply(Effect(take_out_displaced=TakeOutDisplaced()))
    commands = [
        update("comments", {"note": "new"}, id=comment_leaves.row),
        update("media", {"owner_id": next(numbers[ELSEWHERE])}, id=media[HERE]),
        take_out,
    ]
    hand = HandCoordinator(cluster)
    with hand.branch(HERE) as late:
        *_, result = late.run(*commands)
        assert [effect.WhichOneof("effect") for effect in result.effects] == ["locked_too_late"]
    with hand.branch(HERE) as early:
        *_, result = early.run(proto.Command(lock_early=proto.LockEarly()), *commands)
        assert "place_rows" in [effect.WhichOneof("effect") for effect in result.effects]
    hand.close()


def test_a_row_that_was_changed_before_is_taken_along(cluster: LocalCluster, numbers: list[Iterator[int]]) -> None:
    media, comment, owner = next(numbers[HERE]), next(numbers[HERE]), next(numbers[ELSEWHERE])
    with Client(cluster.address) as client:
        client.insert("media", {"id": media, "owner_id": next(numbers[HERE])})
        client.insert("comments", {"id": comment, "media_id": media})
        client.transact(
            [
                crosskey.update("comments", {"note": "new"}, key={"id": comment}),
                crosskey.update("media", {"owner_id": owner}, key={"id": media}),
            ]
        )
        assert client.get("comments", id=comment)["note"] == "new"
        assert query(cluster, ELSEWHERE, "SELECT media_id, note FROM comments WHERE id = %s", comment) == [
            (media, "new")
        ]
        assert client.audit() == []

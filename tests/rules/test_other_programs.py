"""Transactions that other programs prepared on a shard's server are none of a cluster's: nobody here touches them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2, recovery_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.gids import Gid
from tests.hand_coordinator import HandCoordinator, insert
from tests.numbers_on_shards import numbers_on
from tests.rules.setting import Setting
from tests.shard_sql import as_node, query

SHARD = 1
KEY = next(itertools.islice(numbers_on(SHARD), 10_000, None))
"""Of a counter that no other test makes."""
ID = "0" * 32


def gids_of_others(cluster: str) -> list[str]:
    """Names that are none of this cluster's on this shard, however near."""
    ours = Gid.new(cluster, SHARD)
    return [
        "theirs",
        "it's theirs",
        f"crosskey:{cluster}x:{SHARD}:{ID}:{SHARD}",
        f"crosskey:{cluster.replace('_', '.')}:{SHARD}:{ID}:{SHARD}",
        f"crosskey:{cluster}:{SHARD}:{ID}:0",
        f"crosskey:{cluster}:99:{ID}:{SHARD}",
        f"crosskey:{cluster}:-1:{ID}:{SHARD}",
        f"crosskey:{cluster}:x:y:{SHARD}",
        f"crosskey:{cluster}:{SHARD}:{ID}",
        f"{ours.branch(SHARD)}:{SHARD}",
        f"x{ours.branch(SHARD)}",
        f"{ours.branch(SHARD)}\n",
        str(ours),
        "",
    ]


@pytest.fixture(scope="module", autouse=True)
def theirs(setting: Setting) -> Iterator[list[str]]:
    """What is prepared on the shard by others, in the name of the node's own role."""
    gids = [gid for gid in gids_of_others(setting.hand.cluster_name) if gid]
    with as_node(setting.cluster, SHARD) as connection:
        for gid in gids:
            connection.execute("BEGIN; SELECT pg_current_xact_id()")
            connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))
    yield gids
    with as_node(setting.cluster, SHARD) as connection:
        for gid in gids:
            connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def state(setting: Setting) -> tuple[list[tuple[object, ...]], ...]:
    """What is prepared, what is decided, and the counter that nobody may write."""
    return (
        query(
            setting.cluster, SHARD, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1"
        ),
        query(
            setting.cluster, SHARD, "SELECT gid, committed FROM crosskey.decision WHERE gid !~ '^crosskey:.*:1:[^0]'"
        ),
        query(setting.cluster, SHARD, "SELECT count(*) FROM counters WHERE value = -1"),
    )


def write() -> proto.Command:
    return insert("counters", {"id": KEY, "value": -1})


def finish(node: HandCoordinator, gid: str, *, commit: bool) -> None:
    node.shared(SHARD).call(finish_prepared=recovery_pb2.FinishPreparedRequest(gids=[gid], commit=commit))


CALLS: list[Callable[[HandCoordinator, str], object]] = [
    lambda node, gid: finish(node, gid, commit=True),
    lambda node, gid: finish(node, gid, commit=False),
    lambda node, gid: node.execute(SHARD, write(), proto.Command(prepare=proto.Prepare(gid=gid))),
]
CALLS_OF_HOME: list[Callable[[HandCoordinator, str], object]] = [
    lambda node, gid: node.shared(SHARD).call(decide=recovery_pb2.DecideRequest(gids=[gid])),
    lambda node, gid: node.shared(SHARD).call(forget_decisions=recovery_pb2.ForgetDecisionsRequest(gids=[gid])),
    lambda node, gid: node.execute(SHARD, write(), proto.Command(commit=proto.Commit(decision_gid=gid))),
]


def refused(call: Callable[[HandCoordinator, str], object], node: HandCoordinator, gid: str) -> bool:
    try:
        call(node, gid)
    except errors.InvalidRequest:
        return True
    return False


def test_what_others_prepared_is_neither_listed_nor_finished(setting: Setting, theirs: list[str]) -> None:
    before = state(setting)
    request = maintenance_pb2.ListPreparedRequest(shard=SHARD)
    response = setting.hand.maintenance[SHARD].ListPrepared(request, timeout=30)
    assert {found.gid for found in response.transactions}.isdisjoint(theirs)
    assert {found.gid for found in setting.client.list_in_doubt().transactions}.isdisjoint(theirs)
    assert [gid for gid in theirs for call in CALLS[:2] if not refused(call, setting.hand, gid)] == []
    assert state(setting) == before


def test_only_names_of_this_shard_and_cluster_are_taken(setting: Setting) -> None:
    before = state(setting)
    cluster = setting.hand.cluster_name
    others = gids_of_others(cluster)
    assert [gid for gid in others for call in CALLS if not refused(call, setting.hand, gid)] == []
    of_other_homes = [
        str(Gid.new(cluster, 0)),
        str(Gid.new(f"{cluster}x", SHARD)),
        Gid.new(cluster, SHARD).branch(0),
    ]
    homes = [gid for gid in (*others, *of_other_homes) if not gid or not _is_decision(cluster, gid)]
    assert [
        gid
        for gid in homes
        for call in CALLS_OF_HOME
        if not (gid == "" and call is CALLS_OF_HOME[2]) and not refused(call, setting.hand, gid)
    ] == []
    assert state(setting) == before


def _is_decision(cluster: str, gid: str) -> bool:
    """Whether it names a transaction whose home is the shard."""
    return gid.startswith(f"crosskey:{cluster}:{SHARD}:") and gid.count(":") == 3

"""Rows that live with a parent which only a claim finds: what they cost, and that no race parts them or loses one."""

from collections import Counter
from collections.abc import Iterator
from itertools import count
from time import monotonic

import grpc
import pytest

from crosskey import AsyncClient, Client, requests
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import router_pb2
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.anchored_rows import ANCHORED_SCHEMA, lost_rows, rows_apart, run_anchored_clients
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.running_cluster import RunningCluster
from tests.shard_sql import prepared, query

pytestmark = pytest.mark.searches

SECONDS = 4.0
MEDIA_SHARD, CLAIM_SHARD, OTHER_SHARD = range(SHARDS)

_numbers = [numbers_on(shard) for shard in range(SHARDS)]
_everybody = count(10**8)


class Anchoring(RunningCluster):
    """A cluster with two routers, and a client."""

    def media(self, shard: int = MEDIA_SHARD) -> int:
        """Inserts a media that lives on the shard, and waits until its claim, on CLAIM_SHARD, can be seen."""
        media = next(_numbers[CLAIM_SHARD])
        self.client.insert("media", {"id": media, "owner_id": next(_numbers[shard])})
        self.wait_until_none_in_doubt()
        return media


@pytest.fixture(scope="module")
def anchoring(fresh_cluster: FreshClusters) -> Iterator[Anchoring]:
    """The cluster of this module."""
    cluster = fresh_cluster(ANCHORED_SCHEMA, routers=2, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "400"})
    with Client(cluster.address) as client:
        yield Anchoring(cluster, client)


def test_an_insert_asks_for_its_parents_once_and_goes_to_them(anchoring: Anchoring) -> None:
    media = anchoring.media()
    rows = [{"id": next(_numbers[MEDIA_SHARD]), "media_id": media} for _ in range(5)]
    assert anchoring.node_calls(requests.insert("comments", rows)) == [
        f"s{CLAIM_SHARD} ShardNode.FindClaims",
        f"s{MEDIA_SHARD} ShardNode.Run",
    ]


def test_a_parent_is_found_before_its_claim_can_be_read(anchoring: Anchoring) -> None:
    media, owner = next(_numbers[CLAIM_SHARD]), next(_numbers[OTHER_SHARD])
    anchoring.calls.router.Insert(requests.insert("media", {"id": media, "owner_id": owner}))
    calls = anchoring.node_calls(requests.insert("comments", {"id": next(_numbers[OTHER_SHARD]), "media_id": media}))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{OTHER_SHARD} ShardNode.Run"]


def test_many_parents_are_asked_for_by_shard_and_not_by_row(anchoring: Anchoring) -> None:
    media = [anchoring.media(shard) for shard in (0, 1, 2, 0)]
    rows = [{"id": next(_numbers[MEDIA_SHARD]), "media_id": media[n % 4]} for n in range(20)]
    calls = anchoring.node_calls(requests.insert("comments", rows))
    assert calls.count(f"s{CLAIM_SHARD} ShardNode.FindClaims") == 1
    assert sum("FindClaims" in call for call in calls) == 1


def test_other_tables_ask_for_nothing(anchoring: Anchoring) -> None:
    number = next(_numbers[MEDIA_SHARD])
    calls = anchoring.node_calls(requests.insert("media", {"id": number, "owner_id": number}))
    assert calls == [f"s{MEDIA_SHARD} ShardNode.Run"]


def test_a_read_by_parent_goes_to_its_shard(anchoring: Anchoring) -> None:
    media = anchoring.media()
    anchoring.client.insert("comments", {"id": next(_numbers[MEDIA_SHARD]), "media_id": media})
    calls = anchoring.node_calls(requests.list_rows("comments", {"media_id": media}))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{MEDIA_SHARD} ShardNode.Read"]


def test_explain_tells_of_the_question(anchoring: Anchoring) -> None:
    media = anchoring.media()
    request = requests.insert("comments", {"id": 1, "media_id": media})
    told = anchoring.client.explain(request)
    assert told.rpcs[0] == f"s{CLAIM_SHARD} ShardNode.FindClaims"
    assert any("named here are examples" in note for note in told.notes)


def test_a_load_puts_rows_beside_their_parents(anchoring: Anchoring) -> None:
    media = [anchoring.media(shard) for shard in range(SHARDS)]
    comments = [next(_everybody) for _ in range(3 * SHARDS)]
    lines = b"".join(b"%d\t%d\n" % (comment, media[n % SHARDS]) for n, comment in enumerate(comments))
    likes = b"".join(b"%d\t1\n" % comment for comment in comments)
    messages = [
        router_pb2.LoadRequest(table="comments", columns=["id", "media_id"], lines=lines),
        router_pb2.LoadRequest(table="likes", columns=["comment_id", "user_id"], lines=likes),
    ]
    answer = anchoring.calls.router.Load(iter(messages))
    assert answer.count == 2 * len(comments)
    for shard in range(SHARDS):
        statement = "SELECT count(*) FROM comments JOIN likes ON comment_id = id WHERE media_id = %s"
        assert query(anchoring.cluster, shard, statement, media[shard]) == [(3,)]


def test_a_load_of_rows_without_a_parent(anchoring: Anchoring) -> None:
    lines = b"%d\t%d\n" % (next(_everybody), next(_everybody))
    messages = [router_pb2.LoadRequest(table="comments", columns=["id", "media_id"], lines=lines)]
    with pytest.raises(grpc.RpcError, match="comments_media_id_fkey"):
        anchoring.calls.router.Load(iter(messages))


async def test_no_child_is_lost_or_refused_while_its_parent_moves(anchoring: Anchoring) -> None:
    """Parents never go, so whatever a client inserts must be there, and nobody is told that there is no parent."""
    media = [anchoring.media(shard % SHARDS) for shard in range(4)]
    seconds, seed = run_seconds(SECONDS), run_seed()
    runs = await run_anchored_clients(anchoring.cluster, media, monotonic() + seconds, seed)
    say(f"{sum((run.done for run in runs), Counter())}")
    assert [error for run in runs for error in run.refused] == []
    assert lost_rows(anchoring.cluster, runs) == []
    await _check(anchoring.cluster)


async def test_no_orphan_is_left_while_parents_go_and_come(anchoring: Anchoring) -> None:
    media = [anchoring.media(shard % SHARDS) for shard in range(4)]
    seconds, seed = run_seconds(SECONDS), run_seed()
    runs = await run_anchored_clients(anchoring.cluster, media, monotonic() + seconds, seed, deletes=True)
    say(f"{sum((run.done for run in runs), Counter())}")
    await _check(anchoring.cluster)


async def _check(cluster: LocalCluster) -> None:
    """Nothing is left open, the audit finds nothing, and every row is beside its parent."""
    async with AsyncClient(cluster.address, timeout=60) as client:
        assert await client.audit() == []
    assert prepared(cluster) == []
    assert rows_apart(cluster) == 0

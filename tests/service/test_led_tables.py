"""Rows that live with a parent which only a claim finds: what they cost, and that no race parts them or loses one."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any

import grpc
import pytest

from crosskey import AsyncClient, Client, ForeignKeyViolation, RowNotFound, errors, requests
from crosskey.v1 import router_pb2
from crosskey_cli.cluster import LocalCluster
from router.router_service import CALLS_KEY
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.refusals import RawCalls
from tests.shard_sql import prepared, query, query_all

SCHEMA = """
CREATE TABLE media (id bigint PRIMARY KEY, owner_id bigint NOT NULL);
COMMENT ON TABLE media IS '@shard_by owner_id';
CREATE TABLE comments (
    id bigint PRIMARY KEY,
    media_id bigint NOT NULL REFERENCES media ON DELETE CASCADE,
    note text
);
COMMENT ON TABLE comments IS '@shard_with media_id';
CREATE TABLE likes (
    comment_id bigint REFERENCES comments ON DELETE CASCADE,
    user_id bigint,
    note integer,
    PRIMARY KEY (comment_id, user_id)
);
COMMENT ON TABLE likes IS '@shard_with comment_id';
"""

CLIENTS = 10
SECONDS = 4.0
MEDIA_SHARD, CLAIM_SHARD, OTHER_SHARD = range(SHARDS)

_numbers = [numbers_on(shard) for shard in range(SHARDS)]
_everybody = count(10**9)


class Leading:
    """A cluster with two routers, and a client."""

    def __init__(self, cluster: LocalCluster, client: Client) -> None:
        self.cluster = cluster
        self.client = client
        self.calls = RawCalls(cluster.address)

    def node_calls(self, request: Any) -> list[str]:
        """The calls to nodes that a request takes before its answer."""
        method = type(request).__name__.removesuffix("Request")
        _, call = getattr(self.calls.router, method).with_call(request)
        trailer: str = dict(call.trailing_metadata())[CALLS_KEY]
        return trailer.split(", ")

    def media(self, shard: int = MEDIA_SHARD) -> int:
        """Inserts a media that lives on the shard, and waits until its claim, on CLAIM_SHARD, can be seen."""
        media = next(_numbers[CLAIM_SHARD])
        self.client.insert("media", {"id": media, "owner_id": next(_numbers[shard])})
        eventually(lambda: not prepared(self.cluster), "nothing is prepared any more")
        return media


@pytest.fixture(scope="module")
def leading(fresh_cluster: FreshClusters) -> Iterator[Leading]:
    """The cluster of this module."""
    cluster = fresh_cluster(SCHEMA, routers=2, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "400"})
    with Client(cluster.address) as client:
        yield Leading(cluster, client)


def test_an_insert_asks_for_its_parents_once_and_goes_to_them(leading: Leading) -> None:
    media = leading.media()
    rows = [{"id": next(_numbers[MEDIA_SHARD]), "media_id": media} for _ in range(5)]
    assert leading.node_calls(requests.insert("comments", rows)) == [
        f"s{CLAIM_SHARD} ShardNode.FindClaims",
        f"s{MEDIA_SHARD} ShardNode.Execute",
    ]


def test_a_parent_is_found_before_its_claim_can_be_read(leading: Leading) -> None:
    media, owner = next(_numbers[CLAIM_SHARD]), next(_numbers[OTHER_SHARD])
    leading.calls.router.Insert(requests.insert("media", {"id": media, "owner_id": owner}))
    calls = leading.node_calls(requests.insert("comments", {"id": next(_numbers[OTHER_SHARD]), "media_id": media}))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{OTHER_SHARD} ShardNode.Execute"]


def test_many_parents_are_asked_for_by_shard_and_not_by_row(leading: Leading) -> None:
    media = [leading.media(shard) for shard in (0, 1, 2, 0)]
    rows = [{"id": next(_numbers[MEDIA_SHARD]), "media_id": media[n % 4]} for n in range(20)]
    calls = leading.node_calls(requests.insert("comments", rows))
    assert calls.count(f"s{CLAIM_SHARD} ShardNode.FindClaims") == 1
    assert sum("FindClaims" in call for call in calls) == 1


def test_other_tables_ask_for_nothing(leading: Leading) -> None:
    number = next(_numbers[MEDIA_SHARD])
    calls = leading.node_calls(requests.insert("media", {"id": number, "owner_id": number}))
    assert calls == [f"s{MEDIA_SHARD} ShardNode.Execute"]


def test_a_read_by_parent_goes_to_its_shard(leading: Leading) -> None:
    media = leading.media()
    leading.client.insert("comments", {"id": next(_numbers[MEDIA_SHARD]), "media_id": media})
    calls = leading.node_calls(requests.list_rows("comments", {"media_id": media}))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{MEDIA_SHARD} ShardNode.Read"]


def test_explain_tells_of_the_question(leading: Leading) -> None:
    media = leading.media()
    request = requests.insert("comments", {"id": 1, "media_id": media})
    told = leading.client.explain(request)
    assert told.rpcs[0] == f"s{CLAIM_SHARD} ShardNode.FindClaims"
    assert any("named here are examples" in note for note in told.notes)


def test_a_load_puts_rows_beside_their_parents(leading: Leading) -> None:
    media = [leading.media(shard) for shard in range(SHARDS)]
    comments = [next(_everybody) for _ in range(3 * SHARDS)]
    lines = b"".join(b"%d\t%d\n" % (comment, media[n % SHARDS]) for n, comment in enumerate(comments))
    likes = b"".join(b"%d\t1\n" % comment for comment in comments)
    messages = [
        router_pb2.LoadRequest(table="comments", columns=["id", "media_id"], lines=lines),
        router_pb2.LoadRequest(table="likes", columns=["comment_id", "user_id"], lines=likes),
    ]
    answer = leading.calls.router.Load(iter(messages))
    assert answer.count == 2 * len(comments)
    for shard in range(SHARDS):
        statement = "SELECT count(*) FROM comments JOIN likes ON comment_id = id WHERE media_id = %s"
        assert query(leading.cluster, shard, statement, media[shard]) == [(3,)]


def test_a_load_of_rows_without_a_parent(leading: Leading) -> None:
    lines = b"%d\t%d\n" % (next(_everybody), next(_everybody))
    messages = [router_pb2.LoadRequest(table="comments", columns=["id", "media_id"], lines=lines)]
    with pytest.raises(grpc.RpcError, match="comments_media_id_fkey"):
        leading.calls.router.Load(iter(messages))


async def test_no_child_is_lost_or_refused_while_its_parent_moves(leading: Leading) -> None:
    """Parents never go, so whatever a client inserts must be there, and nobody is told that there is no parent."""
    media = [leading.media(shard % SHARDS) for shard in range(4)]
    seconds, seed = run_seconds(SECONDS), run_seed()
    deadline = monotonic() + seconds
    runs = [_Run(media, random.Random(seed + number), deletes=False) for number in range(CLIENTS)]
    await _run_all(leading.cluster, runs, deadline)
    comments = {comment for run in runs for comment in run.comments}
    likes = {(*like, note) for run in runs for like, note in run.likes.items()}
    say(f"{sum((run.done for run in runs), Counter())}")
    assert [error for run in runs for error in run.refused] == []
    assert {row[0] for row in query_all(leading.cluster, "SELECT id FROM comments")} >= comments
    everybody = min((like[1] for like in likes), default=0)
    statement = "SELECT comment_id, user_id, note FROM likes WHERE user_id >= %s AND comment_id >= %s"
    first = min((like[0] for like in likes), default=0)
    assert set(query_all(leading.cluster, statement, everybody, first)) == likes
    await _check(leading.cluster)


async def test_no_orphan_is_left_while_parents_go_and_come(leading: Leading) -> None:
    media = [leading.media(shard % SHARDS) for shard in range(4)]
    seconds, seed = run_seconds(SECONDS), run_seed()
    deadline = monotonic() + seconds
    runs = [_Run(media, random.Random(seed + number), deletes=True) for number in range(CLIENTS)]
    await _run_all(leading.cluster, runs, deadline)
    say(f"{sum((run.done for run in runs), Counter())}")
    await _check(leading.cluster)


async def _run_all(cluster: LocalCluster, runs: Sequence["_Run"], deadline: float) -> None:
    async with asyncio.TaskGroup() as group:
        for number, run in enumerate(runs):
            router = cluster.routers[number % len(cluster.routers)]
            group.create_task(run.until(router.address, deadline))


class _Run:
    """What one client does with a few media."""

    def __init__(self, media: Sequence[int], choices: random.Random, *, deletes: bool) -> None:
        self._media = media
        self._choices = choices
        self._deletes = deletes
        self.comments: list[int] = []
        self.likes: dict[tuple[int, int], int] = {}
        self.refused: list[str] = []
        self.done: Counter[str] = Counter()

    async def until(self, address: str, deadline: float) -> None:
        """Does one thing after another."""
        acts = [self._comment, self._comment, self._comments, self._like, self._like, self._move, self._change]
        acts += [self._note, self._note, self._unlike]
        acts += [self._delete, self._insert] if self._deletes else []
        async with AsyncClient(address) as client:
            while monotonic() < deadline:
                act = self._choices.choice(acts)
                try:
                    await act(client)
                    self.done[act.__name__] += 1
                except (errors.Conflict, errors.UniqueViolation) as error:
                    self.done[type(error).__name__] += 1
                except ForeignKeyViolation as error:
                    self.refused.append(f"{act.__name__}: {error.message} {error.metadata}")
                    self.done["refused"] += 1

    def _one(self) -> int:
        return self._choices.choice(self._media)

    async def _comment(self, client: AsyncClient) -> None:
        row = {"id": next(_everybody), "media_id": self._one()}
        await client.insert("comments", row)
        self.comments.append(row["id"])

    async def _comments(self, client: AsyncClient) -> None:
        rows = [{"id": next(_everybody), "media_id": media} for media in self._media]
        await client.insert("comments", rows)
        self.comments += [row["id"] for row in rows]

    async def _like(self, client: AsyncClient) -> None:
        if self.comments:
            like = self._choices.choice(self.comments), next(_everybody)
            await client.insert("likes", {"comment_id": like[0], "user_id": like[1], "note": 0})
            self.likes[like] = 0

    async def _note(self, client: AsyncClient) -> None:
        if self.likes:
            like = self._choices.choice([*self.likes])
            note = self.likes[like] + 1
            found = await client.update("likes", {"note": note}, key={"comment_id": like[0], "user_id": like[1]})
            self.likes[like] = note if found else self._gone(like)

    async def _unlike(self, client: AsyncClient) -> None:
        if self.likes:
            like = self._choices.choice([*self.likes])
            if not await client.delete("likes", key={"comment_id": like[0], "user_id": like[1]}):
                self._gone(like)
            del self.likes[like]

    def _gone(self, like: tuple[int, int]) -> int:
        if not self._deletes:
            self.refused.append(f"the like {like} is gone")
        return -1

    async def _move(self, client: AsyncClient) -> None:
        with suppress(RowNotFound):
            await client.update("media", {"owner_id": next(_everybody)}, key={"id": self._one()})

    async def _change(self, client: AsyncClient) -> None:
        if self.comments:
            comment = self._choices.choice(self.comments)
            found = await client.update("comments", {"media_id": self._one()}, key={"id": comment})
            if not found and not self._deletes:
                self.refused.append(f"the comment {comment} is gone")

    async def _delete(self, client: AsyncClient) -> None:
        await client.delete("media", key={"id": self._one()})

    async def _insert(self, client: AsyncClient) -> None:
        await client.insert("media", {"id": self._one(), "owner_id": next(_everybody)})


async def _check(cluster: LocalCluster) -> None:
    """Nothing is left open, the audit finds nothing, and every row is beside its parent."""
    async with AsyncClient(cluster.address, timeout=60) as client:
        assert await client.audit() == []
    assert prepared(cluster) == []
    apart = (
        "SELECT count(*) FROM comments c WHERE NOT EXISTS (SELECT FROM media m WHERE m.id = c.media_id)",
        "SELECT count(*) FROM likes l WHERE NOT EXISTS (SELECT FROM comments c WHERE c.id = l.comment_id)",
    )
    assert [query(cluster, shard, one) for shard in range(SHARDS) for one in apart] == [[(0,)]] * (2 * SHARDS)

"""Clients that write rows which live with a few parents, while these move from shard to shard."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import count
from time import monotonic
from typing import TypeAlias

from crosskey import AsyncClient, CrosskeyError, ForeignKeyViolation, UniqueViolation, errors
from crosskey.local_cluster.cluster import LocalCluster
from tests.shard_sql import query, query_all

ANCHORED_SCHEMA = """
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
PAUSE_SECONDS = 0.05

Like: TypeAlias = tuple[int, int]

_everybody = count(10**9)

_APART = (
    "SELECT count(*) FROM comments c WHERE NOT EXISTS (SELECT FROM media m WHERE m.id = c.media_id)",
    "SELECT count(*) FROM likes l WHERE NOT EXISTS (SELECT FROM comments c WHERE c.id = l.comment_id)",
)


class AnchoredRun:
    """What one client does with a few media, and what it knows to be there.

    Parents never go, unless it `deletes` them.
    """

    def __init__(self, media: Sequence[int], choices: random.Random, *, deletes: bool = False) -> None:
        self._media = media
        self._choices = choices
        self._deletes = deletes
        self.comments: list[int] = []
        self.likes: dict[Like, int] = {}
        self.unliked: set[Like] = set()
        self.refused: list[str] = []
        """What must not be said of rows whose parents never go."""
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
                except (ForeignKeyViolation, errors.NotSupported) as error:
                    self.refused.append(f"{act.__name__}: {error.message} {error.metadata}")
                    self.done["refused"] += 1
                except (errors.Conflict, UniqueViolation) as error:
                    self.done[type(error).__name__] += 1
                except CrosskeyError as error:
                    # A server is down.
                    self.done[type(error).__name__] += 1
                    await asyncio.sleep(PAUSE_SECONDS)

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
            # Forgotten until it is known again what is there.
            note = self.likes.pop(like)
            try:
                found = await client.update("likes", {"note": note + 1}, key=_key_of(like))
            except errors.Conflict:
                self.likes[like] = note
                raise
            self._expect(bool(found), f"the like {like}")
            self.likes[like] = note + 1

    async def _unlike(self, client: AsyncClient) -> None:
        if self.likes:
            like = self._choices.choice([*self.likes])
            note = self.likes.pop(like)
            try:
                found = await client.delete("likes", key=_key_of(like))
            except errors.Conflict:
                self.likes[like] = note
                raise
            self._expect(bool(found), f"the like {like}")
            self.unliked.add(like)

    async def _move(self, client: AsyncClient) -> None:
        await client.update("media", {"owner_id": next(_everybody)}, key={"id": self._one()})

    async def _change(self, client: AsyncClient) -> None:
        if self.comments:
            comment = self._choices.choice(self.comments)
            found = await client.update("comments", {"media_id": self._one()}, key={"id": comment})
            self._expect(bool(found), f"the comment {comment}")

    async def _delete(self, client: AsyncClient) -> None:
        await client.delete("media", key={"id": self._one()})

    async def _insert(self, client: AsyncClient) -> None:
        await client.insert("media", {"id": self._one(), "owner_id": next(_everybody)})

    def _expect(self, found: bool, what: str) -> None:
        if not found and not self._deletes:
            self.refused.append(f"{what} is gone")


async def run_anchored_clients(
    cluster: LocalCluster, media: Sequence[int], deadline: float, seed: int, *, deletes: bool = False
) -> list[AnchoredRun]:
    """Has clients write through all routers until then; answers what each did."""
    runs = [AnchoredRun(media, random.Random(seed + number), deletes=deletes) for number in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for number, run in enumerate(runs):
            router = cluster.routers[number % len(cluster.routers)]
            group.create_task(run.until(router.address, deadline))
    return runs


def lost_rows(cluster: LocalCluster, runs: Sequence[AnchoredRun]) -> list[str]:
    """What was acknowledged and is not so."""
    comments = {comment for (comment,) in query_all(cluster, "SELECT id FROM comments")}
    stored = query_all(cluster, "SELECT comment_id, user_id, note FROM likes")
    likes = {(comment, user): note for comment, user, note in stored}
    return [
        *(f"comment {comment}" for run in runs for comment in run.comments if comment not in comments),
        *(f"like {like}: {note}" for run in runs for like, note in run.likes.items() if likes.get(like) != note),
        *(f"like {like} is there again" for run in runs for like in run.unliked if like in likes),
        *([] if len(stored) == len(likes) else ["a like twice"]),
    ]


def rows_apart(cluster: LocalCluster) -> int:
    """How many rows are not beside their parents."""
    shards = range(len(cluster.databases))
    return sum(number for shard in shards for one in _APART for (number,) in query(cluster, shard, one))


def _key_of(like: Like) -> dict[str, int]:
    return {"comment_id": like[0], "user_id": like[1]}

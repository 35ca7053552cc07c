"""The schema of the Instagram example: what is shown together lives together, and every key is true."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from crosskey import Client, ForeignKeyViolation, UniqueViolation
from crosskey.catalog.slots import mint_uuid, shard_of_slot, slot_of_text
from crosskey.local_cluster.cluster import LocalCluster
from tests.docs.examples import ROOT
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import query

EXAMPLE = ROOT / "examples" / "instagram"
SHARDS = 3

Row = dict[str, Any]

_names = (f"user{number}" for number in count())


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster((EXAMPLE / "schema.sql").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address) as client:
        yield client


@pytest.fixture
def users(client: Client) -> list[Row]:
    """One new user for each shard, in order."""
    return client.insert("users", [{"id": str(mint_uuid(shard)), "username": next(_names)} for shard in range(SHARDS)])


class Page:
    """A photo with a comment, a like of each, and who did what."""

    def __init__(self, client: Client, owner: Row, author: Row, liker: Row) -> None:
        [self.photo] = client.insert("media", {"owner_id": owner["id"]})
        [self.comment] = client.insert(
            "comments", {"media_id": self.photo["id"], "author_id": author["id"], "content": "!"}
        )
        client.insert("media_likes", {"media_id": self.photo["id"], "liker_id": liker["id"]})
        client.insert("comment_likes", {"comment_id": self.comment["id"], "liker_id": liker["id"]})
        self._client = client

    def counts(self) -> list[int]:
        """How many photos, comments, likes of the photo and likes of the comment are left."""
        photo, comment = self.photo["id"], self.comment["id"]
        return [
            self._client.count("media", {"id": photo}),
            self._client.count("comments", {"media_id": photo}),
            self._client.count("media_likes", {"media_id": photo}),
            self._client.count("comment_likes", {"comment_id": comment}),
        ]


def shards_with(cluster: LocalCluster, table: str, column: str, value: str) -> list[int]:
    """The shards that hold rows with this value."""
    found = f"SELECT 1 FROM public.{table} WHERE {column} = %s"
    return [shard for shard in range(SHARDS) if query(cluster, shard, found, value)]


@pytest.mark.parametrize("owner", range(SHARDS))
def test_a_page_lives_with_its_owner(cluster: LocalCluster, client: Client, users: list[Row], owner: int) -> None:
    page = Page(client, users[owner], users[(owner + 1) % SHARDS], users[(owner + 2) % SHARDS])
    photo, comment = page.photo["id"], page.comment["id"]
    assert shards_with(cluster, "media", "id", photo) == [owner]
    assert shards_with(cluster, "comments", "media_id", photo) == [owner]
    assert shards_with(cluster, "media_likes", "media_id", photo) == [owner]
    assert shards_with(cluster, "comment_likes", "comment_id", comment) == [owner]
    assert client.get("comments", id=comment)["content"] == "!"


def test_who_is_not_there_cannot_comment_or_like(client: Client, users: list[Row]) -> None:
    page = Page(client, *users)
    nobody, nothing, someone = str(mint_uuid(1)), str(mint_uuid(0)), users[0]["id"]
    for table, row, key in (
        ("comments", {"media_id": page.photo["id"], "author_id": nobody, "content": "?"}, "comments_author_id_fkey"),
        ("media_likes", {"media_id": page.photo["id"], "liker_id": nobody}, "media_likes_liker_id_fkey"),
        ("comment_likes", {"comment_id": nothing, "liker_id": someone}, "comment_likes_comment_id_fkey"),
    ):
        with pytest.raises(ForeignKeyViolation) as refused:
            client.insert(table, row)
        assert refused.value.metadata["constraint"] == key
    assert page.counts() == [1, 1, 1, 1]


def test_a_photo_takes_its_page_along(client: Client, users: list[Row]) -> None:
    page, other = Page(client, *users), Page(client, *users)
    client.delete("media", key={"id": page.photo["id"]})
    assert page.counts() == [0, 0, 0, 0]
    assert other.counts() == [1, 1, 1, 1]


def test_who_leaves_takes_comments_and_likes_along_on_every_shard(client: Client, users: list[Row]) -> None:
    owner, author, liker = users
    written, liked = Page(client, owner, author, owner), Page(client, owner, owner, liker)
    client.insert("follows", [{"follower_id": owner["id"], "followee_id": one["id"]} for one in (author, liker)])
    client.delete("users", key={"id": author["id"]})
    assert written.counts() == [1, 0, 1, 0]
    client.delete("users", key={"username": liker["username"]})
    assert liked.counts() == [1, 1, 0, 0]
    assert client.count("follows", {"follower_id": owner["id"]}) == 0


def test_a_username_is_taken_once_on_all_shards(client: Client, users: list[Row]) -> None:
    for shard in range(SHARDS):
        with pytest.raises(UniqueViolation):
            client.insert("users", {"id": str(mint_uuid(shard)), "username": users[0]["username"]})
    # One whose claim is on another shard than the user.
    name = next(name for name in _names if shard_of_slot(slot_of_text(name), SHARDS) == 2)
    client.update("users", {"username": name}, key={"id": users[0]["id"]})
    assert client.get("users", username=name)["id"] == users[0]["id"]
    assert client.insert("users", {"username": users[0]["username"]})


def test_nothing_is_damaged(client: Client) -> None:
    assert list(client.audit()) == []

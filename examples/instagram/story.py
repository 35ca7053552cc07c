"""Instagram's media with their comments and likes: a feed, and what happens when somebody leaves.

make up SCHEMA=examples/instagram/schema.sql DATA=.crosskey-instagram
.venv/bin/python -m examples.instagram.story
"""

from typing import Any

from crosskey import UniqueViolation, desc, some
from examples.showing_client import ShowingClient, start_over, tell

# On shards 2, 1 and 0.
ADA, BOB, CY = (f"01980000-0000-7000-8000-{number:012d}" for number in (1, 3, 7))
FIRST_COMMENTS: dict[str, Any] = {"columns": ["content"], "order_by": "written_at", "limit": 3}


def story(client: ShowingClient) -> None:
    """Tell it all."""
    photos = begin(client)
    read_a_feed(client)
    read_more_comments(client, photos)
    comment(client, photos)
    take_a_username(client)
    delete_a_user(client)


def begin(client: ShowingClient) -> list[str]:
    """Insert three users, three photos and what is said of them. Returns the photos' ids."""
    start_over(client, users="id")
    client.quiet.insert("users", [{"id": ADA, "username": "ada"}, {"id": BOB, "username": "bob"}])
    client.quiet.insert("users", {"id": CY, "username": "cy"})
    client.quiet.insert("follows", [{"follower_id": ADA, "followee_id": followee} for followee in (BOB, CY)])
    taken = ((BOB, "Breakfast"), (CY, "The sea"), (BOB, "Lunch"))
    photos = client.quiet.insert(
        "media",
        [
            {"owner_id": owner, "caption": caption, "posted_at": f"2026-01-0{day}"}
            for day, (owner, caption) in enumerate(taken, start=1)
        ],
    )
    breakfast, sea, lunch = [photo["id"] for photo in photos]
    said = [(lunch, BOB, "So good"), (lunch, ADA, "Again?"), (sea, BOB, "Where?"), (sea, CY, "Brest.")]
    said += [(sea, ADA, "Lovely"), (sea, BOB, "Wish I were there")]
    client.quiet.insert("comments", [_comment(*one, minute) for minute, one in enumerate(said, start=10)])
    client.quiet.insert("media_likes", [{"media_id": sea, "liker_id": liker} for liker in (ADA, BOB)])
    return [breakfast, sea, lunch]


def read_a_feed(client: ShowingClient) -> None:
    """Media of all whom one follows, with what is shown beside them."""
    client.scene(
        "A feed",
        "What those post whom Ada follows, newest first: each photo with its owner, the number of likes and of"
        " comments, and the first three comments with their authors. However many photos and comments there are, that"
        " is one call for each table and each shard that has rows of it.",
    )
    client.list_page(
        "media",
        some("owner", some("followers", {"id": ADA})),
        order_by=desc("posted_at"),
        page_size=2,
        columns=["caption"],
        include={
            "owner": {"columns": ["username"]},
            "likers": {"count": "only"},
            "comments": {
                **FIRST_COMMENTS,
                "count": True,
                "include": {"author": {"columns": ["username"]}},
            },
        },
    )


def read_more_comments(client: ShowingClient, photos: list[str]) -> None:
    """A page within a page."""
    _, sea, _ = photos
    photo = client.quiet.get("media", id=sea, include={"comments": FIRST_COMMENTS})
    token = photo["crosskey_next"]["comments"]
    client.scene("More comments", "A photo with more comments than were included has a token for the rest of them.")
    client.get("media", id=sea, columns=["caption"], include={"comments": {**FIRST_COMMENTS, "page_token": token}})


def comment(client: ShowingClient, photos: list[str]) -> None:
    """A local key and one that crosses."""
    breakfast, *_ = photos
    client.scene(
        "A comment",
        "It lives with Bob's photo on shard 1; the photo's id tells, since the router has made it so. The author, Cy,"
        " lives on shard 0, and nothing on shard 1 has named Cy yet: shard 0 pins Cy.",
    )
    client.insert("comments", _comment(breakfast, CY, "Late?", 30), columns=["content"])
    client.say("From now on Cy has a shadow on shard 1, so a like of Cy's there is one call, to shard 1:")
    client.insert("media_likes", {"media_id": breakfast, "liker_id": CY}, count_only=True)


def take_a_username(client: ShowingClient) -> None:
    """A unique value over all shards."""
    client.scene("A username", "It is unique over all shards, although users live by their id.")
    with client.refused(UniqueViolation):
        client.insert("users", {"username": "ada"})


def delete_a_user(client: ShowingClient) -> None:
    """ON DELETE CASCADE, four tables deep and over shards."""
    client.scene(
        "A user leaves",
        "Bob's photos go with their comments and likes, on Bob's shard; and Bob's own comments and likes, on all"
        " others.",
    )
    client.delete("users", key={"username": "bob"})
    client.list_page(
        "media",
        columns=["caption"],
        include={"likers": {"columns": ["username"]}, "comments": {"columns": ["content"], "order_by": "written_at"}},
    )


def _comment(media: str, author: str, content: str, minute: int) -> dict[str, str]:
    return {
        "media_id": media,
        "author_id": author,
        "content": content,
        "written_at": f"2026-01-04 12:{minute}:00+00",
    }


if __name__ == "__main__":
    tell(story)

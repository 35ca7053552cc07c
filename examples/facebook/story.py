"""Facebook's co-location: everything by user, and edges between users both ways.

make up SCHEMA=examples/facebook/schema.sql DATA=.crosskey-facebook
.venv/bin/python -m examples.facebook.story
"""

from typing import Any

from crosskey import ForeignKeyViolation, desc, insert, some
from examples.showing_client import ShowingClient, start_over, tell

# On shards 0, 1, 2 and 0.
ADA, BOB, CY, DEE = 1, 8, 5, 2


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    befriend(client)
    refuse_half_a_friendship(client)
    show_a_page(client)
    show_what_one_likes(client)
    find_common_friends(client)
    unfriend(client)
    delete_a_user(client)


def begin(client: ShowingClient) -> None:
    """Insert users and what is theirs."""
    start_over(client, users="id")
    users = {ADA: "Ada", BOB: "Bob", CY: "Cy", DEE: "Dee"}
    client.quiet.insert("users", [{"id": number, "name": name} for number, name in users.items()])
    client.quiet.insert("profiles", {"user_id": ADA, "bio": "Writes programs."})
    posts = ((ADA, 1, "The engine weaves."), (ADA, 2, "It has no pretensions."), (BOB, 1, "Hello!"))
    client.quiet.insert("posts", [{"user_id": user, "id": post, "content": said} for user, post, said in posts])
    likes = ((ADA, 2, BOB), (ADA, 2, CY), (BOB, 1, CY))
    client.quiet.insert(
        "likes", [{"author_id": author, "post_id": post, "liker_id": liker} for author, post, liker in likes]
    )
    client.quiet.insert("friends", [*friendship(ADA, CY), *friendship(DEE, BOB), *friendship(DEE, CY)])


def friendship(one: int, other: int) -> list[dict[str, Any]]:
    """Both edges of a friendship."""
    return [
        {"user_id": one, "friend_id": other, "since": "2026-01-01"},
        {"user_id": other, "friend_id": one, "since": "2026-01-01"},
    ]


def befriend(client: ShowingClient) -> None:
    """Two edges on two shards, in one transaction."""
    client.scene(
        "A friendship",
        "One edge is with Ada on shard 0, the other with Bob on shard 1. Each needs the other one: the key is deferred,"
        " so it is checked when both are there, across shards.",
    )
    client.transact([insert("friends", friendship(ADA, BOB), count_only=True)])


def refuse_half_a_friendship(client: ShowingClient) -> None:
    """A deferred key, at the commit."""
    client.scene("Half a friendship", "One edge alone is refused at the commit, by PostgreSQL.")
    edge, _ = friendship(BOB, CY)
    with client.refused(ForeignKeyViolation):
        client.insert("friends", edge)


def show_a_page(client: ShowingClient) -> None:
    """All that is one user's."""
    client.scene(
        "A user's page",
        "Profile, posts, the likes of the posts and the edges to friends are all on Ada's shard. The other shards are"
        " asked for the friends themselves, and for nothing else.",
    )
    client.get(
        "users",
        id=ADA,
        include={
            "profiles": {"columns": ["bio"]},
            "posts": {
                "columns": ["content"],
                "order_by": desc("id"),
                "limit": 2,
                "include": {"likes": {"count": "only"}},
            },
            "friends": {"columns": ["name"], "order_by": "id"},
        },
    )


def show_what_one_likes(client: ShowingClient) -> None:
    """The other way along an edge that is stored once."""
    client.scene(
        "What one likes",
        "A like is with the post, not with who likes it. For the other way, Cy's pins tell which shards to ask.",
    )
    client.get("users", id=CY, columns=["name"], include={"liked_posts": {"columns": ["content"]}})


def find_common_friends(client: ShowingClient) -> None:
    """Two conditions on edges."""
    client.scene(
        "Common friends",
        "Whoever is a friend of Ada's and of Dee's. Both live on shard 0, and so do their edges; the other shards are"
        " asked for the users that these lead to.",
    )
    client.list_page(
        "users", [some("friend_of", {"id": ADA}), some("friend_of", {"id": DEE})], order_by="id", columns=["name"]
    )


def unfriend(client: ShowingClient) -> None:
    """ON DELETE CASCADE from one half to the other."""
    client.scene("A friendship ends", "Either may end it. The other half goes with it, in the same transaction.")
    client.delete("friends", key={"user_id": BOB, "friend_id": ADA})
    client.get("users", id=ADA, columns=["name"], include={"friends": {"columns": ["name"]}})


def delete_a_user(client: ShowingClient) -> None:
    """Everything by user goes by user."""
    client.scene("A user leaves", "With what is Cy's go the edges to Cy and Cy's likes, on whichever shards they are.")
    client.delete("users", key={"id": CY})
    client.list_page("friends", order_by=["user_id", "friend_id"], columns=["user_id", "friend_id"])
    client.count("likes")


if __name__ == "__main__":
    tell(story)

"""Twitter's follows: a table that joins users with users, both ways, and what becomes of checks in the application.

make up SCHEMA=examples/followers/schema.sql DATA=.crosskey-followers
.venv/bin/python -m examples.followers.story
"""

from crosskey import ForeignKeyViolation, desc, some
from examples.followers.race import Follow, count_orphans, follow_with_checks, follow_with_foreign_key, race
from examples.showing_client import ShowingClient, start_over, tell

# On shards 0, 0, 1 and 2.
ADA, BOB, CY, DEE = 1, 2, 8, 5
NOBODY = 99
RACES = 25


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    follow_across_shards(client)
    read_both_directions(client)
    find_friends(client)
    find_the_most_followed(client)
    race_deletes(client)
    delete_a_user(client)


def begin(client: ShowingClient) -> None:
    """Insert the users."""
    start_over(client, follows="follower_id", unchecked_follows="follower_id", users="id")
    handles = {ADA: "ada", BOB: "bob", CY: "cy", DEE: "dee"}
    client.quiet.insert("users", [{"id": number, "handle": handle} for number, handle in handles.items()])


def follow_across_shards(client: ShowingClient) -> None:
    """The first reference from a shard, the next one, and one to nobody."""
    client.scene(
        "Following across shards",
        "Ada and Bob live on shard 0, Cy on shard 1. The first follow of Cy from shard 0 pins Cy on shard 1. The next"
        " one finds Cy's shadow on shard 0: one insert on one shard, which PostgreSQL checks there.",
    )
    client.insert("follows", {"follower_id": ADA, "followee_id": CY})
    client.insert("follows", {"follower_id": BOB, "followee_id": CY})
    client.say("Whom nobody knows, nobody can follow:")
    with client.refused(ForeignKeyViolation):
        client.insert("follows", {"follower_id": ADA, "followee_id": NOBODY})


def read_both_directions(client: ShowingClient) -> None:
    """Following and followers, from one user."""
    client.quiet.insert(
        "follows",
        [
            {"follower_id": follower, "followee_id": followee}
            for follower, followee in ((CY, ADA), (CY, DEE), (DEE, CY), (ADA, DEE))
        ],
    )
    client.scene(
        "Both directions",
        "The rows of those whom Cy follows are with Cy. Those of Cy's followers are with the followers, and Cy's pins"
        " tell on which shards. Then the users themselves, on all their shards.",
    )
    client.get(
        "users",
        id=CY,
        columns=["handle"],
        include={
            "following": {"columns": ["handle"], "order_by": "handle"},
            "followers": {"columns": ["handle"], "order_by": "handle", "limit": 2, "count": True},
        },
    )


def find_friends(client: ShowingClient) -> None:
    """A condition on either direction."""
    client.scene("Friends", "Whom Ada follows, and who follows Ada: conditions on relations, across shards.")
    client.list_page(
        "users", [some("followers", {"id": ADA}), some("following", {"id": ADA})], order_by="id", columns=["handle"]
    )


def find_the_most_followed(client: ShowingClient) -> None:
    """Groups over all shards."""
    client.scene("The most followed", "Each shard counts its own follows, and one node adds up what they found.")
    client.aggregate("follows", {"followers": "count"}, group_by="followee_id", order_by=desc("followers"), limit=2)


def race_deletes(client: ShowingClient) -> None:
    """The application's checks, and foreign keys, while users go."""
    client.scene(
        "Follow against delete",
        "Ada follows users at the moment at which they are deleted. First as applications do: look whether both are"
        " there, then write an id. Then with a foreign key.",
    )
    client.page.table(
        ("", "raced", "orphans"),
        [
            ("checked by the application", RACES, _orphans_of_race(client, follow_with_checks, "unchecked_follows")),
            ("a foreign key", RACES, _orphans_of_race(client, follow_with_foreign_key, "follows")),
        ],
    )


def delete_a_user(client: ShowingClient) -> None:
    """ON DELETE CASCADE, both ways."""
    client.scene("A user leaves", "Cy's follows go, and with them the follows of Cy, on each shard that has any.")
    client.delete("users", key={"id": CY})
    client.list_page("follows", order_by=["follower_id", "followee_id"])


def _orphans_of_race(client: ShowingClient, follow: Follow, table: str) -> int:
    followees = list(range(1000, 1000 + RACES))
    client.quiet.insert("users", [{"id": number, "handle": f"user{number}"} for number in followees])
    race(client.quiet, follow, ADA, followees)
    return count_orphans(client.quiet, table)


if __name__ == "__main__":
    tell(story)

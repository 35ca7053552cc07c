"""Discord's messages, by channel: history, and what one user wrote everywhere.

make up SCHEMA=examples/discord/schema.sql DATA=.crosskey-discord
.venv/bin/python -m examples.discord.story
"""

from crosskey import desc, list_rows
from examples.showing_client import ShowingClient, start_over, tell

ADA, BOB, CY = 1, 5, 8
GENERAL, RANDOM, HELP = 22, 21, 24


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    read_history(client)
    change_an_avatar(client)
    read_all_of_one_author(client)
    stream_a_channel(client)
    delete_an_author(client)


def begin(client: ShowingClient) -> None:
    """Write three users, three channels, and what was said."""
    start_over(client, messages="id", channels="id", users="id")
    client.quiet.insert("users", [{"id": ADA, "name": "Ada"}, {"id": BOB, "name": "Bob"}, {"id": CY, "name": "Cy"}])
    client.quiet.insert(
        "channels", [{"id": GENERAL, "name": "general"}, {"id": RANDOM, "name": "random"}, {"id": HELP, "name": "help"}]
    )
    said = [
        (GENERAL, 101, ADA, "Hello!"),
        (GENERAL, 102, BOB, "Hi!"),
        (GENERAL, 103, CY, "Who is new here?"),
        (GENERAL, 104, ADA, "I am."),
        (RANDOM, 105, BOB, "Lunch?"),
        (HELP, 106, CY, "My build is red."),
        (HELP, 107, ADA, "Show me."),
    ]
    columns = ("channel_id", "id", "author_id", "content")
    client.quiet.insert("messages", [dict(zip(columns, message, strict=True)) for message in said])


def read_history(client: ShowingClient) -> None:
    """A page of a channel's history, each message with its author."""
    client.scene(
        "A channel's history",
        "The messages of a channel are on one shard, so a page of them is one call. Their authors are on others: one"
        " more call to each of these shards, however many messages there are. Nothing is copied into the messages.",
    )
    client.list_page(
        "messages",
        {"channel_id": GENERAL},
        order_by=desc("id"),
        page_size=3,
        columns=["id", "content"],
        include={"author": {"columns": ["name", "avatar"]}},
    )


def change_an_avatar(client: ShowingClient) -> None:
    """What is not copied changes in one place."""
    client.scene(
        "A new avatar",
        "Where avatars are copied into messages, this is an update of all that Ada ever wrote. Here it is one row.",
    )
    client.update("users", {"avatar": "engine.png"}, key={"id": ADA})
    client.get(
        "messages",
        channel_id=GENERAL,
        id=104,
        columns=["content"],
        include={"author": {"columns": ["name", "avatar"]}},
    )


def read_all_of_one_author(client: ShowingClient) -> None:
    """The other direction, asked only where it can be."""
    client.scene(
        "All messages by one user",
        "Ada's row has a pin for each shard that has messages of hers. So these shards are asked, and no other.",
    )
    client.get(
        "users",
        id=ADA,
        columns=["name"],
        include={"messages": {"columns": ["channel_id", "content"], "order_by": desc("id"), "limit": 2, "count": True}},
    )
    client.say("A list by author does not read Ada's row, so it cannot know, and asks every shard:")
    client.show_plan(list_rows("messages", {"author_id": ADA}))


def stream_a_channel(client: ShowingClient) -> None:
    """A result of any size."""
    client.scene(
        "A whole channel",
        "StreamList sends all pages as one stream, in memory of one page. Here a page has two messages.",
    )
    client.show_stream(list_rows("messages", {"channel_id": GENERAL}, order_by="id", page_size=2))


def delete_an_author(client: ShowingClient) -> None:
    """ON DELETE SET NULL, over shards."""
    client.scene(
        "An author leaves",
        "The foreign key says ON DELETE SET NULL, and PostgreSQL on each shard with messages of Bob's does just that."
        " No other shard is asked.",
    )
    client.delete("users", key={"id": BOB})
    client.list_page("messages", {"author_id": None}, order_by="id", columns=["id", "content"], include="author")


if __name__ == "__main__":
    tell(story)

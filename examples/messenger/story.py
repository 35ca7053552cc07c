"""The messenger: users with accounts, an inbox on each user's shard, and what is asked across shards.

make up SCHEMA=examples/messenger/schema.sql DATA=.crosskey-messenger
.venv/bin/python -m examples.messenger.story
"""

from crosskey import UniqueViolation, desc, in_, insert
from examples.showing_client import ShowingClient, start_over, tell

# On shards 2, 1 and 0.
VALJEAN, COSETTE, MARIUS = (f"01980000-0000-7000-8000-{number:012d}" for number in (1, 3, 7))
# On shards 1 and 2: accounts live by their own id.
WORK, HOME = (f"01980000-0000-7000-8000-{number:012d}" for number in (5, 4))


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    sign_up(client)
    take_a_username(client)
    share_an_account(client)
    send_messages(client)
    read_an_inbox(client)
    read_a_conversation(client)
    count_by_sender(client)
    delete_a_user(client)


def begin(client: ShowingClient) -> None:
    """Insert a language and two users."""
    start_over(client, messages="id", users="id", accounts="id", languages="code")
    client.quiet.insert("languages", {"code": "fr", "name": "French"})
    client.quiet.insert("users", [{"id": COSETTE, "name": "Cosette"}, {"id": MARIUS, "name": "Marius"}])


def sign_up(client: ShowingClient) -> None:
    """A user with a profile and an account: one transaction over the shards of both."""
    client.scene(
        "Signing up",
        "A user and a profile on shard 2, an account on shard 1, and the row that joins them, with the user: all or"
        " nothing. The username and the e-mail address are claimed on shards of their own.",
    )
    client.transact(
        [
            insert("users", {"id": VALJEAN, "name": "Valjean"}, count_only=True),
            insert("profiles", {"user_id": VALJEAN, "bio": "Mayor."}, count_only=True),
            insert("accounts", {"id": WORK, "username": "madeleine", "email": "mayor@ex.org"}, count_only=True),
            insert("users_accounts", {"user_id": VALJEAN, "account_id": WORK}, count_only=True),
        ]
    )


def take_a_username(client: ShowingClient) -> None:
    """A unique value over all shards."""
    client.scene("A username that is taken", "Accounts live by their id. Still a username is taken once.")
    with client.refused(UniqueViolation):
        client.insert("accounts", {"id": HOME, "username": "madeleine", "email": "other@ex.org"})


def share_an_account(client: ShowingClient) -> None:
    """Many to many, from both sides."""
    client.quiet.insert("accounts", {"id": HOME, "username": "fauchelevent", "email": "convent@ex.org"})
    joined = ((VALJEAN, HOME), (COSETTE, HOME))
    client.quiet.insert("users_accounts", [{"user_id": user, "account_id": account} for user, account in joined])
    client.scene(
        "Many to many", "The accounts of a user, and the users of an account, through the table that joins them."
    )
    client.get("users", id=VALJEAN, columns=["name"], include={"accounts": {"columns": ["username"]}})
    client.get("accounts", username="fauchelevent", columns=["username"], include={"users": {"columns": ["name"]}})


def send_messages(client: ShowingClient) -> None:
    """The first reference from a shard, and a later one."""
    client.scene(
        "Messages",
        "A message lives in its recipient's inbox, here on Cosette's shard. The first one from Valjean pins him on"
        " his own. The second finds his shadow on Cosette's shard: one call to one node.",
    )
    for content in ("Do not fear.", "Are you cold?"):
        client.insert("messages", _message(VALJEAN, COSETTE, content), columns=["content"])


def read_an_inbox(client: ShowingClient) -> None:
    """Messages with their senders, and more of these."""
    client.quiet.insert(
        "messages",
        [_message(MARIUS, COSETTE, "Come."), _message(COSETTE, VALJEAN, "No."), _message(COSETTE, MARIUS, "Where?")],
    )
    client.scene(
        "An inbox",
        "Messages with their senders, each with a profile if there is one: a call for each table and each shard that"
        " has rows of it, not for each message.",
    )
    client.list_page(
        "messages",
        {"recipient_id": COSETTE},
        order_by="content",
        columns=["content"],
        include={"sender": {"columns": ["name"], "include": {"profiles": {"columns": ["bio"]}}}},
    )


def read_a_conversation(client: ShowingClient) -> None:
    """Two inboxes."""
    client.scene(
        "A conversation",
        "What two users have written to each other is in the inboxes of the two, so these two shards are asked.",
    )
    both = [VALJEAN, COSETTE]
    client.list_page(
        "messages",
        [in_("recipient_id", both), in_("sender_id", both)],
        order_by=desc("content"),
        columns=["content"],
    )


def count_by_sender(client: ShowingClient) -> None:
    """Groups of one inbox."""
    client.scene("Who writes most", "Messages of one inbox by sender: one shard has them all.")
    client.aggregate(
        "messages",
        {"messages": "count"},
        where={"recipient_id": COSETTE},
        group_by="sender_id",
        order_by=desc("messages"),
    )


def delete_a_user(client: ShowingClient) -> None:
    """ON DELETE CASCADE, over shards."""
    client.quiet.delete("messages", where={"sender_id": COSETTE})
    client.scene(
        "A user leaves",
        "Whoever has sent a message that is still in an inbox cannot be deleted: ON DELETE RESTRICT. Once Cosette's are"
        " gone, she may go; her inbox goes with her, and the row that joined her with an account.",
    )
    client.delete("users", key={"id": COSETTE})
    client.count("messages")
    client.get("accounts", username="fauchelevent", columns=["username"], include={"users": {"columns": ["name"]}})


def _message(sender: str, recipient: str, content: str) -> dict[str, str]:
    return {"sender_id": sender, "recipient_id": recipient, "content": content}


if __name__ == "__main__":
    tell(story)

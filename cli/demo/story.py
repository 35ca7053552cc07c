"""The story that the demo tells: what Crosskey promises, one request after the other, each answer checked."""

import uuid

from crosskey import ForeignKeyViolation, UniqueViolation
from crosskey.catalog.slots import shard_of_slot, slot_of_text, slot_of_uuid
from crosskey.cli.demo.les_miserables import account, account_id, follow, user, user_id
from crosskey.cli.demo.stage import Json, Stage, expect

SHARDS = 3
TABLES = ("users", "follows", "messages")

# By their ids, the first three live on another shard than the author, and Marguerite on another one than Fantine.
AUTHOR = "Victor Hugo"
FIRST_FOLLOWER = "Valjean"
LATER_FOLLOWER = "Marius"
NOBODY = "Nobody"

# This account, the claim of its username and the author's account are on three shards.
FIRST_ACCOUNT = "Thenardier"


def show_where_rows_are(stage: Stage) -> None:
    """Show how the rows that were loaded spread."""
    stage.page.scene("Where the rows are")
    stage.page.tell("Each row is on the shard of its shard key. A language is on every shard.")
    _show_counts(stage, {table: stage.nodes.counts(table) for table in (*TABLES, "languages")})


def insert_a_row(stage: Stage) -> None:
    """A row lands on its shard."""
    stage.page.scene("A row lands on its shard")
    slot = slot_of_uuid(uuid.UUID(user_id(AUTHOR)))
    shard = _shard_of(AUTHOR)
    stage.page.tell(
        f"Users live by their id. This one carries slot {slot} of 16384, and slot {slot} is on shard"
        f" {slot} mod {SHARDS} = {shard}. Without an id, the row would be given one."
    )
    before = stage.nodes.counts("users")
    stage.call("Insert", {"table": "users", "rows": [user(AUTHOR)]})
    after = stage.nodes.counts("users")
    expect(_grown(before, after) == {shard: 1}, f"the row is on shard {shard} alone")
    stage.call("Get", {"table": "users", "key": {"id": user_id(AUTHOR)}})


def take_a_username(stage: Stage) -> None:
    """A unique value over all shards."""
    username = account(FIRST_ACCOUNT)["username"]
    taken, wanted = _shard(account_id(FIRST_ACCOUNT)), _shard(account_id(AUTHOR))
    claims = shard_of_slot(slot_of_text(username), SHARDS)
    stage.page.scene("A username that is taken on another shard")
    stage.page.tell(
        f"Accounts live by their id too. That of {FIRST_ACCOUNT} is on shard {taken}. {AUTHOR} wants one on shard"
        f" {wanted} with the same username. Who has it is claimed on the shard of its own slot: shard {claims}."
    )
    error = stage.refused_call("Insert", {"table": "accounts", "rows": [account(AUTHOR, username)]})
    expect(isinstance(error, UniqueViolation), "the username was refused")
    expect(error.metadata.get("constraint") == "accounts_username_key", "by the constraint on usernames")
    stage.page.space()
    stage.page.tell("By its claim, an account is found by its username, and no other shard is asked.")
    answer, node_calls = stage.call("Get", {"table": "accounts", "key": {"username": username}})
    expect(answer["row"]["id"] == account_id(FIRST_ACCOUNT), "the account was found")
    expect([call[:2] for call in node_calls] == [f"s{claims}", f"s{taken}"], "the claim was asked, and then the row")


def follow_across_shards(stage: Stage) -> None:
    """The first reference to a parent from a shard."""
    home, parents = _shard_of(FIRST_FOLLOWER), _shard_of(AUTHOR)
    stage.page.scene("A follow across shards: the first reference")
    stage.page.tell(
        f"{FIRST_FOLLOWER} lives on shard {home}, {AUTHOR} on shard {parents}. No row of shard {home} has named this"
        f" user yet. So shard {parents} pins the user, and the follow is committed on shard {home} together with a"
        " shadow of the user, which the foreign key of the follow points to. After the answer the pin is finished."
    )
    _, node_calls = stage.call("Insert", _following(FIRST_FOLLOWER, AUTHOR))
    expect(node_calls == [f"s{parents} ShardNode.Run", f"s{home} ShardNode.Run"], "two shards took part")


def follow_once_more(stage: Stage) -> None:
    """A later reference from the same shard."""
    home = _shard_of(LATER_FOLLOWER)
    stage.page.scene("A follow across shards: every later reference")
    stage.page.tell(
        f"{LATER_FOLLOWER} lives on shard {home} too, where {AUTHOR} has a shadow now. So this follow takes one call to"
        " one node: PostgreSQL checks the key there, and no other shard is asked."
    )
    _, node_calls = stage.call("Insert", _following(LATER_FOLLOWER, AUTHOR))
    expect(node_calls == [f"s{home} ShardNode.Run"], "one shard was called once")


def follow_nobody(stage: Stage) -> None:
    """A parent that does not exist."""
    stage.page.scene("A follow of a user who does not exist")
    stage.page.tell("PostgreSQL itself refuses it, in the words that it has for this on a single server.")
    error = stage.refused_call("Insert", _following(FIRST_FOLLOWER, NOBODY))
    expect(isinstance(error, ForeignKeyViolation), "the foreign key refused")
    expect(error.metadata.get("constraint") == "follows_followee_id_fkey", "it was the key onto the followee")


def delete_a_sender(stage: Stage) -> None:
    """ON DELETE RESTRICT, with the child on another shard."""
    sender, recipient = "Fantine", "Marguerite"
    stage.page.scene("A delete that a row on another shard forbids")
    stage.page.tell(
        f"{sender}, on shard {_shard_of(sender)}, wrote to {recipient}. The message is in the inbox of {recipient}, on"
        f" shard {_shard_of(recipient)}, and messages.sender_id is ON DELETE RESTRICT."
    )
    error = stage.refused_call("Delete", {"table": "users", "key": {"id": user_id(sender)}})
    expect(isinstance(error, ForeignKeyViolation), "the foreign key refused")
    expect(error.metadata.get("constraint") == "messages_sender_id_fkey", "it was the key onto the sender")
    expect(error.metadata.get("shard") == str(_shard_of(recipient)), "the shard of the message refused")


def delete_with_everything(stage: Stage) -> None:
    """ON DELETE CASCADE over all shards."""
    leaving = "Javert"
    stage.page.scene("A delete that cascades over all shards")
    stage.page.tell(
        f"{leaving}, on shard {_shard_of(leaving)}, has written to nobody. The follows that name him are on all shards,"
        " and both of their keys are ON DELETE CASCADE, as are those of the messages in his inbox and of his profile."
    )
    before = {table: stage.nodes.counts(table) for table in TABLES}
    answer, _ = stage.call("Delete", {"table": "users", "key": {"id": user_id(leaving)}})
    expect(answer == {"count": "1"}, "one user was deleted")
    after = {table: stage.nodes.counts(table) for table in TABLES}
    _show_counts(stage, before, after)
    expect(all(then > now for then, now in zip(before["follows"], after["follows"], strict=True)), "every shard lost")
    followers, _ = stage.call(
        "Count", {"table": "follows", "where": [{"column": "followee_id", "value": user_id(leaving)}]}
    )
    expect(followers == {"count": "0"}, "nobody follows who is not there")


def write_a_reference_table(stage: Stage) -> None:
    """One row, on all shards."""
    stage.page.scene("A reference table is on every shard")
    stage.page.tell(
        "languages is a @reference table: a write goes to all shards in one transaction, a read to one of them."
    )
    stage.call("Insert", {"table": "languages", "rows": [{"code": "en", "name": "English"}]})
    copies = stage.nodes.rows("languages", order_by="code")
    stage.page.table(
        ("", "code", "name"),
        [(f"shard {shard}", row["code"], row["name"]) for shard, rows in enumerate(copies) for row in rows],
    )
    expect(all(copy == copies[0] for copy in copies), "all copies are the same")
    expect([row["code"] for row in copies[0]] == ["en", "fr"], "each has both languages")


def audit(stage: Stage) -> None:
    """No orphan."""
    stage.page.scene("The audit")
    stage.page.tell("It looks on every shard, and at shadows and pins between each two, for all that may be damaged.")
    expect(stage.audit() == [], "nothing is damaged")
    stage.page.note("nothing found: every child has its parent")


SCENES = (
    show_where_rows_are,
    insert_a_row,
    take_a_username,
    follow_across_shards,
    follow_once_more,
    follow_nobody,
    delete_a_sender,
    delete_with_everything,
    write_a_reference_table,
    audit,
)
"""In order. Each raises StoryWentWrong where the cluster does something else."""


def _following(follower: str, followee: str) -> Json:
    return {"table": "follows", "rows": [follow(follower, followee, weight=1)]}


def _shard_of(name: str) -> int:
    return _shard(user_id(name))


def _shard(identifier: str) -> int:
    return shard_of_slot(slot_of_uuid(uuid.UUID(identifier)), SHARDS)


def _grown(before: list[int], after: list[int]) -> dict[int, int]:
    """By how much each shard's count has grown, where it has."""
    grown = {shard: now - then for shard, (then, now) in enumerate(zip(before, after, strict=True))}
    return {shard: rows for shard, rows in grown.items() if rows}


def _show_counts(stage: Stage, before: dict[str, list[int]], after: dict[str, list[int]] | None = None) -> None:
    """Show how many rows each shard holds; and if they changed, how many it holds now."""
    rows = []
    for shard in range(SHARDS):
        cells = [
            str(counts[shard]) if after is None else f"{counts[shard]} → {after[table][shard]}"
            for table, counts in before.items()
        ]
        rows.append((f"shard {shard}", *cells))
    stage.page.table(("", *before), rows)

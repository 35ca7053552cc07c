"""Two ways to follow a user, each raced against that user's deletion, and the orphans counted."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeAlias

from crosskey import Client, Conflict, ForeignKeyViolation, in_

MEETING_SECONDS = 30.0

Meet: TypeAlias = Callable[[], object]
"""Waits for the other side of the race."""

Follow: TypeAlias = Callable[[Client, int, int, Meet], None]


def follow_with_checks(client: Client, follower: int, followee: int, meet: Meet) -> None:
    """Application-level enforcement: look whether both are there, then write. Raises LookupError if one is not."""
    if not client.exists("users", {"id": follower}):
        raise LookupError("follower not found")
    if not client.exists("users", {"id": followee}):
        raise LookupError("followee not found")
    meet()  # The worst moment. Under load it needs no help to come.
    client.insert("unchecked_follows", {"follower_id": follower, "followee_id": followee})


def follow_with_foreign_key(client: Client, follower: int, followee: int, meet: Meet) -> None:
    """Write. Whether both are there is for PostgreSQL to say."""
    meet()
    client.insert("follows", {"follower_id": follower, "followee_id": followee})


def race(client: Client, follow: Follow, follower: int, followees: list[int]) -> None:
    """Have `follower` follow each of the users while it is deleted."""
    with ThreadPoolExecutor(max_workers=2) as threads:
        for followee in followees:
            meet = Barrier(2, timeout=MEETING_SECONDS).wait
            sides = [
                threads.submit(_follow_or_be_refused, client, follow, follower, followee, meet),
                threads.submit(_delete, client, followee, meet),
            ]
            for side in sides:
                side.result()


def count_orphans(client: Client, table: str) -> int:
    """How many rows of a table of follows have a followee who is not there."""
    followees = [row["followee_id"] for row in client.list(table)]
    there = {user["id"] for user in client.list("users", [in_("id", followees)], columns=["id"])}
    return sum(followee not in there for followee in followees)


def _follow_or_be_refused(client: Client, follow: Follow, follower: int, followee: int, meet: Meet) -> None:
    try:
        follow(client, follower, followee, meet)
    except (ForeignKeyViolation, Conflict):
        return


def _delete(client: Client, user: int, meet: Meet) -> None:
    meet()
    while True:
        try:
            client.delete("users", key={"id": user})
        except Conflict:  # It met the follow, and left no trace: again.
            continue
        return

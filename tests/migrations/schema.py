"""The schema that migrations are tried on, and clients that go on meanwhile."""

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosskey import Client, eq
from crosskey.local_cluster.cluster import LocalCluster
from tests.hot_keys.settings import say

USERS = 40

_ids = itertools.count(1_000_000)

SCHEMA = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE countries IS '@reference';
CREATE TABLE users (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    nick varchar(20),
    age integer DEFAULT 7,
    home text,
    mood mood
);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE notes (
    id bigint,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    about bigint,
    text text,
    PRIMARY KEY (user_id, id)
);
COMMENT ON TABLE notes IS '@shard_by user_id';
CREATE INDEX notes_text ON notes (text);
CREATE VIEW happy AS SELECT id FROM users WHERE mood = 'glad';
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.home := upper(NEW.home); RETURN NEW; END';
-- The end.
"""

END = "-- The end."


def fill(client: Client) -> None:
    """Insert users, and notes about other users."""
    client.insert("countries", [{"code": "DE", "name": "Germany"}])
    client.insert("users", [{"id": number, "name": f"user {number}", "home": "DE"} for number in range(USERS)])
    client.insert(
        "notes",
        [{"id": number, "user_id": number % USERS, "about": number * 7 % USERS, "text": "t"} for number in range(400)],
    )


class Load:
    """Clients of all routers that read and write for as long as the context lasts; `errors` has what they were told."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Takes the cluster; seeds are printed."""
        self._cluster = cluster
        self._stop = threading.Event()
        self.errors: list[str] = []
        self.requests = 0

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """They run inside of the context."""
        seed = random.randrange(10**6)
        say(f"load: seed {seed}")
        threads = [
            threading.Thread(target=self._run, args=(router.address, seed + number))
            for number, router in enumerate(self._cluster.routers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _run(self, address: str, seed: int) -> None:
        choices = random.Random(seed)
        with Client(address, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    _request(client, choices, next(_ids))
                    self.requests += 1
                except Exception as error:
                    self.errors.append(f"{type(error).__name__}: {error}")


def _request(client: Client, choices: random.Random, number: int) -> None:
    user = choices.randrange(USERS)
    match choices.randrange(6):
        case 0 | 1:
            note = {"id": number, "user_id": user, "about": choices.choice([None, user]), "text": "new"}
            client.insert("notes", note)
        case 2:
            client.update("notes", {"text": "x" * choices.randrange(100)}, where=[eq("user_id", user)])
        case 3:
            client.update("users", {"name": f"user {number}"}, key={"id": user})
        case 4:
            client.delete("notes", where=[eq("user_id", user), eq("text", "new")])
        case _:
            assert client.get("users", {"id": user})["id"] is not None
            assert all(note["id"] is not None for note in client.list("notes", [eq("user_id", user)]))


def with_changes(changes: Sequence[tuple[str, str]]) -> str:
    """The schema with some texts replaced, each of which it has."""
    text = SCHEMA
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text

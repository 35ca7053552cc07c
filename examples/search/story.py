"""Articles, and an index of them that a consumer of events keeps fresh.

make up SCHEMA=examples/search/schema.sql DATA=.crosskey-search
.venv/bin/python -m examples.search.story
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.search.index import SearchIndex
from examples.showing_client import POLL_SECONDS, ShowingClient, start_over, tell

ADA, BOB = 1, 5
PATIENCE_SECONDS = 30.0


def story(client: ShowingClient) -> None:
    """Tell it all."""
    start_over(client, articles="id", authors="id")
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "articles.db")
        index = SearchIndex(path)
        with consumer(client.address, path, index):
            write(client, index)
            rename(client, index)
        client.scene(
            "The consumer is killed",
            "What is committed while nobody reads stays in the outbox. The consumer kept its position in the same"
            " transaction as the index, and goes on behind it.",
        )
        client.delete("authors", key={"id": BOB})
        client.update("articles", {"title": "Sharding for cats"}, key={"id": 21})
        client.say("An old answer, and then, with the consumer back:")
        search(client, index, "sharding", [22, 21])
        with consumer(client.address, path, index):
            search(client, index, "sharding", [21])
            search(client, index, "cats", [21])


@contextmanager
def consumer(address: str, path: str, index: SearchIndex) -> Iterator[None]:
    """The consumer as a process of its own, which is killed at the end."""
    process = subprocess.Popen([sys.executable, "-m", "examples.search.index", address, path])
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not index.token:
            assert time.monotonic() < deadline, "the consumer does not begin"
            time.sleep(POLL_SECONDS)
        yield
    finally:
        process.kill()
        process.wait()


def write(client: ShowingClient, index: SearchIndex) -> None:
    """Articles on two shards."""
    client.scene(
        "Articles",
        "Whoever writes knows nothing of the index. The events of the articles are written in the same transactions,"
        " on the articles' own shards.",
    )
    client.quiet.insert("authors", [{"id": ADA, "name": "Ada"}, {"id": BOB, "name": "Bob"}])
    client.insert(
        "articles",
        [
            {"id": 21, "author_id": ADA, "title": "Sharding", "body": "Rows live in many places."},
            {"id": 22, "author_id": BOB, "title": "Foreign keys", "body": "Sharding keeps them."},
        ],
        count_only=True,
    )
    search(client, index, "sharding", [22, 21])
    search(client, index, "ada", [21])


def rename(client: ShowingClient, index: SearchIndex) -> None:
    """A change of another table, on another shard."""
    client.scene(
        "Another name",
        "The name of the author is a live copy in the articles. So this update changes them too, which is an event of"
        " each, and the index finds them by the new name.",
    )
    client.update("authors", {"name": "Grace"}, key={"id": ADA})
    search(client, index, "grace", [21])
    search(client, index, "ada", [])


def search(client: ShowingClient, index: SearchIndex, words: str, expected: Sequence[int]) -> None:
    """Show what the index finds, as soon as it is fresh."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := index.search(words)) != expected and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    client.say(f'index.search("{words}") → {found}')


if __name__ == "__main__":
    tell(story)

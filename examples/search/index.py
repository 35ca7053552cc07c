"""A full-text index in a file of SQLite, kept fresh by the events of a cluster.

The index and the position up to which it is fresh are one transaction of SQLite. So each event counts once, although it
may come twice, and whatever is stopped, and when, the index goes on where it was.

.venv/bin/python -m examples.search.index 127.0.0.1:7400 articles.db
"""

from __future__ import annotations

import sqlite3
import sys

from crosskey import Client, Event


class SearchIndex:
    """The index, in a file; `follow` keeps it fresh, in a thread or process of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._open() as index:
            index.execute("CREATE VIRTUAL TABLE IF NOT EXISTS article USING fts5(title, body, author_name)")
            index.execute("CREATE TABLE IF NOT EXISTS position (only_row INTEGER PRIMARY KEY, token TEXT)")

    def follow(self, router: str) -> None:
        """Goes on for ever from where it was, or from now on. Raises CrosskeyError where the stream breaks."""
        with Client(router) as client, client.watch("articles", after=self.token) as watch:
            if not self.token:
                self._keep(watch.token)
            for event in watch:
                self._apply(event)

    @property
    def token(self) -> str:
        """Behind what it goes on."""
        with self._open() as index:
            [(token,)] = index.execute("SELECT max(token) FROM position")
        return token or ""

    def search(self, words: str) -> list[int]:
        """The ids of the articles that have the words, the best first."""
        with self._open() as index:
            found = index.execute("SELECT rowid FROM article WHERE article MATCH ? ORDER BY rank, rowid", (words,))
            return [number for (number,) in found]

    def _apply(self, event: Event) -> None:
        with self._open() as index:
            index.execute("DELETE FROM article WHERE rowid = ?", (int(event.key),))
            if event.after is not None:
                columns = ("id", "title", "body", "author_name")
                values = [event.after[column] for column in columns]
                index.execute("INSERT INTO article (rowid, title, body, author_name) VALUES (?, ?, ?, ?)", values)
            index.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (event.token,))

    def _keep(self, token: str) -> None:
        with self._open() as index:
            index.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (token,))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30)


if __name__ == "__main__":
    SearchIndex(sys.argv[2]).follow(sys.argv[1])

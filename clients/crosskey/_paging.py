"""Going through pages: which one to ask for next, and when to stop."""

from __future__ import annotations

from crosskey._operations import Page
from crosskey.row_reading import Rows

MAX_PAGE_SIZE = 1_000
"""As many rows as a router puts on a page."""


class Pages:
    """What is still to be asked for of a list, of all its rows or the first `limit` of them."""

    def __init__(self, page_size: int, limit: int | None) -> None:
        """Raises ValueError for a negative limit."""
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is 0 or more, not {limit}")
        self._page_size = page_size
        self._left = limit
        self._is_last = limit == 0
        self.next_token = ""

    @property
    def wants_more(self) -> bool:
        """Whether there is another page to ask for."""
        return not self._is_last

    @property
    def next_size(self) -> int:
        """How many rows to ask for; 0 leaves it to the router."""
        if self._left is None:
            return self._page_size
        # Of a larger page than it gives, a router gives what it has room for.
        return min(self._left, self._page_size or MAX_PAGE_SIZE)

    def take(self, page: Page) -> Rows:
        """The rows of a page that are wanted."""
        rows = page.rows if self._left is None else page.rows[: self._left]
        if self._left is not None:
            self._left -= len(rows)
        self.next_token = page.next_page_token
        self._is_last = not self.next_token or self._left == 0
        return rows

"""How the story of the demo looks, on a terminal and in a pipe: of one width, so that each run prints the same."""

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from crosskey.cli.demo.json_text import json_text

WIDTH = 110
INDENT = "  "

_highlight = JSONHighlighter()


class StoryPage:
    """Prints a story."""

    def __init__(self) -> None:
        self._console = Console(width=WIDTH, highlight=False)
        self._scenes = 0

    def scene(self, title: str) -> None:
        """Begin a numbered scene."""
        self._scenes += 1
        self.space()
        self._console.rule(Text(f"{self._scenes}. {title}", "bold"), align="left")

    def space(self) -> None:
        """Print an empty line."""
        self._console.print()

    def tell(self, text: str) -> None:
        """Print a paragraph."""
        self._console.print(Text(textwrap.fill(text, WIDTH)))

    def note(self, text: str, style: str = "") -> None:
        """Print an indented paragraph."""
        wrapped = textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
        self._console.print(Text(wrapped, style))

    def request(self, method: str, request: dict[str, Any]) -> None:
        """Print a request to a method such as Router/Insert."""
        self.space()
        self.note(f"crosskey.v1.{method}", "bold cyan")
        self.json(request)
        self.note("→", "bold")

    def json(self, value: Any) -> None:
        """Print a value."""
        text = json_text(value, WIDTH - len(INDENT))
        self._console.print(_highlight(textwrap.indent(text, INDENT)))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table of texts and numbers; the first column names the rows."""
        table = Table(box=None, header_style="bold", padding=(0, 0, 0, len(INDENT)))
        for place, title in enumerate(header):
            table.add_column(title, justify="left" if place == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*map(str, row))
        self.space()
        self._console.print(table)

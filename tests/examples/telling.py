"""Telling the story of an example, and what its README says that it prints."""

import re
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO

from examples.showing_client import ShowingClient
from tests.docs.examples import ROOT, fences, masked

EXAMPLES = ROOT / "examples"

_NODE_CALLS = re.compile(r"(?<=calls to nodes: )s\d\s+\w+(,\s+s\d\s+\w+)*")
_PAGE_TOKEN = re.compile(r'"[\w-]{8}…"')


def told(name: str, address: str) -> str:
    """Tell the story of examples/NAME to the router at `address`; return what it printed, masked."""
    story = import_module(f"examples.{name}.story").story
    with redirect_stdout(StringIO()) as printed, ShowingClient(address) as client:
        story(client)
    return _masked(printed.getvalue())


def to_be_told(name: str) -> str:
    """What the README of examples/NAME ends with, masked."""
    *_, (language, output) = fences(EXAMPLES / name / "README.md")
    assert language == "text", "a README ends with what the story prints"
    return _masked(output)


def _masked(output: str) -> str:
    """The output without what differs from telling to telling."""
    return _PAGE_TOKEN.sub('"TOKEN"', masked(_NODE_CALLS.sub(_in_order, output)))


def _in_order(node_calls: re.Match[str]) -> str:
    """Calls that are made at the same time are told in any order, and broken into lines anywhere."""
    return ", ".join(sorted(" ".join(call.split()) for call in node_calls[0].split(",")))

"""Telling the story of an example, and what its README says that it prints."""

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO

from crosskey import Client
from examples.showing_client import ShowingClient
from tests.docs.examples import ROOT, fences, masked
from tests.fresh_cluster import FreshClusters

EXAMPLES = ROOT / "examples"

_NODE_CALLS = re.compile(r"(?<=calls to nodes: )s\d\s+\w+(,\s+s\d\s+\w+)*")
_PAGE_TOKEN = re.compile(r'"[\w-]{8}…"')


@dataclass(frozen=True)
class Told:
    """A story that was told: what it printed, what its README says, and a client for what it left."""

    printed: str
    in_readme: str
    client: Client


def told(name: str, fresh_cluster: FreshClusters) -> Told:
    """Tell the story of examples/NAME on a cluster of its own."""
    cluster = fresh_cluster((EXAMPLES / name / "schema.sql").read_text(encoding="utf-8"))
    *_, (language, output) = fences(EXAMPLES / name / "README.md")
    assert language == "text", "the README ends with what the story prints"
    story = import_module(f"examples.{name}.story").story
    return Told(_masked(_printed(story, cluster.address)), _masked(output), Client(cluster.address))


def _printed(story: Callable[[ShowingClient], None], address: str) -> str:
    with redirect_stdout(StringIO()) as printed, ShowingClient(address) as client:
        story(client)
    return printed.getvalue()


def _masked(output: str) -> str:
    return _PAGE_TOKEN.sub('"TOKEN"', masked(_NODE_CALLS.sub(_in_order, output)))


def _in_order(node_calls: re.Match[str]) -> str:
    """Calls that are made at the same time are told in any order, and broken into lines anywhere."""
    return ", ".join(sorted(" ".join(call.split()) for call in node_calls[0].split(",")))

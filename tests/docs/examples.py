"""The examples in the documentation: what to run, and what it says that one gets."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTED_ADDRESS = "127.0.0.1:7400"
GRPCURL = Path(sys.executable).with_name("grpcurl")
CALL_SECONDS = 30

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What is another one each time: ids that were minted, and moments.
_MINTED_ID = re.compile(r"\b01[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-(?!0{10})[0-9a-f]{12}\b")
_MOMENT = re.compile(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|\+00:00|\+00)?")
_REQUEST_ID = re.compile(r"\b[0-9a-f]{16}\b")


@dataclass(frozen=True)
class Example:
    """Code of one language, and the answer printed below it."""

    language: str
    code: str
    answer: str


def fences(document: Path) -> list[tuple[str, str]]:
    """Return language and content of each block of code, in order."""
    return _FENCE.findall(document.read_text(encoding="utf-8"))


def examples(document: Path) -> Iterator[Example]:
    """Yield the calls of grpcurl and the Python programs whose answer stands below them, in order."""
    blocks = fences(document)
    for (language, code), (below, answer) in pairwise(blocks):
        if below == "text" and (language == "python" or (language == "sh" and code.startswith("grpcurl "))):
            yield Example(language, code, answer)


def run(example: Example, address: str) -> str:
    """Run an example against the router at `address`; return what it printed."""
    code = example.code.replace(DOCUMENTED_ADDRESS, address)
    command = [sys.executable, "-c", code] if example.language == "python" else _grpcurl(code)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=CALL_SECONDS, stdin=subprocess.DEVNULL
    )
    return done.stdout + done.stderr


def masked(answer: str) -> str:
    """Return the answer without what differs from run to run."""
    for what, pattern in (("ID", _MINTED_ID), ("MOMENT", _MOMENT), ("REQUEST", _REQUEST_ID)):
        answer = pattern.sub(f"<{what}>", answer)
    return answer.strip()


def _grpcurl(code: str) -> list[str]:
    name, *arguments = shlex.split(code)
    assert name == "grpcurl", code
    return [str(GRPCURL), *arguments]

"""The documentation names what there is: files, functions, flags, reasons."""

import re
from pathlib import Path

import click
import pytest

from crosskey.errors import BY_REASON
from crosskey.router.serve import serve as serve_router
from crosskey.shard_node.serve import serve as serve_node
from tests.docs.examples import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FUNCTION = re.compile(r"\[([\w/]+\.py)\]\([^)]+\)((?: `\w+`(?:,| and)?)+)")
_REASON = re.compile(r"^\| `([A-Z_]+)` \| `([A-Z_]+)`", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What links can point to in a document: its headings, as GitHub spells them."""
    headings = _HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_functions_that_the_readme_names_are_where_it_says() -> None:
    found = _FUNCTION.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 6
    for file, names in found:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", names.replace(" and", "")):
            assert f"def {name}(" in source, f"{file} {name}"


@pytest.mark.parametrize("command", [serve_node, serve_router], ids=["node", "router"])
def test_every_setting_is_told(command: click.Command) -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for option in command.params:
        assert f"`{option.opts[0]}`" in operations
        assert f"`{option.envvar}`" in operations


def test_every_reason_is_told_with_its_code() -> None:
    told = dict(_REASON.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8")))
    reasons = {error("").reason_name: error.code.name for error in BY_REASON.values()}
    reasons.pop("UNSPECIFIED", None)
    assert told == reasons

"""The examples in the documentation do what it says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from crosskey.cli.advise import advise
from crosskey.local_cluster.cluster import LocalCluster
from tests.docs.examples import ROOT, examples, fences, masked, run

pytestmark = pytest.mark.searches


def test_those_of_the_readme(messenger: LocalCluster) -> None:
    done = [(masked(run(example, messenger.address)), example) for example in examples(ROOT / "README.md")]
    assert {example.language for _, example in done} == {"sh", "python"}
    for answer, example in done:
        assert answer == masked(example.answer), example.code


def test_those_of_errors(members: LocalCluster) -> None:
    for example in examples(ROOT / "docs" / "errors.md"):
        assert masked(run(example, members.address)) == masked(example.answer), example.code


def test_those_of_upserts(accounts: LocalCluster) -> None:
    for example in examples(ROOT / "docs" / "upserts.md"):
        assert masked(run(example, accounts.address)) == masked(example.answer), example.code


def test_those_of_relations(messenger: LocalCluster) -> None:
    done = [(masked(run(example, messenger.address)), example) for example in examples(ROOT / "docs" / "relations.md")]
    assert {example.language for _, example in done} == {"sh", "python"}
    for answer, example in done:
        assert answer == masked(example.answer), example.code


def test_those_of_types(things: LocalCluster) -> None:
    for example in examples(ROOT / "docs" / "types.md"):
        assert masked(run(example, things.address)) == masked(example.answer), example.code


def test_those_of_the_clients(books: LocalCluster) -> None:
    for example in examples(ROOT / "docs" / "clients.md"):
        assert masked(run(example, books.address)) == masked(example.answer), example.code


def test_that_of_advice(tmp_path: Path) -> None:
    blocks = fences(ROOT / "docs" / "advise.md")
    schema = tmp_path / "schema.sql"
    schema.write_text(next(code for language, code in blocks if language == "sql"))
    printed = CliRunner().invoke(advise, [str(schema)]).stdout
    lines = [line.rstrip() for line in printed.splitlines()]
    assert "\n".join(lines).strip("\n") == next(code for language, code in blocks if language == "text").strip("\n")

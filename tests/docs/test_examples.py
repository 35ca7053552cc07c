"""The examples in the documentation do what it says."""

from crosskey_cli.cluster import LocalCluster
from tests.docs.examples import ROOT, examples, masked, run


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

"""The commands on rows and on the cluster, as a shell would call them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from crosskey.cli import administration, data, transact
from crosskey.cli.commands import crosskey as main
from crosskey.router.command_line import router as router_main
from crosskey.shard_node.commands.command_line import shard_node as shard_node_main
from tests.client.toy_router import RunningRouter


class Runner:
    """Runs commands against a router."""

    def __init__(self, address: str) -> None:
        self._environment = {"CROSSKEY_ROUTER": address}

    def __call__(self, command: click.Command, *arguments: str, stdin: str | None = None) -> Result:
        """Returns what became of the command."""
        return CliRunner().invoke(command, arguments, input=stdin, env=self._environment)

    def lines(self, command: click.Command, *arguments: str, stdin: str | None = None) -> list[object]:
        """Returns the JSON lines that a command which must succeed prints."""
        result = self(command, *arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def run(toy: RunningRouter) -> Runner:
    return Runner(toy.address)


def test_rows_are_inserted_read_changed_counted_and_deleted(run: Runner) -> None:
    assert run.lines(data.insert, "users", '{"id": 1, "age": 5}') == [{"id": 1, "age": 5}]
    assert run.lines(data.insert, "users", "-", stdin='[{"id": 2}, {"id": 3}]') == [{"id": 2}, {"id": 3}]
    assert run.lines(data.get, "users", '{"id": 1}') == [{"id": 1, "age": 5}]
    assert run.lines(data.update, "users", "--key", '{"id": 2}', "--set", '{"age": 6}') == [{"id": 2, "age": 6}]
    assert run.lines(data.count, "users", "--where", '{"age": 6}') == [1]
    assert run.lines(data.delete, "users", "--where", '[{"column": "age", "value": 6}]') == [1]
    assert run.lines(data.list_rows, "users") == [{"id": 1, "age": 5}, {"id": 3}]
    assert run.lines(data.list_rows, "users", "--order-by", "id", "--descending", "--limit", "1") == [{"id": 3}]


def test_a_transaction_prints_one_answer_a_line(run: Runner) -> None:
    insert = {"insert": {"table": "users", "rows": [{"id": 1}]}}
    statements = [insert, {"set_constraints": {"deferred": True}}, {"group": {"statements": [insert]}}]
    error = {"reason": "UNIQUE_VIOLATION", "message": "taken"}
    metadata = {"constraint": "users_pkey", "table": "users"}
    lines = [[{"id": 1}], None, {"error": error | {"metadata": metadata}}]
    assert run.lines(transact.transact, "-", stdin=json.dumps(statements)) == lines
    nested = {"group": {"statements": [{"group": {"statements": [{"delete": {"table": "users"}}]}}]}}
    assert run.lines(transact.transact, json.dumps([nested])) == [[[1]]]


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        ("[{}]", "statement 0 names no statement"),
        ('[{"insert": {"tabel": "users"}}]', "not a TransactRequest"),
        ('{"insert": {}}', "not a TransactRequest"),
    ],
)
def test_what_are_no_statements_is_refused_before_anything_is_sent(
    run: Runner, statements: str, complaint: str
) -> None:
    result = run(transact.transact, statements)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_an_error_is_one_line_with_its_reason_and_where_it_happened(run: Runner) -> None:
    run(data.insert, "users", '{"id": 1}')
    result = run(data.insert, "users", '{"id": 1}')
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: UNIQUE_VIOLATION: taken (constraint=users_pkey, table=users)\n"


@pytest.mark.parametrize("text", ["{", "5", '["a"]'])
def test_what_are_no_rows_is_refused_before_anything_is_sent(run: Runner, text: str) -> None:
    result = run(data.insert, "users", text)
    assert result.exit_code == 2
    assert "Invalid value for 'ROWS'" in result.stderr


def test_a_request_is_explained(run: Runner) -> None:
    result = run(data.explain, '{"get": {"table": "users", "key": {"id": 1}}}')
    assert json.loads(result.stdout)["rpcs"] == ["get"]
    assert "names no request" in run(data.explain, "{}").stderr
    assert "not a ExplainRequest" in run(data.explain, '{"fetch": {}}').stderr


def test_a_schema_is_applied_and_shown(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE ..")
    assert "SCHEMA_NOT_LOADED" in run(administration.schema).stderr
    assert json.loads(run(administration.apply, str(file), "--dry-run").stdout)["changed"] is False
    assert json.loads(run(administration.apply, str(file)).stdout)["changed"] is True
    assert json.loads(run(administration.schema).stdout)["fingerprint"] == "CREATE .."


def test_the_cluster_is_shown(run: Runner) -> None:
    assert json.loads(run(administration.topology).stdout)["slots"] == 16384
    assert json.loads(run(administration.in_doubt).stdout)["transactions"][0]["gid"] == "g"


def test_an_audit_that_finds_something_fails(run: Runner, toy: RunningRouter) -> None:
    assert run(administration.audit).exit_code == 0
    toy.admin.damaged = True
    result = run(administration.audit)
    assert result.exit_code == 1
    assert "KIND_CHILD_WITHOUT_SHADOW" in result.stdout
    assert "2 findings" in result.stderr


def test_where_no_router_answers_the_command_says_how_to_get_one() -> None:
    result = Runner("127.0.0.1:1")(data.count, "users")
    assert result.exit_code == 1
    assert "no router answers at 127.0.0.1:1: start one with `crosskey up`" in result.output


COMMANDS = {"crosskey": main, "router": router_main, "shard_node": shard_node_main}


@pytest.mark.parametrize("program", COMMANDS)
def test_each_command_helps(program: str) -> None:
    """In a process of its own: click keeps how a command was first asked for help."""
    words = f"from tests.client.test_commands import check_help; check_help({program!r})"
    subprocess.run([sys.executable, "-c", words], check=True)


def check_help(program: str) -> None:
    group = COMMANDS[program]
    names = group.list_commands(click.Context(group))
    assert names
    for arguments in ([], *([name] for name in names)):
        short, long = (CliRunner().invoke(group, [*arguments, option]) for option in ("-h", "--help"))
        assert (short.exit_code, short.output) == (0, long.output)
        assert "Usage:" in short.output


def test_a_table_before_the_file_is_told_how_to_be_said(tmp_path: Path) -> None:
    file = tmp_path / "u.csv"
    file.touch()
    result = CliRunner().invoke(main, ["load", "users", str(file)])
    assert result.exit_code == 2
    assert f"one FILE is loaded into one --table: crosskey load --table users {file}" in result.stderr
    assert "does not exist" in CliRunner().invoke(main, ["load", "--table", "users", "absent.csv"]).stderr


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == "crosskey, version 0.1.0\n"

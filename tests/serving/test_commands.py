"""Command lines: lazy groups, flags that are settings, addresses."""

import sys
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import LazyGroup, setting

pytestmark = pytest.mark.processes


@click.command()
@setting("pool_size", click.IntRange(min=1), "Connections at most.", default=10)
@setting("dsn", click.STRING, "Where the database is.")
def show(pool_size: int, dsn: str) -> None:
    """Print the settings."""
    click.echo(f"{pool_size} {dsn}")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> LazyGroup:
    module = ModuleType("module_of_show")
    vars(module)["show"] = show
    monkeypatch.setitem(sys.modules, module.__name__, module)
    commands = {"show": ("module_of_show:show", "Print."), "broken": ("no_such_module:command", "Fail.")}
    return LazyGroup("group", help="A group.", lazy_commands=commands)


def test_a_lazy_command_runs(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["show", "--dsn", "here", "--pool-size", "3"])
    assert result.output == "3 here\n"


def test_a_command_that_cannot_be_imported_breaks_neither_help_nor_the_others(group: LazyGroup) -> None:
    assert "broken" in CliRunner().invoke(group, ["--help"]).output
    assert CliRunner().invoke(group, ["show", "--dsn", "here"]).exit_code == 0
    assert isinstance(CliRunner().invoke(group, ["broken"]).exception, ModuleNotFoundError)


def test_an_unknown_command_is_a_usage_error(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["dance"])
    assert result.exit_code == 2
    assert "No such command 'dance'" in result.output


def test_a_setting_is_read_from_the_environment() -> None:
    result = CliRunner().invoke(show, env={"CROSSKEY_DSN": "there", "CROSSKEY_POOL_SIZE": "4"})
    assert result.output == "4 there\n"


def test_a_setting_without_a_default_is_required() -> None:
    result = CliRunner().invoke(show)
    assert result.exit_code == 2
    assert "--dsn" in result.output


@pytest.mark.parametrize("address", ["127.0.0.1:7400", "node-0:0", "[::1]:65535"])
def test_an_address_is_host_and_port(address: str) -> None:
    assert ADDRESS.convert(f" {address} ", None, None) == address


@pytest.mark.parametrize("address", ["", "7400", ":7400", "host:", "host:http", "host:65536", "host:-1"])
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(click.BadParameter, match="is not HOST:PORT"):
        ADDRESS.convert(address, None, None)


def test_addresses_in_one_variable_are_separated_by_commas() -> None:
    @click.command()
    @click.option("--node", type=ADDRESS, multiple=True, envvar="NODES")
    def nodes(node: tuple[str, ...]) -> None:
        click.echo(node)

    assert CliRunner().invoke(nodes, env={"NODES": "a:1,b:2, c:3"}).output == "('a:1', 'b:2', 'c:3')\n"

"""What our command lines share: groups that import a subcommand only when it is used, and flags that are settings."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

Command = Callable[..., None]


class LazyGroup(click.Group):
    """A click group that imports a subcommand's module when it runs, so that none slows down or breaks the others."""

    def __init__(self, name: str, *, help: str, lazy_commands: Mapping[str, tuple[str, str]]) -> None:
        """Take the subcommands as name -> ("module:attribute", one line of help)."""
        # Subcommands have the same.
        super().__init__(name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self._lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands' names, in order."""
        return sorted([*super().list_commands(ctx), *self._lazy_commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand; None if there is none of this name."""
        if cmd_name not in self._lazy_commands:
            return super().get_command(ctx, cmd_name)
        target, _help = self._lazy_commands[cmd_name]
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands without importing them."""
        rows = [(name, text) for name, (_target, text) in sorted(self._lazy_commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def setting(
    name: str, type: click.ParamType[Any], help: str, *, default: object = None
) -> Callable[[Command], Command]:
    """Return a decorator that adds the flag --NAME, also read from CROSSKEY_NAME; required if it has no default."""
    # Click takes a default of None for one, and would not ask for the flag.
    presence: dict[str, Any] = {"required": True} if default is None else {"default": default, "show_default": True}
    return click.option(
        "--" + name.replace("_", "-"),
        type=type,
        envvar="CROSSKEY_" + name.upper(),
        show_envvar=True,
        help=help,
        **presence,
    )


def optional_setting(name: str, type: click.ParamType[Any], help: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the flag --NAME, also read from CROSSKEY_NAME; None if it is not given."""
    flag, variable = "--" + name.replace("_", "-"), "CROSSKEY_" + name.upper()
    return click.option(flag, name, type=type, envvar=variable, show_envvar=True, help=help)

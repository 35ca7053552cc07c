"""The command for a transaction to talk to: a line in, its answer out, and then the next line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

import click
import msgspec

from crosskey import Client, CrosskeyError, Transaction
from crosskey.cli.connection import SECONDS, connected, parse_message, print_json, router_options
from crosskey.cli.transact import printable
from crosskey.exact_json import exact_number
from crosskey.v1 import router_pb2

_statement = msgspec.json.Decoder(dict[str, Any], float_hook=exact_number)


@click.command()
@click.option(
    "--idle-timeout", type=SECONDS, help="Seconds that it may wait for a line; as the router is set if absent."
)
@click.option("--whole-timeout", type=SECONDS, help="Seconds that it may last; as the router is set if absent.")
@router_options
def transaction(idle_timeout: float | None, whole_timeout: float | None, router: str, timeout: float) -> None:
    """Run a transaction of the lines of standard input, and answer each before the next is read.

    A line is a statement as `transact` takes it, such as '{"get": {"table": "users", "key": {"id": 1}, "lock":
    "ROW_LOCK_FOR_UPDATE"}}', or one of the words group, end_group, roll_back_group, commit and roll_back. Each is
    answered by a line of JSON: as `transact` answers a statement, null for a word, {"error": ..} for what failed. An
    error ends the transaction, or the group until its roll_back_group. If the input ends before commit, all of it is
    rolled back, and the command exits with 1.
    """
    with connected(router, timeout) as client:
        if not _Talk(client, idle_timeout, whole_timeout).run(sys.stdin):
            raise click.ClickException("nothing was committed")


class _RolledBack(Exception):  # it leaves a group, and is no error
    pass


class _Talk:
    """One transaction, as lines ask for it."""

    def __init__(self, client: Client, idle_timeout: float | None, timeout: float | None) -> None:
        self._opened = client.transaction(idle_timeout=idle_timeout, timeout=timeout)
        self._groups: list[AbstractContextManager[None]] = []
        self._words = {
            "group": self._begin_group,
            "end_group": self._end_group,
            "roll_back_group": self._roll_back_group,
        }

    def run(self, lines: Iterable[str]) -> bool:
        """Answers lines until one ends the transaction. Whether it was committed."""
        with self._opened as opened:
            for line in map(str.strip, lines):
                if line == "commit":
                    opened.commit()
                    print_json(None)
                    return True
                if line == "roll_back":
                    break
                if line:
                    self._answer(opened, line)
            opened.roll_back()
        return False

    def _answer(self, opened: Transaction, line: str) -> None:
        try:
            print_json(self._words[line](opened) if line in self._words else _run(opened, line))
        except CrosskeyError as error:
            print_json(printable(error))

    def _begin_group(self, opened: Transaction) -> None:
        group = opened.group()
        group.__enter__()
        self._groups.append(group)

    def _end_group(self, _: Transaction) -> None:
        self._leave_group().__exit__(None, None, None)

    def _roll_back_group(self, _: Transaction) -> None:
        undone = _RolledBack()
        with suppress(_RolledBack):
            self._leave_group().__exit__(_RolledBack, undone, None)

    def _leave_group(self) -> AbstractContextManager[None]:
        if not self._groups:
            raise click.UsageError("there is no group to end")
        return self._groups.pop()


def _run(opened: Transaction, line: str) -> Any:
    """The answer of a statement. Raises click's UsageError if it is none, and what the router says."""
    try:
        value = _statement.decode(line)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"a line is a JSON object, or a word such as commit: {error}") from error
    statement = parse_message(value, router_pb2.Statement())
    if statement.WhichOneof("statement") in (None, "group"):
        raise click.UsageError("a statement is one of insert, get, update and so on; groups are the word group")
    return printable(opened.run(statement))

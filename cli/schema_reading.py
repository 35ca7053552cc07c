"""Reading a schema with the shard node's own commands: only they talk SQL."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from crosskey.catalog.planning import Refusal, SchemaRefused

_USAGE_ERROR = click.UsageError.exit_code

T = TypeVar("T")


def read_schema(command: str, dsn: str, decode: Callable[[bytes], T], schema: Path | None = None) -> T:
    """Return what `inspect`, `guards` or `survey` prints of a schema file, or of the database itself.

    Raises SchemaRefused with what the command says if the schema does not load or the database does not answer, and
    click.BadParameter if it cannot read the DSN.
    """
    arguments = [] if schema is None else ["--schema", str(schema.resolve())]
    done = subprocess.run(
        [sys.executable, "-m", "crosskey.shard_node", command, *arguments],
        # Not on the command line, where every user of the machine could read a password.
        env={**os.environ, "CROSSKEY_DSN": dsn},
        capture_output=True,
        check=False,
    )
    if done.returncode == _USAGE_ERROR:
        # Its own usage comes before it, and names the option.
        message = done.stderr.decode(errors="replace").strip().rpartition("Error: ")[2]
        raise click.BadParameter(message.partition(": ")[2], param_hint="'--dsn'")
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().removeprefix("Error: ")
        if schema is not None and message.startswith("line "):
            message = f"{schema}: {message}"
        raise SchemaRefused((Refusal(message),))
    return decode(done.stdout)

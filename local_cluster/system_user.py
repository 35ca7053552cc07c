"""Whom PostgreSQL runs as: it refuses to run as root."""

import fcntl
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

# Of folders that are made for one run: to change them surprises nobody.
TEMPORARY_PREFIX = "crosskey-"
POSTGRES_USER = "crosskey-postgres"


def postgres_user() -> str | None:
    """Return the system user to run PostgreSQL as; None for whoever runs this. Root gets a user made for it."""
    if os.geteuid() != 0:
        return None
    with _alone():
        if not _exists(POSTGRES_USER):
            subprocess.run(["useradd", "--system", POSTGRES_USER], check=True, capture_output=True)  # noqa: S607
            click.echo(f"PostgreSQL does not run as root: the system user {POSTGRES_USER} was made for it.", err=True)
    return POSTGRES_USER


@contextmanager
def _alone() -> Iterator[None]:
    """Keep out other clusters that start at the same moment, by a lock that leaves no file behind."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def give_folder_to(folder: Path, user: str | None) -> None:
    """Make `folder` private to `user`, and its parents passable for them; only make it private if user is None."""
    folder.chmod(stat.S_IRWXU)
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        make_passable(folder)


def make_passable(path: Path) -> None:
    """Let every user pass through the folders above `path`, without letting them list what is inside; say so."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            if not folder.name.startswith(TEMPORARY_PREFIX):
                click.echo(f"{folder} was made passable (o+x) for PostgreSQL, which does not run as root.", err=True)

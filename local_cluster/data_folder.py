"""The folder that keeps a cluster's data between runs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from crosskey.local_cluster.cluster_error import ClusterError


class Shape(msgspec.Struct):
    """What cannot change while there is data."""

    shards: int


class DataFolderError(ClusterError):
    """The folder is in use, or belongs to a cluster of another shape."""


@contextmanager
def claimed(folder: Path, shards: int) -> Iterator[None]:
    """Keep `folder` for this process alone, for a cluster of `shards` shards, for the length of the context.

    Raises DataFolderError if another process has it, or if its data is of another number of shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderError(f"another cluster runs on {folder}: stop it, or give another folder") from None
        _check_shards(folder / "cluster.json", shards)
        yield


def _check_shards(file: Path, shards: int) -> None:
    """Note the number of shards the first time; later, raise DataFolderError if it is another one."""
    if not file.exists():
        file.write_bytes(msgspec.json.encode(Shape(shards)))
        return
    found = msgspec.json.decode(file.read_bytes(), type=Shape).shards
    if found != shards:
        raise DataFolderError(
            f"the data in {file.parent} is of {found} shards, not {shards}: rows would not be found. "
            f"Use --shards {found}, or another folder with --data."
        )

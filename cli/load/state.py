"""What a load that was interrupted must know to go on: which load it is, and how its rows were cut into batches.

Which batches are loaded is not in the file: the cluster knows it, since it notes each in the transaction of its rows.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec


class LoadState(msgspec.Struct):
    """One load. `rows_before` has the tables' numbers of rows at its beginning.

    Once it is `finished` nothing is left but to forget it: the cluster may no longer know its batches.
    """

    source: str
    batch_rows: int
    rows_before: dict[str, int]
    finished: bool = False
    load: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)


class BadStateError(Exception):
    """The state file is none, or of another load."""


def read_state(path: Path, source: str, tables: Iterable[str]) -> LoadState | None:
    """The state of a load of these tables that was interrupted; None if there is no file. Raises BadStateError."""
    if not path.exists():
        return None
    try:
        state = msgspec.json.decode(path.read_bytes(), type=LoadState)
    except msgspec.MsgspecError:
        raise BadStateError(f"{path} is not the state of a load") from None
    if state.source != source or set(state.rows_before) != set(tables):
        raise BadStateError(
            f"{path} is the state of another load, of {state.source} ({', '.join(state.rows_before)}): go on with that"
            " one, name another file with --state, or remove it to give that load up"
        )
    return state


def write_state(path: Path, state: LoadState) -> None:
    """Writes the state, whole or not at all, so that it is there after a crash of the machine as well.

    A load whose id is lost after its first batch is committed would begin again, and load its rows twice.
    """
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(state) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """What makes a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

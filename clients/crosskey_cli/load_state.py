"""What a load that was interrupted must know to go on: which load it is, and how its rows were cut into batches.

Which batches are loaded is not in the file: the cluster knows it, since it notes each in the transaction of its rows.
"""

from __future__ import annotations

import uuid
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


def read_state(path: Path, source: str) -> LoadState | None:
    """The state of a load that was interrupted; None if there is no file. Raises BadStateError."""
    if not path.exists():
        return None
    try:
        state = msgspec.json.decode(path.read_bytes(), type=LoadState)
    except msgspec.MsgspecError:
        raise BadStateError(f"{path} is not the state of a load") from None
    if state.source != source:
        raise BadStateError(
            f"{path} is the state of another load, of {state.source}: go on with that one, name another file with"
            " --state, or remove it to give that load up"
        )
    return state


def write_state(path: Path, state: LoadState) -> None:
    """Writes the state, whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(msgspec.json.encode(state) + b"\n")
    beside.replace(path)

"""How much a write may answer, so that no answer is too large to be sent once the write is done."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from crosskey import errors

MAX_ROWS_MIB: Final = 10
"""Of rows as JSON. As google.protobuf.Struct they take up to 5.5 times as much: a number in an array, with its comma,
is 2 bytes there and 11 here. That fits into the 64 MiB that a server may send."""

MAX_ROWS_BYTES: Final = MAX_ROWS_MIB * 1024 * 1024


class AnswerSize:
    """The size of all that one transaction answers."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, rows_json: bytes, table: str) -> None:
        """Counts the rows that a write of a table answers. Raises AnswerTooLarge if all are too many."""
        self._bytes += len(rows_json)
        if self._bytes > MAX_ROWS_BYTES:
            raise answer_too_large(table)


def answer_too_large(table: str | None = None) -> errors.AnswerTooLarge:
    """What is raised before anything is committed."""
    return errors.AnswerTooLarge(
        f"the rows to answer have more than {MAX_ROWS_MIB} MiB",
        table=table,
        hint="Nothing was written. Say count_only, or write fewer rows at a time.",
    )


MAX_MESSAGE_MIB = 64
"""What gRPC carries between servers in one message."""

_ENVELOPE_BYTES = 1 << 16
"""More than what is around a call or an answer in a message of its own."""


def check_fits_message(call_or_answer: Message) -> None:
    """Raises AnswerTooLarge for a call, or an answer, that no message can carry."""
    if call_or_answer.ByteSize() > MAX_MESSAGE_MIB * 1024 * 1024 - _ENVELOPE_BYTES:
        raise errors.AnswerTooLarge(
            f"what a shard is sent, or answers, at once has more than {MAX_MESSAGE_MIB} MiB",
            hint="Nothing was written. Write or read fewer rows at a time, or smaller ones.",
        )

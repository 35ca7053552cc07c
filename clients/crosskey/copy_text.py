r"""PostgreSQL's text format of COPY, as far as a router and those who load rows read and write it: pure.

A row is a line, values are separated by tabs, a backslash escapes, and `\N` is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

NULL = b"\\N"

_END_OF_DATA = re.compile(rb"^\\\.\r?$", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def split_lines(lines: bytes) -> list[bytes]:
    """The lines without their ends. Raises ValueError for a line that would end the data for PostgreSQL."""
    if b"\\." in lines and _END_OF_DATA.search(lines):
        raise ValueError('a line "\\." ends the data of a COPY, and rows after it would be lost')
    split = lines.split(b"\n")
    if not split[-1]:
        split.pop()
    return split


def join_lines(lines: list[bytes]) -> bytes:
    """Lines with their ends."""
    return b"\n".join(lines) + b"\n"


def read_fields(lines: Sequence[bytes], place: int) -> list[bytes | None]:
    """The value at a place of each line: None for NULL, and for a line that is too short."""
    fields = _first_fields(lines) if place == 0 else _later_fields(lines, place)
    return [field if field is None or b"\\" not in field else _value(field) for field in fields]


def _first_fields(lines: Sequence[bytes]) -> Sequence[bytes | None]:
    return [line.partition(b"\t")[0] for line in lines]


def _later_fields(lines: Sequence[bytes], place: int) -> Sequence[bytes | None]:
    split = [line.split(b"\t", place + 1) for line in lines]
    return [fields[place] if len(fields) > place else None for fields in split]


def _value(escaped: bytes) -> bytes | None:
    return None if escaped == NULL else unescaped(escaped)


def text_of(field: bytes) -> str | None:
    """A value as text; None for NULL. Raises UnicodeDecodeError if it is not UTF-8."""
    if b"\\" not in field:
        return field.decode()
    return None if field == NULL else unescaped(field).decode()


def unescaped(field: bytes) -> bytes:
    """A value's own bytes."""
    return _ESCAPE.sub(_escaped_bytes, field)


def _escaped_bytes(escape: re.Match[bytes]) -> bytes:
    sequence = escape[1]
    if sequence[:1] == b"x" and len(sequence) > 1:
        return bytes([int(sequence[1:], 16)])
    if sequence[:1].isdigit() and sequence < b"8":
        return bytes([int(sequence, 8) & 0xFF])
    return _ESCAPED_LETTERS.get(sequence, sequence)


def field_of(value: Any) -> bytes:
    """The field of a JSON value, as PostgreSQL's JSON functions would hand it to a column."""
    if value is None:
        return NULL
    return field_of_text(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def field_of_text(text: str) -> bytes:
    """The field of a value that is given as PostgreSQL's text of it."""
    return text.translate(_SPECIAL).encode()

"""The rows of CSV and JSON lines files, as blocks of lines in the text format of COPY."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import msgspec

from crosskey.cli.load.columns import BadFileError, TableColumns
from crosskey.copy_text import NULL, field_of_text

LINE_ENDS = {"\n": "a line feed", "\r": "a carriage return", "\r\n": "a carriage return and a line feed"}


@dataclass
class FileBlock:
    """Rows with one set of columns; `line_numbers` says where in the file each begins."""

    columns: tuple[str, ...]
    rows: list[bytes] = field(default_factory=list)
    line_numbers: list[int] = field(default_factory=list)

    @property
    def lines(self) -> bytes:
        """The rows as whole lines."""
        return b"\n".join(self.rows) + b"\n"


_names = json.JSONDecoder(object_pairs_hook=lambda pairs: [name for name, _ in pairs], parse_int=str, parse_float=str)
"""Reads the names of an object's members, each as often as it comes."""

Record = tuple[tuple[str, ...], bytes, int]
"""A row's columns, its line in COPY's format, and its line in the file."""

JSON_TYPES = frozenset({"json", "jsonb"})


def csv_records(file: TextIO, delimiter: str, known: TableColumns) -> Iterator[Record]:
    """The rows of a CSV file as PostgreSQL writes it: with a header, and an unquoted empty value for NULL.

    `file` leaves line ends as they are. Raises BadFileError.
    """
    records = _csv_lines(file)
    read = _csv_reader(delimiter)
    header = next(records, None)
    if header is None:
        raise BadFileError("line 1: the file has no header, which names the columns")
    columns = tuple(name or "" for name in read(*header))
    with _named_line(header[1]):
        known.check(columns)
    for text, number in records:
        values = read(text, number)
        if len(values) != len(columns):
            raise BadFileError(f"line {number}: {len(values)} values for {len(columns)} columns")
        yield columns, b"\t".join([NULL if value is None else field_of_text(value) for value in values]), number


def _csv_lines(file: TextIO) -> Iterator[tuple[str, int]]:
    """Each record without its end, and its first line's number: a quoted value may have line ends in it."""
    parts: list[str] = []
    start = quotes = 0
    line_end = ""
    for number, line in enumerate(file, start=1):
        if not parts:
            start = number
        parts.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            text = "".join(parts)
            end = _line_end(line)
            line_end = line_end or end
            if end not in (line_end, ""):
                raise BadFileError(f"line {number}: it ends with {LINE_ENDS[end]}, and lines before with another end")
            yield text.removesuffix(end), start
            parts, quotes = [], 0
    if parts:
        raise BadFileError(f"line {start}: a quoted value does not end")


def _line_end(line: str) -> str:
    """What the line ends with, as in PostgreSQL's COPY; nothing if it is the last one and its end is missing."""
    if line.endswith("\r\n"):
        return "\r\n"
    return line[-1:] if line[-1:] in LINE_ENDS else ""


def _csv_reader(delimiter: str) -> Callable[[str, int], list[str | None]]:
    one = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{re.escape(delimiter)}]*))(?:{re.escape(delimiter)}|$)')

    def read(text: str, number: int) -> list[str | None]:
        if '"' not in text:
            return [value or None for value in text.split(delimiter)]
        values: list[str | None] = []
        # The delimiter that is added ends the last value as any other.
        position, text = 0, text + delimiter
        while position < len(text):
            found = one.match(text, position)
            if found is None or found.end() == position:
                raise BadFileError(f"line {number}: a quote in the middle of a value")
            quoted, plain = found.groups()
            values.append(plain or None if quoted is None else quoted.replace('""', '"'))
            position = found.end()
        return values

    return read


def json_records(file: Iterable[str], known: TableColumns) -> Iterator[Record]:
    """The rows of a JSON lines file: an object a line, in the form that the API answers. Empty lines are left out.

    Raises BadFileError.
    """
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    checked: set[tuple[str, ...]] = set()
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        with _named_line(number):
            row = decoder.decode(line)
            columns = tuple(row)
            _check_members(line, len(row))
            if columns not in checked:
                known.check(columns)
                checked.add(columns)
            values = [_json_field(known.types[name], bytes(value)) for name, value in row.items()]
        yield columns, b"\t".join(values), number


@contextmanager
def _named_line(number: int) -> Iterator[None]:
    """Names the line in what is wrong with it."""
    try:
        yield
    except (msgspec.MsgspecError, BadFileError) as error:
        raise BadFileError(f"line {number}: {error}") from None
    except RecursionError:
        raise BadFileError(f"line {number}: a value nests too deep to be read") from None


def _check_members(line: str, members: int) -> None:
    """Raises BadFileError if the object has a member twice, so that there are fewer: a value would be lost."""
    names: list[str] = _names.decode(line)
    if len(names) > members:
        twice = next(name for name in names if names.count(name) > 1)
        raise BadFileError(f'the object has "{twice}" twice')


def _json_field(base_type: str, raw: bytes) -> bytes:
    """A JSON value as the field of a column: for json itself it is the value, for others the text of one."""
    if raw == b"null":
        return NULL
    if base_type in JSON_TYPES:
        return field_of_text(raw.decode())
    if raw[:1] == b'"':
        text = msgspec.json.decode(raw, type=str)
        if base_type == "bytea" and text and not text.startswith("\\x"):
            raise BadFileError('bytes are "\\x" and hexadecimal digits, not base64')
        return field_of_text(text)
    if raw[:1] == b"[":
        return field_of_text(_array_text(msgspec.json.decode(raw, type=list[msgspec.Raw]), base_type))
    if raw[:1] == b"{":
        raise BadFileError("an object is the value of a json or jsonb column only; give others as text")
    return raw


def _array_text(elements: Sequence[msgspec.Raw], base_type: str) -> str:
    """PostgreSQL's text of an array."""
    if not base_type.startswith("_"):
        raise BadFileError("a list is the value of an array, json or jsonb column only")
    return "{" + ",".join(_element_text(bytes(element), base_type) for element in elements) + "}"


def _element_text(raw: bytes, base_type: str) -> str:
    if raw == b"null":
        return "NULL"
    if base_type.removeprefix("_") in JSON_TYPES:
        return _quoted_element(raw.decode())
    if raw[:1] == b"[":
        return _array_text(msgspec.json.decode(raw, type=list[msgspec.Raw]), base_type)
    if raw[:1] == b"{":
        raise BadFileError("an object is an element of a json or jsonb array only")
    return _quoted_element(msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else raw.decode())


def _quoted_element(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def file_blocks(records: Iterable[Record], *, rows: int, size: int) -> Iterator[FileBlock]:
    """Records in blocks of so many rows, or fewer of so many bytes; a new set of columns begins a new one."""
    block: FileBlock | None = None
    bytes_in_block = 0
    for columns, line, number in records:
        if block is not None and (columns != block.columns or len(block.rows) >= rows or bytes_in_block >= size):
            yield block
            block = None
        if block is None:
            block, bytes_in_block = FileBlock(columns), 0
        block.rows.append(line)
        block.line_numbers.append(number)
        bytes_in_block += len(line) + 1
    if block is not None:
        yield block


def read_records(path: Path, file_format: str, delimiter: str, known: TableColumns) -> Iterator[Record]:
    """The rows of a UTF-8 file, with a byte order mark or without, for a table with the `known` columns.

    Lines end with a line feed, a carriage return or both. Raises BadFileError, which names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv_records(file, delimiter, known) if file_format == "csv" else json_records(file, known)
    except UnicodeDecodeError as error:
        raise BadFileError(f"{path}: not UTF-8 text: {error.reason}") from None
    except BadFileError as error:
        raise BadFileError(f"{path}, {error}") from None

"""The rows of CSV and JSON lines files, as blocks of lines in the text format of COPY."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

from crosskey.copy_text import NULL, field_of_text

ROW = "\n"


class BadFileError(Exception):
    """A line that cannot be read; the message says which."""


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


Record = tuple[tuple[str, ...], bytes, int]
"""A row's columns, its line in COPY's format, and its line in the file."""

JSON_TYPES = frozenset({"json", "jsonb"})


def csv_records(file: TextIO, delimiter: str) -> Iterator[Record]:
    """The rows of a CSV file as PostgreSQL writes it: with a header, and an unquoted empty value for NULL.

    Raises BadFileError.
    """
    records = _csv_lines(file)
    read = _csv_reader(delimiter)
    header = next(records, None)
    if header is None:
        raise BadFileError("line 1: the file has no header, which names the columns")
    columns = tuple(name or "" for name in read(*header))
    for text, number in records:
        values = read(text, number)
        if len(values) != len(columns):
            raise BadFileError(f"line {number}: {len(values)} values for {len(columns)} columns")
        yield columns, b"\t".join([NULL if value is None else field_of_text(value) for value in values]), number


def _csv_lines(file: TextIO) -> Iterator[tuple[str, int]]:
    """Each record without its end, and its first line's number: a quoted value may have line ends in it."""
    parts: list[str] = []
    start = quotes = 0
    for number, line in enumerate(file, start=1):
        if not parts:
            start = number
        parts.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            text = "".join(parts)
            yield text.removesuffix("\n").removesuffix("\r"), start
            parts, quotes = [], 0
    if parts:
        raise BadFileError(f"line {start}: a quoted value does not end")


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


def json_records(file: Iterable[str], types: Mapping[str, str]) -> Iterator[Record]:
    """The rows of a JSON lines file: an object a line, in the form that the API answers. Empty lines are left out.

    `types` has the base type of each column. Raises BadFileError.
    """
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
            values = [_json_field(types.get(name, ""), bytes(value)) for name, value in row.items()]
        except (msgspec.MsgspecError, BadFileError) as error:
            raise BadFileError(f"line {number}: {error}") from None
        yield tuple(row), b"\t".join(values), number


def _json_field(base_type: str, raw: bytes) -> bytes:
    """A JSON value as the field of a column: for json itself it is the value, for others the text of one."""
    if raw == b"null":
        return NULL
    if base_type in JSON_TYPES:
        return field_of_text(raw.decode())
    if raw[:1] == b'"':
        return field_of_text(msgspec.json.decode(raw, type=str))
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


def read_records(path: Path, file_format: str, delimiter: str, types: Mapping[str, str]) -> Iterator[Record]:
    """The rows of a UTF-8 file, with a byte order mark or without. Raises BadFileError, which names file and line."""
    try:
        with path.open(encoding="utf-8-sig", newline=ROW) as file:
            yield from csv_records(file, delimiter) if file_format == "csv" else json_records(file, types)
    except UnicodeDecodeError as error:
        raise BadFileError(f"{path}: not UTF-8 text: {error.reason}") from None
    except BadFileError as error:
        raise BadFileError(f"{path}, {error}") from None


def base_types(columns: Iterable[Any]) -> dict[str, str]:
    """The base type of each column of a TableDescription."""
    return {column.name: column.base_type for column in columns}

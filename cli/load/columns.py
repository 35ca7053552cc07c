"""The columns that a file names, against those that its table has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from crosskey.v1.admin_pb2 import ColumnDescription

_DELIMITERS = {";": "';'", "\t": "$'\\t'", "|": "'|'"}


class BadFileError(Exception):
    """A line that cannot be read; the message says which."""


@dataclass(frozen=True)
class TableColumns:
    """The base type of each column of a table, and which of them are computed."""

    table: str
    types: dict[str, str]
    generated: frozenset[str]

    @staticmethod
    def of(table: str, columns: Iterable[ColumnDescription]) -> TableColumns:
        """The columns as a TableDescription has them."""
        described = list(columns)
        generated = frozenset(column.name for column in described if column.generated)
        return TableColumns(table, base_types(described), generated)

    def check(self, names: Sequence[str]) -> None:
        """Raises BadFileError for names that rows cannot have, in PostgreSQL's words, also where no row follows."""
        for place, name in enumerate(names):
            if name not in self.types:
                raise BadFileError(f'column "{name}" of relation "{self.table}" does not exist{self._perhaps(name)}')
            if name in names[:place]:
                raise BadFileError(f'column "{name}" specified more than once')
            if name in self.generated:
                raise BadFileError(f'column "{name}" is a generated column, which rows cannot give')

    def _perhaps(self, name: str) -> str:
        """What may have been meant by a name that no column has."""
        for delimiter, shown in _DELIMITERS.items():
            if delimiter in name and set(name.split(delimiter)) <= self.types.keys():
                return f": the values seem to be separated by another sign than the comma, so add --delimiter {shown}"
        near = get_close_matches(name.lower(), self.types, n=1)
        return f'; perhaps it is "{near[0]}"' if near else ""


def base_types(columns: Iterable[ColumnDescription]) -> dict[str, str]:
    """The base type of each column of a TableDescription."""
    return {column.name: column.base_type for column in columns}

"""The types of sums and averages, as PostgreSQL has them."""

from __future__ import annotations

from typing import Final, LiteralString

_SUMS: Final[dict[str, LiteralString]] = {
    "int2": "int8",
    "int4": "int8",
    "int8": "numeric",
    "numeric": "numeric",
    "float4": "float4",
    "float8": "float8",
    "interval": "interval",
    "money": "money",
}
_AVERAGES: Final[dict[str, LiteralString]] = {
    "int2": "numeric",
    "int4": "numeric",
    "int8": "numeric",
    "numeric": "numeric",
    "float4": "float8",
    "float8": "float8",
    "interval": "interval",
}


def sum_type(base_type: str) -> LiteralString | None:
    """The type of a sum of values of that type; None if they have none."""
    return _SUMS.get(base_type)


def average_type(base_type: str) -> LiteralString | None:
    """The type of their average; None if they have none."""
    return _AVERAGES.get(base_type)

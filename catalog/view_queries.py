"""What a view reads, as far as it matters for where its rows are: its query without expressions and conditions.

A node makes these of PostgreSQL's own tree of the query; like the rest of the description, they name no object by its
number, so that they are the same on every shard.
"""

from __future__ import annotations

from typing import Literal

import msgspec

JoinKind = Literal["inner", "left", "right", "full"]


class Var(msgspec.Struct, frozen=True, cache_hash=True):
    """A column of a source: of this query's, or with `up` of the query that many levels around it.

    Of a table or view, `column` is its name, of a query its place from 1.
    """

    source: int
    column: str
    up: int = 0


Equal = tuple[Var, Var]
"""Two columns of which a condition says that they are equal, by an operator that no equal values of a slot escape."""


class Source(msgspec.Struct, frozen=True):
    """What a query reads: a table or view (`schema.name`), a query within, or `other`, of which each shard has its own.

    None of these is what reads no rows that are stored: VALUES, or a function in FROM.
    """

    table: str = ""
    query: Query | None = None
    other: str = ""
    recursive: bool = False
    """Whether it is what WITH RECURSIVE has found so far."""


class Join(msgspec.Struct, frozen=True):
    """A join of two sources, or joins of these, with what its condition holds equal."""

    kind: JoinKind
    left: int | Join
    right: int | Join
    equal: tuple[Equal, ...] = ()


class Query(msgspec.Struct, frozen=True):
    """A SELECT.

    `targets` are what it answers, and behind the first `width` what it groups or sorts by besides: None for an
    expression. `grouped`, `distinct`, `ordered` and each of `windows` and of `windows_ordered` are places in `targets`:
    what a window is PARTITION BY, and what it is ORDER BY. `union` are the sources that UNION, INTERSECT or EXCEPT put
    together, with `union_all` if each is a UNION ALL.
    """

    sources: tuple[Source, ...]
    joined: tuple[int | Join, ...] = ()
    equal: tuple[Equal, ...] = ()
    within: tuple[Query, ...] = ()
    """The queries inside of its expressions, such as EXISTS (SELECT ..)."""
    targets: tuple[Var | None, ...] = ()
    width: int = 0
    grouped: tuple[int, ...] | None = None
    grouping_sets: bool = False
    distinct: tuple[int, ...] | None = None
    windows: tuple[tuple[int, ...], ...] = ()
    windows_ordered: tuple[tuple[int, ...], ...] = ()
    ordered: tuple[int, ...] = ()
    limited: bool = False
    locks: bool = False
    multiplies: bool = False
    """Whether an expression in what it answers makes several rows of one."""
    union: tuple[int, ...] = ()
    union_all: bool = False

"""What a nested request asks for, read from its JSON: rows, and what is to become of the rows of their relations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.relations import Relation
from crosskey.router.planning.given_values import Row
from crosskey.router.planning.nesting.paths import naming_path, within
from crosskey.router.planning.rights import allow_word
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import unknown_column

MAX_DEPTH = 6
"""How deep rows nest, as includes do. Each level takes its calls after those of the one above it."""

MAX_ROWS = 1000
"""How many rows of relations a request names or creates: each is a row in Python, and all are in one transaction."""

WHEN_CREATED = ("create", "connect", "connect_or_create")
OF_ONE = (*WHEN_CREATED, "disconnect", "update", "upsert", "delete")
OF_MANY = (*WHEN_CREATED, "set", "disconnect", "update", "upsert", "delete")

_WORDS = frozenset((*OF_ONE, *OF_MANY))

DELETE_DETACHED = "delete_detached"
"""Beside `set`: that rows which lose a key that is NOT NULL be deleted."""

JOIN = "crosskey_join"
"""Under which a row has the other columns of its row of the join table; answers have them there, too."""


@dataclass(slots=True, eq=False)
class NestedRow:
    """A row to create, or the new values of one to change, and what is to become of the rows of its relations."""

    table: TablePlan
    values: Row
    path: str
    tasks: list[Task] = field(default_factory=list)
    sought: Row | None = None
    """The key by which it was looked for; it is created because it was not found."""
    stored: bytes | None = None
    """The row as it is stored, as JSON, once it is."""


@dataclass(slots=True, eq=False)
class Task:
    """One thing to do with rows of a relation: `word` is one of OF_ONE and OF_MANY.

    `key` is a unique key of the row that is meant, `row` what to create, `change` what to change in it. `keys` are the
    rows of a `set`.
    """

    relation: Relation
    word: str
    path: str
    key: Row = field(default_factory=dict)
    row: NestedRow | None = None
    change: NestedRow | None = None
    join: Row = field(default_factory=dict)
    keys: list[Task] = field(default_factory=list)
    delete_detached: bool = False
    joined: bytes | None = None
    """The other columns of the row of the join table as it is stored, as JSON, once it is."""


def is_nested(view: SchemaView, table: TablePlan, row: Row) -> bool:
    """Whether a row has something under the name of a relation, or what looks so under a name that is none."""
    relations = view.relations[table.table.name]
    return any(
        table.table.column(name) is None and (name in relations or _looks_nested(value)) for name, value in row.items()
    )


def _looks_nested(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and _WORDS.issuperset(value)


class TaskReader:
    """Reads one request. All methods raise InvalidRequest, whose path says where, and UnknownColumn."""

    def __init__(self, view: SchemaView) -> None:
        self._view = view
        self._rows = 0

    def row(self, table: TablePlan, given: Row, path: str, *, exists: bool, depth: int = 1) -> NestedRow:
        """A row that exists already, or that is to be created."""
        row = NestedRow(table, {}, path)
        relations = self._view.relations[table.table.name]
        for name, value in given.items():
            with naming_path(path):
                if table.table.column(name) is not None:
                    row.values[name] = value
                    continue
                if name not in relations:
                    raise _unknown(table.table, name, value, sorted(relations))
                relation = self._view.relation(table, name)
            row.tasks += self._tasks(relation, value, within(path, name), exists=exists, depth=depth)
        return row

    def keys(self, relation: Relation, rows: Sequence[Row]) -> list[Task]:
        """The rows at the other end that an association names."""
        return [
            self._task(relation, "connect", row, f"rows[{number}]", exists=True, depth=1)
            for number, row in enumerate(rows)
        ]

    def _tasks(self, relation: Relation, value: Any, path: str, *, exists: bool, depth: int) -> Iterator[Task]:
        with naming_path(path):
            if depth > MAX_DEPTH:
                raise _refused(relation, f"is too deep: rows nest at most {MAX_DEPTH} deep")
            words = [word for word in _checked_words(relation, value, exists=exists) if word != DELETE_DETACHED]
            delete_detached = value.get(DELETE_DETACHED, False) is True
        for word in words:
            allow_word(relation, word, delete_detached=delete_detached)
            for place, element in _elements(relation, word, value[word], path):
                task = self._task(relation, word, element, place, exists=exists, depth=depth)
                task.delete_detached = delete_detached
                yield task

    def _task(self, relation: Relation, word: str, given: Any, path: str, *, exists: bool, depth: int) -> Task:
        task = Task(relation, word, path)
        with naming_path(path):
            self._count()
            if word == "set":
                task.keys = [
                    self._task(relation, "connect", key, f"{path}[{number}]", exists=exists, depth=depth)
                    for number, key in enumerate(_list(relation, given))
                ]
                return task
            if word in ("disconnect", "delete") and not relation.many:
                if given is not True:
                    raise _refused(relation, f"takes true for {word}: there is one row at most")
                return task
            parts = _parts(relation, word, given)
        if "where" in parts:
            task.key, task.join = _without_join(relation, parts["where"], path)
        if "create" in parts:
            values, join = _without_join(relation, parts["create"], path)
            task.join = {**task.join, **join}
            task.row = self._inner(relation, values, path, exists=False, depth=depth)
            task.row.sought = task.key if word == "connect_or_create" else None
        if "update" in parts:
            task.change = self._inner(relation, parts["update"], path, exists=True, depth=depth)
        return task

    def _inner(self, relation: Relation, given: Row, path: str, *, exists: bool, depth: int) -> NestedRow:
        target = self._view.table(relation.target.qualified)
        return self.row(target, given, path, exists=exists, depth=depth + 1)

    def _count(self) -> None:
        self._rows += 1
        if self._rows > MAX_ROWS:
            raise errors.InvalidRequest(
                f"a request names or creates at most {MAX_ROWS} rows of relations",
                hint="Send several requests, or insert the rows by themselves.",
            )


def _checked_words(relation: Relation, value: Any, *, exists: bool) -> Sequence[str]:
    """The words under a relation's name, those that go before the others first."""
    known = WHEN_CREATED if not exists else OF_MANY if relation.many else OF_ONE
    if not isinstance(value, dict):
        raise _refused(relation, f'takes an object with {", ".join(known)}, such as {{"create": {{..}}}}')
    for word in value:
        if word in known or (word == DELETE_DETACHED and "set" in value):
            continue
        why = f'not "{word}"'
        if word in _WORDS:
            why = f'"{word}" is for ' + ("rows that are there" if not exists else "relations to many rows")
        raise _refused(relation, f"takes {', '.join(known)}; {why}")
    words = [word for word in value if word != DELETE_DETACHED]
    if not relation.many and len(words) != 1:
        raise _refused(relation, f"leads to one row at most, and takes one of {', '.join(known)}")
    if not isinstance(value.get(DELETE_DETACHED, False), bool):
        raise _refused(relation, f"takes true or false for {DELETE_DETACHED}")
    return words


def _elements(relation: Relation, word: str, given: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What a word takes, each with its path: that of a row to create is without the word."""
    place = path if word == "create" else within(path, word)
    if word == "set" or not relation.many:
        yield place, given
        return
    for number, element in enumerate(given if isinstance(given, list) else [given]):
        yield f"{place}[{number}]", element


def _parts(relation: Relation, word: str, given: Any) -> dict[str, Row]:
    """What an element says of which row is meant (`where`), what to create and what to change (`update`)."""
    if not isinstance(given, dict):
        raise _refused(relation, f"takes an object for {word}")
    names: Sequence[str] = ()
    match word:
        case "create":
            return {"create": given}
        case "update" if not relation.many:
            return {"update": given}
        case "update":
            names = ("where", "data")
        case "upsert":
            names = ("where", "create", "update") if relation.many else ("create", "update")
        case "connect_or_create":
            names = ("where", "create")
        case _:
            return {"where": given}
    if given.keys() != set(names) or not all(isinstance(part, dict) for part in given.values()):
        raise _refused(relation, f"takes an object with the objects {', '.join(names)} for {word}")
    return {"update" if name == "data" else name: part for name, part in given.items()}


def _without_join(relation: Relation, given: Row, path: str) -> tuple[Row, Row]:
    """A row without the other columns of its row of the join table, and these."""
    if JOIN not in given:
        return given, {}
    join = given[JOIN]
    with naming_path(path):
        if relation.far_key is None or not isinstance(join, dict):
            raise _refused(relation, f"takes {JOIN} only with columns of a join table, as an object")
    return {name: value for name, value in given.items() if name != JOIN}, join


def _list(relation: Relation, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise _refused(relation, "takes an array for set, with the keys of all rows that there shall be")
    return given


def _unknown(table: Table, name: str, value: Any, relations: Sequence[str]) -> errors.CrosskeyError:
    """The error of a name that is neither a column nor a relation; what it has tells which it was to be."""
    if _looks_nested(value):
        known = ", ".join(f'"{one}"' for one in relations) or "none"
        return errors.InvalidRequest(
            f'"{table.name}" has no relation "{name}"; its relations are {known}', table=str(table.name)
        )
    return unknown_column(table, name)


def _refused(relation: Relation, why: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f'the relation "{relation.name}" {why}', table=str(relation.table))

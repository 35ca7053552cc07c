"""From the pieces of two schemas to the steps between them: pure.

What the steps come to is compared with the new schema where they are tried, so a change that is forgotten here is
refused, and never half done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import msgspec

from crosskey.catalog.changes.columns import Unsupported, add_column, change_column, drop_column, validated
from crosskey.catalog.changes.pieces import Key, Piece, Pieces, literal, quoted
from crosskey.catalog.changes.renamed_pieces import rename_piece, renamed_pieces
from crosskey.catalog.changes.steps import (
    ACCESS_EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Phase,
    Step,
)

_MADE_FIRST = ("schema", "extension", "enum", "domain", "composite", "sequence", "function", "table")
_MADE_LAST = ("constraint", "index", "function", "statistics", "trigger", "view")
_GOES_WITH_TABLE = frozenset({"column", "constraint", "index", "trigger", "comment", "statistics", "sequence"})
_FOREIGN_KEY, _CHECK = "f", "c"
_UNIQUE = ("p", "u")
ADD_LABEL = "add label"
_INDEXED = (*_UNIQUE, "x")


def find_steps(old: Pieces, new: Pieces, renamed: Set[str] = frozenset()) -> list[Step]:
    """The steps from one to the other, in order. Raises Unsupported, which names the first change that has none.

    `renamed` are the tables, by their new `schema.name`, that have another name from the flip on, or a column of which
    has; the old pieces have the new names already. Nothing is made on such a table before the flip.
    """
    return list(_Difference(old, new, renamed).steps())


class _Difference:
    def __init__(self, old: Pieces, new: Pieces, renamed: Set[str]) -> None:
        self._old, self._new = old, new
        self._renamed_tables = renamed
        self._renamed = renamed_pieces(old, new)
        same = {piece.key for pair in self._renamed for piece in pair}
        self._gone = sorted((old[key] for key in old.keys() - new.keys() - same), key=_place, reverse=True)
        self._added = sorted((new[key] for key in new.keys() - old.keys() - same), key=_place)
        self._changed = sorted(
            ((old[key], new[key]) for key in old.keys() & new.keys() if old[key].state != new[key].state),
            key=lambda pair: pair[1].place,
        )
        self._gone_tables = {piece.name for piece in self._gone if piece.kind == "table"}
        self._added_tables = {piece.name for piece in self._added if piece.kind == "table"}

    def steps(self) -> Iterator[Step]:
        self._refuse()
        for old, new in self._changed:
            if old.kind == "enum":
                yield from self._add_labels(old, new)
        yield from self._drop()
        for old, new in self._renamed:
            yield rename_piece(self._table(new.table), old, new)
        for piece in self._added:
            if piece.kind in _MADE_FIRST and not piece.facts.get("late"):
                yield from self._make_first(piece)
        yield from self._replace_functions()
        yield from self._change_columns()
        for piece in sorted([*self._added, *self._made_anew()], key=_place):
            if piece.kind in _MADE_LAST and (piece.kind != "function" or piece.facts["late"]):
                yield from self._make_last(piece)
        yield from self._comments()

    def _refuse(self) -> None:
        for piece in (*self._gone, *self._added, *(new for _, new in self._changed)):
            if piece.kind == "other":
                raise Unsupported(f"{piece.name}: changes of these are not supported yet")
        for old, new in self._changed:
            if new.kind in ("table", "sequence", "domain", "composite", "extension", "statistics"):
                raise Unsupported(
                    f"{new.kind} {new.name}: it cannot be changed yet from ({old.state}) to ({new.state})"
                )
        for piece in self._added:
            if piece.kind == "table" and piece.state not in ("", "UNLOGGED"):
                raise Unsupported(f"table {piece.name}: adding a table with {piece.state} is not supported yet")
        for piece in self._gone:
            if piece.kind == "table" and "PARTITION" in piece.state:
                raise Unsupported(
                    f"table {piece.name}: dropping it is not supported yet, as it has to do with partitions"
                )

    def _add_labels(self, old: Piece, new: Piece) -> Iterator[Step]:
        """With the flip, unless something else uses one, which PostgreSQL allows once the label is committed."""
        before, after = old.facts["labels"] or [], new.facts["labels"] or []
        if [label for label in after if label in before] != before:
            raise Unsupported(f"type {new.name}: labels of an enum can be added, and neither dropped nor moved")
        added = [label for label in after if label not in before]
        phase: Phase = "before" if self._uses_any(added) else "flip"
        for label in added:
            place = after.index(label)
            where = f"AFTER {literal(after[place - 1])}" if place else f"BEFORE {literal(before[0])}" if before else ""
            sql = f"ALTER TYPE {new.name} ADD VALUE IF NOT EXISTS {literal(label)} {where}"
            yield Step(sql.rstrip(), phase, ADD_LABEL)

    def _uses_any(self, labels: Iterable[str]) -> bool:
        """Whether what is made has one of the labels in its SQL, as far as the text tells."""
        made = [piece for piece in (*self._added, *(new for _, new in self._changed)) if piece.kind != "enum"]
        return any(literal(label).strip() in piece.made_by for label in labels for piece in made)

    def _drop(self) -> Iterator[Step]:
        for kind in ("view", "trigger", "constraint", "index", "statistics"):
            pieces = [piece for piece in (*self._gone, *self._made_anew(old=True)) if piece.kind == kind]
            # A foreign key goes before the key that it references: it was made later.
            for piece in sorted(pieces, key=_place, reverse=True):
                if not self._goes_with_table(piece):
                    yield self._drop_piece(piece)
        # Pins reference the tables of the user's.
        yield from self._drop_tables(ours=True)
        yield from self._drop_tables(ours=False)
        for piece in self._gone:
            if piece.kind == "column" and piece.table not in self._gone_tables:
                yield drop_column(self._table(piece.table), piece)
        for kind in ("function", "sequence", "composite", "domain", "enum", "extension", "schema"):
            for piece in self._gone:
                if piece.kind == kind and not self._goes_with_table(piece):
                    yield self._drop_piece(piece)

    def _drop_tables(self, *, ours: bool) -> Iterator[Step]:
        """All at once, as they may reference each other."""
        tables = [piece for piece in self._gone if piece.kind == "table" and piece.is_ours == ours]
        if tables:
            names = ", ".join(piece.facts["quoted"] for piece in tables)
            drop = Step(f"DROP TABLE {names}", "flip", "drop table", "", ACCESS_EXCLUSIVE)
            yield msgspec.structs.replace(drop, destructive=not ours, ours=ours)

    def _drop_piece(self, piece: Piece) -> Step:
        name = piece.facts.get("quoted", piece.name)
        match piece.kind:
            case "view" | "index" | "sequence":
                sql = f"DROP {piece.kind.upper()} {'IF EXISTS ' if piece.kind == 'sequence' else ''}{name}"
            case "trigger":
                sql = f"DROP TRIGGER {quoted(piece.name)} ON {self._table(piece.table)}"
            case "constraint":
                sql = f"ALTER TABLE {self._table(piece.table)} DROP CONSTRAINT {quoted(piece.name)}"
            case "function":
                sql = f"DROP ROUTINE {piece.name}"
            case "composite":
                sql = f"DROP TYPE {'.'.join(map(quoted, piece.name.split('.', 1)))}"
            case "enum":
                sql = f"DROP TYPE {piece.name}"
            case "schema" | "extension":
                sql = f"DROP {piece.kind.upper()} {quoted(piece.name)}"
            case kind:
                sql = f"DROP {kind.upper()} {piece.name}"
        return Step(sql, "flip", f"drop {piece.kind}", piece.table, ACCESS_EXCLUSIVE, ours=piece.is_ours)

    def _make_first(self, piece: Piece) -> Iterator[Step]:
        if piece.kind == "table":
            yield from self._create_table(piece)
        elif piece.made_by:
            yield Step(piece.made_by, "flip", f"create {piece.kind}", ours=piece.is_ours)

    def _create_table(self, table: Piece) -> Iterator[Step]:
        columns = sorted(self._new_of("column", table.name), key=_place)
        words = ", ".join(column.made_by for column in columns)
        unlogged = "UNLOGGED " if table.state == "UNLOGGED" else ""
        name = table.facts["quoted"]
        yield Step(f"CREATE {unlogged}TABLE {name} ({words})", "flip", "create table", ours=table.is_ours)
        yield from self._own_sequences(table.name, {column.name for column in columns})

    def _own_sequences(self, table: str, columns: set[str]) -> Iterator[Step]:
        """Has sequences go with their columns, and identities count as they are to."""
        for sequence in self._added:
            facts = sequence.facts
            if sequence.kind != "sequence" or sequence.table != table or facts["column"] not in columns:
                continue
            if facts["identity"]:
                sql = f"ALTER SEQUENCE {facts['quoted']} {facts['options']} RESTART"
            else:
                sql = f"ALTER SEQUENCE {facts['quoted']} OWNED BY {self._table(table)}.{quoted(facts['column'])}"
            yield Step(sql, "flip", "set sequence", ours=sequence.is_ours)

    def _replace_functions(self) -> Iterator[Step]:
        for old, new in self._changed:
            if new.kind == "function":
                if old.facts["result"] != new.facts["result"]:
                    raise Unsupported(
                        f"function {new.name}: what it answers cannot be changed yet: give it another name"
                    )
                yield Step(new.made_by, "flip", "replace function", ours=new.is_ours)

    def _change_columns(self) -> Iterator[Step]:
        for piece in self._added:
            if piece.kind == "column" and piece.table not in self._added_tables:
                yield from add_column(self._table(piece.table), piece)
                yield from self._own_sequences(piece.table, {piece.name})
        for old, new in self._changed:
            if new.kind == "column":
                early = new.table not in self._renamed_tables
                yield from change_column(self._table(new.table), old, new, early=early)

    def _make_last(self, piece: Piece) -> Iterator[Step]:
        if piece.kind == "constraint":
            yield from self._add_constraint(piece)
        elif piece.kind == "index":
            yield from self._add_index(piece)
        else:
            on_table = piece.kind in ("trigger", "statistics") and piece.table not in self._added_tables
            yield Step(
                piece.made_by,
                "flip",
                f"create {piece.kind}",
                piece.table if on_table else "",
                SHARE_ROW_EXCLUSIVE if on_table else "",
                ours=piece.is_ours,
            )
            if piece.kind == "trigger" and piece.facts["enabled"] != "O":
                yield self._switch_trigger(piece)

    def _switch_trigger(self, trigger: Piece) -> Step:
        words = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}[trigger.facts["enabled"]]
        sql = f"ALTER TABLE {self._table(trigger.table)} {words} TRIGGER {quoted(trigger.name)}"
        return Step(sql, "flip", "switch trigger", trigger.table, SHARE_ROW_EXCLUSIVE)

    def _add_index(self, index: Piece) -> Iterator[Step]:
        stays = index.table not in self._added_tables
        waits = self._is_taken(index.name) or not self._is_there(index)
        if not stays or index.is_ours or index.facts["partitioned"] or waits:
            lock = SHARE if stays else ""
            yield Step(index.made_by, "flip", "create index", index.table if stays else "", lock, ours=index.is_ours)
            return
        yield _concurrently(index.made_by, index.facts["quoted"], index.table)

    def _add_constraint(self, constraint: Piece) -> Iterator[Step]:
        if constraint.table in self._added_tables:
            yield Step(constraint.made_by, "flip", "add constraint", ours=constraint.is_ours)
            return
        kind = constraint.facts["type"]
        there = self._is_there(constraint) and not constraint.is_ours
        if kind in _UNIQUE and there and not self._is_taken(_name_of_index(constraint)):
            yield from self._add_unique(constraint)
        elif kind == _FOREIGN_KEY and (self._crosses(constraint) or not there or self._references_new(constraint)):
            yield self._in_flip(constraint, " NOT VALID")
        elif kind in (_CHECK, _FOREIGN_KEY) and there:
            yield from self._add_checked(constraint)
        else:
            yield self._in_flip(constraint)

    def _in_flip(self, constraint: Piece, words: str = "") -> Step:
        sql = constraint.made_by + words
        return Step(sql, "flip", "add constraint", constraint.table, ACCESS_EXCLUSIVE, ours=constraint.is_ours)

    def _add_checked(self, constraint: Piece) -> Iterator[Step]:
        """It holds for new rows at once, and is looked up for the others while clients go on.

        If there is another one of the name until the flip, it has another name until then.
        """
        table, name = self._table(constraint.table), quoted(constraint.name)
        replaces = constraint.key in self._old
        early = quoted(f"crosskey_new_{constraint.name}"[:63]) if replaces else name
        undo = f"ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {early}"
        lock = SHARE_ROW_EXCLUSIVE if constraint.facts["type"] == _FOREIGN_KEY else ACCESS_EXCLUSIVE
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {early} {constraint.state} NOT VALID"
        yield Step(sql, "before", "add constraint", constraint.table, lock, undo=undo, clear=undo)
        yield validated(table, early, constraint.table)
        if replaces:
            sql = f"ALTER TABLE {table} RENAME CONSTRAINT {early} TO {name}"
            yield Step(sql, "flip", "rename constraint", constraint.table, ACCESS_EXCLUSIVE)

    def _add_unique(self, constraint: Piece) -> Iterator[Step]:
        table, name = self._table(constraint.table), quoted(constraint.name)
        schema = quoted(constraint.table.split(".", 1)[0])
        yield _concurrently(constraint.facts["index"], f"{schema}.{name}", constraint.table)
        words = "PRIMARY KEY" if constraint.facts["type"] == "p" else "UNIQUE"
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {name} {words} USING INDEX {name} {constraint.facts['deferring']}"
        yield Step(sql.rstrip(), "flip", "add constraint", constraint.table, ACCESS_EXCLUSIVE)

    def _comments(self) -> Iterator[Step]:
        for piece in self._gone:
            if piece.kind == "comment" and piece.table not in self._gone_tables and self._has_target(piece):
                yield Step(f"COMMENT ON {piece.name} IS NULL", "flip", "drop comment", ours=piece.is_ours)
        for piece in (*self._added, *(new for _, new in self._changed)):
            if piece.kind == "comment":
                yield Step(f"COMMENT ON {piece.name} IS {literal(piece.state)}", "flip", "comment", ours=piece.is_ours)

    def _has_target(self, comment: Piece) -> bool:
        """Whether what an old comment is on is still there, as far as its words tell."""
        if comment.name.startswith("COLUMN "):
            column = comment.name.rsplit(".", 1)[1]
            return any(
                quoted(piece.name) == column or piece.name == column for piece in self._new_of("column", comment.table)
            )
        if comment.name.startswith(("CONSTRAINT ", "TRIGGER ")):
            kind, _, rest = comment.name.partition(" ")
            name = rest.rsplit(" ON ", 1)[0].strip('"')
            return (kind.lower(), comment.table, name) in self._new
        gone = {piece.name for piece in self._gone if piece.kind != "comment"}
        return comment.name.split(" ", 1)[1].replace('"', "") not in gone

    def _made_anew(self, *, old: bool = False) -> list[Piece]:
        """Pieces that change by being dropped and made once more."""
        return [
            before if old else after
            for before, after in self._changed
            if after.kind in ("view", "trigger", "constraint", "index")
        ]

    def _goes_with_table(self, piece: Piece) -> bool:
        """Whether a piece goes by itself with its table; a foreign key is dropped before, for others' sake."""
        if piece.kind not in _GOES_WITH_TABLE or not piece.table:
            return False
        if piece.kind == "sequence" and (piece.table, piece.facts["column"]) in self._gone_columns():
            return True
        is_key = piece.kind == "constraint" and piece.facts["type"] == _FOREIGN_KEY
        return piece.table in self._gone_tables and not is_key

    def _gone_columns(self) -> set[tuple[str, str]]:
        return {(piece.table, piece.name) for piece in self._gone if piece.kind == "column"}

    def _is_there(self, piece: Piece) -> bool:
        """Whether all that an index or constraint is made of is there before the flip, as it will be after it."""
        if piece.table in self._renamed_tables:
            return False
        columns: Iterable[str] = piece.facts["columns"] or ()
        keys: list[Key] = [("column", piece.table, column) for column in columns]
        same = all(key in self._old and self._type(self._old[key]) == self._type(self._new[key]) for key in keys)
        return same and not piece.facts["calls"]

    def _crosses(self, key: Piece) -> bool:
        return str(key.facts["parent"]).startswith("crosskey")

    def _references_new(self, key: Piece) -> bool:
        """Whether a foreign key is onto a table that comes with the flip, or gets names by it; then it does too."""
        parent = key.facts["parent"]
        return parent in (self._added_tables | self._renamed_tables) and not self._crosses(key)

    def _is_taken(self, name: str) -> bool:
        """Whether the old schema has a relation of the name, which makes way with the flip only."""
        return any(_relation(piece) == name for piece in self._old.values())

    def _type(self, column: Piece) -> tuple[object, object]:
        return column.facts["type"], column.facts["collation"]

    def _new_of(self, kind: str, table: str) -> list[Piece]:
        return [piece for piece in self._new.values() if piece.kind == kind and piece.table == table]

    def _table(self, name: str) -> str:
        piece = self._new.get(("table", "", name)) or self._old[("table", "", name)]
        return str(piece.facts["quoted"])


def _concurrently(definition: str, name: str, table: str) -> Step:
    """An index that is made while clients go on; one that was begun and not finished is no good, and goes first."""
    words = "CREATE UNIQUE INDEX" if definition.startswith("CREATE UNIQUE INDEX") else "CREATE INDEX"
    undo = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    there = f"to_regclass({literal(name)})"
    same = f"indexrelid = {there} AND pg_get_indexdef(indexrelid) = {literal(definition)}"
    return Step(
        definition.replace(words, f"{words} CONCURRENTLY", 1),
        "before",
        "create index",
        table,
        SHARE_UPDATE_EXCLUSIVE,
        undo=undo,
        done=f"SELECT count(*) > 0 FROM pg_index WHERE {same} AND indisvalid",  # noqa: S608 # it is quoted
        clear=undo,
        taken=f"SELECT {there} IS NOT NULL AND NOT EXISTS (SELECT FROM pg_index WHERE {same})",  # noqa: S608 # quoted
    )


def _relation(piece: Piece) -> str:
    """The name of the relation that a piece is, as `schema.name`; "" if it is none."""
    if piece.kind == "constraint":
        return _name_of_index(piece) if piece.facts["type"] in _INDEXED else ""
    return piece.name if piece.kind in ("table", "index", "sequence", "view", "composite") else ""


def _name_of_index(constraint: Piece) -> str:
    return f"{constraint.table.split('.', 1)[0]}.{constraint.name}"


def _place(piece: Piece) -> int:
    return piece.place

"""@enforce eventual: the foreign keys whose ON DELETE action follows after the parent's deletion is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from crosskey.catalog.model import ForeignKey, TableName
from crosskey.catalog.plan import Copy, KeyPlan, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_key, refuse_table
from crosskey.catalog.tags import Tag, parse_tags

CHANGING = ("SET NULL", "SET DEFAULT")
"""The actions that leave the row."""


def is_eventual(key: ForeignKey) -> bool:
    """Whether the key says so."""
    return any(tag.argument == "eventual" for tag in _tags(key))


def hidden_by(keys: Sequence[KeyPlan]) -> dict[TableName, list[KeyPlan]]:
    """The tables whose rows are hidden while they are cleaned up, each with the keys that hide them.

    These are eventual keys with CASCADE, and local keys onto rows that are hidden themselves.
    """
    hiding: dict[TableName, list[KeyPlan]] = {}
    for key in keys:
        if is_eventual(key.foreign_key) and key.foreign_key.on_delete == "CASCADE":
            hiding.setdefault(key.foreign_key.table, []).append(key)
    tables = [*hiding]
    # Grows while it is walked.
    for table in tables:
        for key in keys:
            if key.kind == "local" and key.foreign_key.parent == table and key.foreign_key.table != table:
                if key.foreign_key.table not in hiding:
                    tables.append(key.foreign_key.table)
                hiding.setdefault(key.foreign_key.table, []).append(key)
    return hiding


def cleaned_up_later(keys: Sequence[KeyPlan]) -> frozenset[TableName]:
    """The tables of which requests do not see all rows as they are stored, while these are cleaned up."""
    changing = [key.foreign_key.table for key in keys if is_eventual(key.foreign_key)]
    return frozenset((*hidden_by(keys), *changing))


def refuse_eventual(key: ForeignKey, child: TablePlan, parent: TablePlan) -> Iterator[Refusal]:
    """Every reason why a key with the tag cannot be eventual."""
    for tag in _tags(key):
        if tag.argument != "eventual":
            yield refuse_key(key, f"@enforce takes the word eventual, not {tag.argument!r}")
    if not is_eventual(key):
        return
    if key.on_delete not in ("CASCADE", *CHANGING):
        yield refuse_key(
            key,
            f"ON DELETE {key.on_delete} must be answered before the row goes, so it cannot be @enforce eventual; use"
            " CASCADE, SET NULL or SET DEFAULT, or leave the tag out",
        )
    for table in (child, parent):
        if table.placement == "reference":
            why = f"{table.table.name} is a reference table, alike on all shards: @enforce eventual is not for it"
            yield refuse_key(key, why)
    if parent.placement != "reference" and not any(column in parent.locators for column in key.parent_columns):
        yield refuse_key(
            key,
            f"rows of {key.parent} are found by a claim on {' and '.join(key.parent_columns)}, which goes with the row:"
            " @enforce eventual needs a key that tells the shard",
        )
    yield from _refuse_changes(key, child)


def _refuse_changes(key: ForeignKey, child: TablePlan) -> Iterator[Refusal]:
    """SET NULL and SET DEFAULT are carried out when nobody is there any more who could be told that they fail."""
    if key.on_delete not in CHANGING:
        return
    for name in key.on_delete_columns or key.columns:
        column = child.table.column(name)
        why = ""
        if name in child.colocating:
            why = "places the row, which would move"
        elif name in child.table.partition_key:
            why = "tells the partition of the row, which would move"
        elif column is not None and column.not_null and (key.on_delete == "SET NULL" or column.default is None):
            why = "is NOT NULL"
        if why:
            yield refuse_key(key, f'@enforce eventual with ON DELETE {key.on_delete}: "{name}" {why}', column=name)


def refuse_kept_copies(
    copies: Sequence[Copy], keys: Sequence[KeyPlan], tables: Mapping[TableName, TablePlan]
) -> Iterator[Refusal]:
    """Live copies that are NOT NULL, and would become NULL when nobody is there to be told."""
    eventual = {(key.foreign_key.table, key.foreign_key.name): key.foreign_key for key in keys}
    for copy in copies:
        key = eventual.get((copy.table, copy.constraint))
        column = tables[copy.table].table.column(copy.column)
        if key is None or not is_eventual(key) or key.on_delete != "SET NULL" or column is None:
            continue
        if copy.live and column.not_null:
            why = f'@enforce eventual with ON DELETE SET NULL: "{copy.column}", a live copy along it, is NOT NULL'
            yield refuse_key(key, why, column=copy.column)


def refuse_mixed(keys: Sequence[KeyPlan]) -> Iterator[Refusal]:
    """Keys that cannot be beside eventual ones: onto the same columns, or onto rows that may be hidden."""
    eventual = {key.referenced_key for key in keys if is_eventual(key.foreign_key)}
    hidden = hidden_by(keys)
    for key in keys:
        own = key.foreign_key
        if key.referenced_key in eventual and not is_eventual(own):
            yield refuse_key(
                own,
                f"another key onto {key.referenced_key} is @enforce eventual, and this one is not: a deletion would"
                " wait for this one's shards anyway; give both the tag, or none",
            )
        if own.parent in hidden and (key.kind != "local" or own.on_delete != "CASCADE" or own.parent == own.table):
            yield refuse_key(
                own,
                f"rows of {own.parent} are hidden while they are cleaned up (@enforce eventual), and what references"
                " them must be hidden with them: only a key to another table with ON DELETE CASCADE whose rows share"
                " their shard can be",
            )
    yield from _refuse_circles(hidden)


def _refuse_circles(hidden: Mapping[TableName, Sequence[KeyPlan]]) -> Iterator[Refusal]:
    """Rows that are hidden with rows that are hidden with them: no condition says whether they are, however long."""
    for keys in hidden.values():
        for key in keys:
            own = key.foreign_key
            if not is_eventual(own) and own.table in _hidden_with(own.parent, hidden):
                yield refuse_key(
                    own,
                    f"rows of {own.table} and {own.parent} reference each other in a circle, and are hidden while they"
                    " are cleaned up (@enforce eventual): leave one of the circle's keys out, or the tag",
                )


def _hidden_with(table: TableName, hidden: Mapping[TableName, Sequence[KeyPlan]]) -> set[TableName]:
    """The tables whose rows hide those of the table along local keys, and the table itself."""
    found: set[TableName] = set()
    remaining = [table]
    while remaining:
        if (one := remaining.pop()) not in found:
            found.add(one)
            remaining += [key.foreign_key.parent for key in hidden.get(one, ()) if not is_eventual(key.foreign_key)]
    return found


def refuse_hard_to_clear(keys: Sequence[KeyPlan], tables: Mapping[TableName, TablePlan]) -> Iterator[Refusal]:
    """What keeps rows apart by more than equal columns: a hidden row would be in the way of one that is inserted."""
    for name in hidden_by(keys):
        table = tables[name].table
        unclear = [one.name for one in table.unique_keys if not one.plain or one.without_overlaps]
        unclear += [one.name for one in table.exclusions]
        for constraint in sorted(unclear):
            why = (
                f'rows of {name} are hidden while they are cleaned up (@enforce eventual), and by "{constraint}" a'
                " hidden row could be in another's way: only keys over plain columns, on all rows, can be cleared;"
                " leave it out, or the tag"
            )
            yield refuse_table(table, why, constraint=constraint)


def _tags(key: ForeignKey) -> list[Tag]:
    return [tag for tag in parse_tags(key.comment) if tag.name == "enforce"]

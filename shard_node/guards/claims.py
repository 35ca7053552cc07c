"""Claims: the SQL that makes a unique key hold over all shards.

Each value of such a key that a row on some shard has is claimed by that shard, in one row of the claims table on the
shard of the value's slot. That table has a constraint like the user's own, which PostgreSQL checks. Triggers on the
user's table keep claims and values together: claims on the row's own shard they write themselves; those on others are
effects (see foreign_keys.py), and outside of a coordinated transaction the statement is refused.

What an index computes, be it partial or over expressions, is claimed likewise: its own expressions are evaluated, where
its predicate is met, of the rows that triggers see (`valued_rows`).

The constraint can wait, so that the values of a statement are claimed and released in any order on all shards. A
second unique index, on value and shard, makes claiming what is claimed already do nothing, and lets a release wait for
the claim of a transaction that is still prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from psycopg import sql

from crosskey.catalog.model import Table
from crosskey.catalog.naming import shorten
from crosskey.catalog.plan import Claim, Plan
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.triggers import COORDINATED, NOTES_FIRST, RELOCATING, changed, trigger_function
from crosskey.shard_node.postgres.postgres_errors import ELSEWHERE
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.slot_expressions import shard_of_slot, slot_of
from crosskey.shard_node.sql_text.sql_names import column_list, columns_equal, function_identifier, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

CLAIMING_SHARD = "crosskey_shard"
"""The column of a claims table that has the shard whose row has the value."""

_NOTHING = sql.SQL("")
_CLAIMED = Effect.CLAIM_VALUES_FIELD_NUMBER
_RELEASED = Effect.RELEASE_VALUES_FIELD_NUMBER


def claim_statements(plan: Plan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """All the DDL for the claims of a schema."""
    for schema in sorted({claim.claims.schema for claim in plan.claims}):
        yield sql.SQL("CREATE SCHEMA {}").format(identifier(schema))
    for claim in plan.claims:
        yield from _claims_table(claim)
        yield from _triggers(claim, claimed_table(plan, claim), shard, shards)


def claimed_table(plan: Plan, claim: Claim) -> Table:
    """The user's table."""
    return plan.own_table(claim.table).table


def claim_shard(claim: Claim, table: Table, alias: str, shards: int) -> sql.Composed:
    """The shard where a value is claimed, as an SQL expression."""
    columns = [column for column in claim.value_columns(table) if column.name in claim.placing]
    if len(columns) == 1:
        slot = sql.SQL("coalesce({}, 0)").format(slot_of(columns[0], identifier(alias, columns[0].name)))
    else:
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(identifier(alias, one.name)) for one in columns)
        slot = sql.SQL("crosskey.slot(concat_ws(E'\\x1f', {}))").format(texts)
    return shard_of_slot(slot, shards)


def valued_rows(claim: Claim, rows: sql.Composable, alias: str) -> sql.Composed:
    """Rows of the user's table, as FROM takes them, under an alias by which each has the columns of its value."""
    name = sql.SQL(alias)
    if claim.computed is None:
        return sql.SQL("{} {}").format(rows, name)
    values = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(_written(expression), identifier(column))
        for expression, column in zip(claim.computed.expressions, claim.columns, strict=True)
    )
    where = sql.SQL(" WHERE {}").format(_written(claim.computed.predicate)) if claim.computed.predicate else _NOTHING
    return sql.SQL("(SELECT {values} FROM {rows} AS {table}{where}) {name}").format(
        values=values, rows=rows, table=identifier(claim.table.name), where=where, name=name
    )


def _written(expression: str) -> sql.SQL:
    """An expression of an index: PostgreSQL's own spelling of it, with every name qualified."""
    return sql.SQL(expression.replace("%", "%%"))


def same_value(claim: Claim, left: str, right: str) -> sql.Composed:
    """Whether two rows have the same value; where NULLs are alike, two of them are."""
    if not claim.nulls_not_distinct:
        return columns_equal(claim.columns, left, right)
    same = sql.SQL("({one} OPERATOR(pg_catalog.=) {other} OR {one} IS NULL AND {other} IS NULL)")
    columns = sql.SQL(" AND ").join(
        same.format(one=identifier(left, column), other=identifier(right, column)) for column in claim.columns
    )
    # The columns find few rows by an index; as records, to which NULLs are alike too, many rows can be hashed.
    return sql.SQL("{} AND {} OPERATOR(pg_catalog.=) {}").format(columns, _record(claim, left), _record(claim, right))


def _record(claim: Claim, alias: str) -> sql.Composed:
    """A row's value as a record of the claims table, of no shard."""
    return sql.SQL("ROW({}, 0)::{}").format(column_list(claim.columns, alias=alias), table_identifier(claim.claims))


def is_claimed(claim: Claim, alias: str) -> sql.Composed:
    """Whether a row's value is one that must be unique: NULLs are not, unless they are alike."""
    if claim.nulls_not_distinct:
        return sql.SQL("true").format()
    return sql.SQL("num_nulls({}) = 0").format(column_list(claim.columns, alias=alias))


def _claims_table(claim: Claim) -> Iterable[sql.Composed]:
    names = {
        "claims": table_identifier(claim.claims),
        "columns": column_list(claim.columns),
        "valued": valued_rows(claim, table_identifier(claim.table), "r"),
        "shard": identifier(CLAIMING_SHARD),
        "name": identifier(claim.constraint),
        "once": _once(claim),
        "nulls": sql.SQL("NULLS NOT DISTINCT" if claim.nulls_not_distinct else ""),
        "initially": sql.SQL("DEFERRED" if claim.initially_deferred else "IMMEDIATE"),
    }
    yield sql.SQL("CREATE TABLE {claims} AS SELECT {columns}, 0 AS {shard} FROM {valued} WITH NO DATA").format(**names)
    yield sql.SQL(
        "ALTER TABLE {claims} ADD CONSTRAINT {name} UNIQUE {nulls} ({columns}) DEFERRABLE INITIALLY {initially},"
        " ADD CONSTRAINT {once} UNIQUE {nulls} ({columns}, {shard})"
    ).format(**names)


def _once(claim: Claim) -> sql.Identifier:
    """The constraint by which a shard claims a value once."""
    return identifier(shorten(f"crosskey_once_{claim.constraint}"))


def _triggers(claim: Claim, table: Table, shard: int, shards: int) -> Iterable[sql.Composed]:
    notes = _Notes(claim, table, shard, shards)
    new_values = body(
        "new_values",
        columns_of_n=column_list(claim.columns, alias="n"),
        rows=valued_rows(claim, sql.SQL("new_rows"), "n"),
        is_claimed=is_claimed(claim, "n"),
        still_there=sql.SQL(" AND NOT {}").format(_gone(claim, "n")) if table.acts_on_new_rows else _NOTHING,
    )
    old_values = body(
        "values_gone",
        columns_of_o=column_list(claim.columns, alias="o"),
        rows=valued_rows(claim, sql.SQL("old_rows"), "o"),
        is_claimed=is_claimed(claim, "o"),
        gone=_gone(claim, "o"),
    )
    arrival = sql.SQL("REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT").format()
    departure = sql.SQL("REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT").format()
    yield from _trigger(claim, "INSERT", arrival, [notes.claim(new_values)])
    yield from _trigger(claim, "DELETE", departure, [notes.release(old_values, _keeps_pins_of_deleted())])
    if table.partitioned:
        # A row that goes to another partition fires no row trigger for updates.
        when = sql.SQL("REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT").format()
        before = valued_rows(claim, sql.SQL("old_rows"), "o")
        new_values = sql.SQL("{} EXCEPT SELECT {} FROM {}").format(
            new_values, column_list(claim.columns, alias="o"), before
        )
    else:
        when = _when_changed(claim)
        old_values, new_values = _changed_values(claim)
    # Another trigger notes what becomes of those that reference the row.
    change = [notes.release(old_values, sql.SQL("to_json(true)")), notes.claim(new_values)]
    yield from _trigger(claim, "UPDATE", when, change)


def _when_changed(claim: Claim) -> sql.Composed:
    """What makes it a row trigger, so that updates of other columns cost nothing.

    It fires when all rows of the statement are changed.
    """
    if claim.computed is not None:
        # Not all that expressions read can be compared: json has no equality.
        return sql.SQL("FOR EACH ROW WHEN ({})").format(changed(claim.reads))
    return sql.SQL("FOR EACH ROW WHEN (ROW({}) IS DISTINCT FROM ROW({}))").format(
        _of_row("OLD", claim), _of_row("NEW", claim)
    )


def _changed_values(claim: Claim) -> tuple[sql.Composed, sql.Composed]:
    """Queries for the value that an updated row of the trigger had, if no other has it, and for that which it has."""
    if claim.computed is None:
        return (
            sql.SQL("SELECT {} WHERE {} AND {}").format(
                _of_row("OLD", claim), is_claimed(claim, "old"), _gone(claim, "old")
            ),
            sql.SQL("SELECT {} WHERE {}").format(_of_row("NEW", claim), is_claimed(claim, "new")),
        )
    old = valued_rows(claim, sql.SQL("(SELECT OLD.*)"), "o")
    new = valued_rows(claim, sql.SQL("(SELECT NEW.*)"), "n")
    of_old, of_new = column_list(claim.columns, alias="o"), column_list(claim.columns, alias="n")
    gone = sql.SQL("{} AND {}").format(is_claimed(claim, "o"), _gone(claim, "o"))
    return (
        sql.SQL("SELECT {} FROM {} WHERE {}").format(of_old, old, gone),
        # Columns may change, and what is computed of them not.
        sql.SQL("SELECT {} FROM {} WHERE {} EXCEPT SELECT {} FROM {}").format(
            of_new, new, is_claimed(claim, "n"), of_old, old
        ),
    )


def _gone(claim: Claim, alias: str) -> sql.Composed:
    """Whether no row of the shard has the value any more. While a constraint waits, there may have been several."""
    return sql.SQL("NOT EXISTS (SELECT FROM {} WHERE {})").format(
        valued_rows(claim, table_identifier(claim.table), "t"), same_value(claim, "t", alias)
    )


def _keeps_pins_of_deleted() -> sql.Composed:
    """Rows that move to another shard keep them."""
    return sql.SQL("to_json({})").format(sql.SQL(RELOCATING))


class _Notes(NamedTuple):
    """Parts of trigger functions; `values` are queries with the columns of the claim."""

    constraint: Claim
    table: Table
    shard: int
    shards: int

    def claim(self, values: sql.Composable) -> sql.Composed:
        """Claims values for this shard, or notes that others must."""
        here = body(
            "claim_here",
            claims=table_identifier(self.constraint.claims),
            columns=column_list(self.constraint.columns),
            columns_of_k=column_list(self.constraint.columns, alias="k"),
            claiming=identifier(CLAIMING_SHARD),
            shard=literal(self.shard),
            values=values,
            once=_once(self.constraint),
        )
        return self._here_or_noted(_CLAIMED, values, sql.NULL, here)

    def release(self, values: sql.Composable, keeps_pins: sql.Composable) -> sql.Composed:
        """Releases values that this shard claimed, or notes that others must, and whether they are to keep pins."""
        here = body(
            "release_here",
            claims=table_identifier(self.constraint.claims),
            same=same_value(self.constraint, "c", "k"),
            claiming=identifier(CLAIMING_SHARD),
            shard=literal(self.shard),
            values=values,
        )
        return self._here_or_noted(_RELEASED, values, keeps_pins, here)

    def _here_or_noted(
        self, kind: int, values: sql.Composable, keeps_pins: sql.Composable, here: sql.Composable
    ) -> sql.Composed:
        return body(
            "claim_or_release",
            coordinated=sql.SQL(COORDINATED),
            kind=literal(kind),
            id=literal(self.constraint.id),
            place=claim_shard(self.constraint, self.table, "k", self.shards),
            key=travelling_key(self.constraint, "k"),
            keeps_pins=keeps_pins,
            values=values,
            shard=literal(self.shard),
            elsewhere=literal(ELSEWHERE),
            hint=literal("Write through the router."),
            here=here,
        )


def _trigger(
    claim: Claim, event: str, clauses: sql.Composable, statements: Sequence[sql.Composable]
) -> Iterable[sql.Composed]:
    purpose = f"{event.lower()}_claims_{claim.constraint}"
    yield trigger_function(purpose, claim.table, statements, prefer_columns=claim.computed is not None)
    yield sql.SQL("CREATE TRIGGER {name} AFTER {event} ON {table} {clauses} EXECUTE FUNCTION {function}()").format(
        name=identifier(shorten(f"{NOTES_FIRST}{purpose}")),
        event=sql.SQL(event),
        table=table_identifier(claim.table),
        clauses=clauses,
        function=function_identifier(purpose, claim.table),
    )


def _of_row(row: Literal["OLD", "NEW"], claim: Claim) -> sql.Composed:
    """The value of a trigger's row."""
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(row), identifier(column)) for column in claim.columns)

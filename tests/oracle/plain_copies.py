"""Copies on one plain PostgreSQL: ordinary triggers that do what `@copy` means, as one would write them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PlainCopy:
    """A copy by a key of one column; `constraint` is the foreign key's name, `fixed` whether no value may be given."""

    table: str
    column: str
    by: str
    parent: str
    parent_column: str
    live: bool = True
    fixed: bool = True

    @property
    def constraint(self) -> str:
        """The name that PostgreSQL gives the foreign key."""
        return f"{self.table}_{self.by}_fkey"

    @property
    def message(self) -> str:
        """What who gives a wrong value is told."""
        kind = "copy" if self.live else "snapshot"
        return (
            f'"{self.column}" of "{self.table}" is a {kind} of "{self.parent_column}" of "{self.parent}",'
            " not to be given"
        )


def plain_triggers(copies: Sequence[PlainCopy]) -> str:
    """The SQL of the triggers; every parent is known by its `id`."""
    return "\n".join(_taking(copy) + (_following(copy) if copy.live else "") for copy in copies)


def _taking(copy: PlainCopy) -> str:
    name, by, column = f"take_{copy.table}_{copy.column}", copy.by, copy.column
    raising = (
        f"RAISE check_violation USING MESSAGE = '{copy.message}', SCHEMA = 'public', TABLE = '{copy.table}',"
        f" COLUMN = '{column}';"
    )
    live = f"""
        IF given AND NOT following AND taken IS DISTINCT FROM new.{column} THEN {raising} END IF;
        new.{column} := taken;
    """
    snapshot = f"""
        IF given AND {copy.fixed} AND (NOT is_set OR new.{by} IS NULL OR taken IS DISTINCT FROM new.{column}) THEN
            {raising}
        END IF;
        IF is_set AND new.{by} IS NOT NULL THEN
            IF {copy.fixed} OR NOT given THEN new.{column} := taken; END IF;
        ELSIF {copy.fixed} AND new.{column} IS NULL AND TG_OP = 'UPDATE' THEN
            new.{column} := old.{column};
        END IF;
    """
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        taken {copy.parent}.{copy.parent_column}%TYPE;
        following boolean := coalesce(current_setting('plain.following', true), '') = 'on';
        given boolean := new.{column} IS NOT NULL;
        is_set boolean := true;
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            given := given AND old.{column} IS DISTINCT FROM new.{column};
            is_set := old.{by} IS DISTINCT FROM new.{by}
                AND (pg_trigger_depth() = 1 OR EXISTS (SELECT FROM {copy.parent} p WHERE p.id = old.{by}));
        END IF;
        SELECT p.{copy.parent_column} INTO taken FROM {copy.parent} p WHERE p.id = new.{by};
        -- Of a parent that is not there the foreign key speaks.
        given := given AND (FOUND OR new.{by} IS NULL);
        {live if copy.live else snapshot}
        RETURN new;
    END $$;
    CREATE TRIGGER zz_{name} BEFORE INSERT OR UPDATE ON {copy.table} FOR EACH ROW EXECUTE FUNCTION {name}();
    """


def _following(copy: PlainCopy) -> str:
    name = f"follow_{copy.table}_{copy.column}"
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('plain.following', 'on', true);
        UPDATE {copy.table} c SET {copy.column} = new.{copy.parent_column}
        WHERE c.{copy.by} = new.id AND c.{copy.column} IS DISTINCT FROM new.{copy.parent_column};
        PERFORM set_config('plain.following', 'off', true);
        RETURN new;
    END $$;
    CREATE TRIGGER zz_{name} AFTER INSERT OR UPDATE ON {copy.parent} FOR EACH ROW EXECUTE FUNCTION {name}();
    """

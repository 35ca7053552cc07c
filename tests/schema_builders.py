"""Small schemas for tests of planning, as PostgreSQL would describe them."""

import msgspec
import pytest

from crosskey.catalog.model import Column, Database, ForeignKey, Table, TableName, UniqueKey
from crosskey.catalog.plan import KeyPlan, Plan, TablePlan
from crosskey.catalog.planning import SchemaRefused, plan_schema

_BASE_TYPES = {"bigint": "int8", "integer": "int4", "smallint": "int2", "character varying(5)": "varchar"}


def column(name: str, type_name: str = "bigint", **attributes: object) -> Column:
    """A NOT NULL column; attributes as of Column."""
    plain = Column(name, type_name, _BASE_TYPES.get(type_name, type_name), not_null=True)
    return msgspec.structs.replace(plain, **attributes)


def table(
    name: str, comment: str | None, *columns: Column, key: tuple[str, ...] = ("id",), **attributes: object
) -> Table:
    """A table of schema public with a primary key, `id` if nothing else is said; attributes as of Table."""
    unique_keys = (UniqueKey(f"{name}_pkey", key, primary=True),) if key else ()
    plain = Table(TableName("public", name), columns or (column("id"),), unique_keys, comment=comment)
    return msgspec.structs.replace(plain, **attributes)


def foreign_key(child: str, columns: str, parent: str, parent_columns: str = "id", **attributes: object) -> ForeignKey:
    """Columns are separated by spaces."""
    name = f"{child}_{columns.replace(' ', '_')}_fkey"
    pairs = tuple(columns.split()), tuple(parent_columns.split())
    plain = ForeignKey(name, TableName("public", child), pairs[0], TableName("public", parent), pairs[1])
    return msgspec.structs.replace(plain, **attributes)


USERS = table("users", "@shard_by id")
REGIONS = table("regions", "@reference", column("code", "text"), key=("code",))
FOLLOWS = table(
    "follows",
    "@shard_by follower",
    column("follower"),
    column("followee"),
    column("region", "text"),
    key=("follower", "followee"),
)
NOTES = table("notes", "@shard_by owner", column("owner"), column("id", "uuid"), column("reply", "uuid"))


def plan_of(*parts: Table | ForeignKey) -> Plan:
    """Plan these tables and foreign keys."""
    tables = tuple(part for part in parts if isinstance(part, Table))
    return plan_schema(Database(tables, tuple(part for part in parts if isinstance(part, ForeignKey))))


def placement_of(placed: Table) -> TablePlan:
    """Plan this table alone."""
    [plan] = plan_of(placed).tables
    return plan


def key_plan(*parts: Table | ForeignKey) -> KeyPlan:
    """Plan these tables and their one foreign key."""
    [plan] = plan_of(*parts).keys
    return plan


def refusals_of(*parts: Table | ForeignKey) -> list[str]:
    """Return the message of each reason why these cannot be planned."""
    with pytest.raises(SchemaRefused) as raised:
        plan_of(*parts)
    return [refusal.message for refusal in raised.value.refusals]


def refusal_of(*parts: Table | ForeignKey) -> str:
    """Return the message of the only reason why these cannot be planned."""
    [message] = refusals_of(*parts)
    return message

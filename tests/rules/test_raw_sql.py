"""Whoever has the rights of a shard's node there cannot make an orphan, nor put a row where it is lost."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.eventually import eventually
from tests.hot_keys.families import Family
from tests.rules.setting import CASCADE, NO_ACTION, RESTRICT, SET_NULL, Setting
from tests.shard_sql import as_node

COORDINATED = "SET crosskey.coordinated = 'on'"


@pytest.fixture
def zero(setting: Setting) -> Iterator[psycopg.Connection]:
    """A connection to shard 0 as its node's role."""
    with as_node(setting.cluster, 0) as connection:
        yield connection


def run(connection: psycopg.Connection, statement: str, *parameters: object) -> int:
    """Runs a statement and answers how many rows it changed."""
    return connection.execute(sql.SQL(statement), parameters).rowcount


def pinned_parent(setting: Setting, family: Family = CASCADE) -> int:
    """A parent on shard 0 with a child on shard 1."""
    parent = setting.parent_on(0, family)
    setting.child_on(1, parent, family)
    eventually(lambda: setting.pinned_for(parent, family) == {1}, "the pin is committed")
    return parent


def test_a_pinned_parent_cannot_be_deleted(setting: Setting, zero: psycopg.Connection) -> None:
    parent = pinned_parent(setting)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="crosskey_pinned"):
        run(zero, f"DELETE FROM {CASCADE.parents} WHERE id = %s", parent)


def test_a_pinned_parent_cannot_get_another_key(setting: Setting, zero: psycopg.Connection) -> None:
    parent = pinned_parent(setting)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="crosskey_pinned"):
        run(zero, f"UPDATE {CASCADE.parents} SET id = %s WHERE id = %s", setting.number_on(0), parent)


@pytest.mark.parametrize("parent_shard", [0, 1])
def test_a_child_without_a_shadow_cannot_be_inserted(
    setting: Setting, zero: psycopg.Connection, parent_shard: int
) -> None:
    child = setting.child(0, setting.parent_on(parent_shard))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=CASCADE.constraint):
        run(zero, f"INSERT INTO {CASCADE.children} VALUES (%s, %s, %s)", *child.values())


@pytest.mark.parametrize("family", [RESTRICT, NO_ACTION])
def test_a_shadow_with_children_cannot_be_deleted(setting: Setting, zero: psycopg.Connection, family: Family) -> None:
    parent = setting.parent_on(1, family)
    setting.child_on(0, parent, family)
    refusals = psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation
    with pytest.raises(refusals, match=family.constraint):
        run(zero, f"DELETE FROM {family.shadows} WHERE id = %s", parent)


def test_a_shadow_takes_its_children_along_where_the_parent_would(setting: Setting, zero: psycopg.Connection) -> None:
    parent = setting.parent_on(1)
    setting.child_on(0, parent)
    assert run(zero, f"DELETE FROM {CASCADE.shadows} WHERE id = %s", parent) == 1
    assert setting.children_of(parent) == 0
    setting.client.delete(CASCADE.parents, key={"id": parent})


def test_a_shadow_lets_go_of_its_children_where_the_parent_would(setting: Setting, zero: psycopg.Connection) -> None:
    parent = setting.parent_on(1, SET_NULL)
    child = setting.child_on(0, parent, SET_NULL)
    assert run(zero, f"DELETE FROM {SET_NULL.shadows} WHERE id = %s", parent) == 1
    assert setting.client.get(SET_NULL.children, place=child["place"], id=child["id"])["parent"] is None
    setting.client.delete(SET_NULL.parents, key={"id": parent})


def test_a_row_cannot_be_put_on_a_shard_that_it_does_not_belong_to(setting: Setting, zero: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="crosskey_placement"):
        run(zero, f"INSERT INTO {CASCADE.parents} (id) VALUES (%s)", setting.number_on(1))
    parent = setting.parent_on(0)
    with pytest.raises(psycopg.errors.CheckViolation, match="crosskey_placement"):
        run(zero, f"UPDATE {CASCADE.parents} SET id = %s WHERE id = %s", setting.number_on(1), parent)


def test_who_poses_as_a_coordinator_is_stopped_at_the_commit(setting: Setting, zero: psycopg.Connection) -> None:
    parent, child = pinned_parent(setting), setting.child(0, setting.parent_on(1))
    run(zero, COORDINATED)
    for statement, parameters in (
        (f"DELETE FROM {CASCADE.parents} WHERE id = %s", (parent,)),
        (f"UPDATE {CASCADE.parents} SET id = %s WHERE id = %s", (setting.number_on(0), parent)),
        (f"INSERT INTO {CASCADE.children} VALUES (%s, %s, %s)", tuple(child.values())),
        (f"INSERT INTO {CASCADE.parents} (id) VALUES (%s)", (setting.number_on(1),)),
    ):
        # Their foreign keys would refuse some of them before.
        run(zero, "BEGIN")
        run(zero, "SET CONSTRAINTS ALL DEFERRED")
        run(zero, statement, *parameters)
        with pytest.raises(psycopg.DatabaseError, match=r"effects on other shards|violates foreign key"):
            run(zero, "COMMIT")
    assert setting.parent_exists(parent)
    assert setting.children_of(parent) == 1


@pytest.mark.parametrize("table", [CASCADE.parents, CASCADE.pins, SET_NULL.parents])
def test_pins_cannot_be_truncated(zero: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.DatabaseError, match="pins keep rows that other shards reference"):
        run(zero, f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize(
    "statement",
    [
        "SET session_replication_role = replica",
        f"ALTER TABLE {CASCADE.children} DISABLE TRIGGER ALL",
        f"ALTER TABLE {CASCADE.pins} DISABLE TRIGGER ALL",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER ROLE CURRENT_USER SUPERUSER",
    ],
)
def test_the_role_of_a_node_cannot_switch_foreign_keys_off(zero: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(zero, statement)

"""Copies of parents' columns on a cluster: what raw SQL is refused, what the audit finds, how they are loaded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import msgspec
import psycopg
import pytest

from crosskey import Client, do_update
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import router_pb2, router_pb2_grpc
from crosskey.v1.admin_pb2 import AuditResponse
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_node, as_superuser, prepared, query, wait_for_waiters

SCHEMA = """
CREATE TABLE makers (id bigint PRIMARY KEY, name text NOT NULL, price numeric(8, 2));
COMMENT ON TABLE makers IS '@shard_by id';
CREATE TABLE wares (
    id bigint PRIMARY KEY,
    maker bigint NOT NULL REFERENCES makers ON DELETE CASCADE,
    maker_name text NOT NULL,
    price numeric(8, 2)
);
COMMENT ON TABLE wares IS '@shard_by id';
COMMENT ON COLUMN wares.maker_name IS '@copy maker.name';
COMMENT ON COLUMN wares.price IS '@copy maker.price snapshot';
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TYPE spot AS (x integer, name text);
"""

TYPES = {
    "names": ("text[]", "[0:1]={a,NULL}"),
    "born": ("timestamptz", "2024-02-29 12:00:00.123456+05"),
    "bytes": ("bytea", r"\x00ff"),
    "weight": ("double precision", "NaN"),
    "score": ("numeric", "1.500"),
    "span": ("interval", "1 mon -3 days"),
    "size": ("size", "large"),
    "spot": ("spot", '(1,"a,b")'),
    "range": ("int8range", "[1,)"),
    "code": ("character(4)", "ab"),
}
"""Columns of each type, and a value."""

_COLUMNS = ", ".join(f"{name} {of}" for name, (of, _) in TYPES.items())
_TAGS = "\n".join(f"""COMMENT ON COLUMN "ki'ds%d".{name} IS '@copy new.{name}';""" for name in TYPES)

SCHEMA += f"""
CREATE TABLE "odd%s" (id bigint PRIMARY KEY, "na%me" text, {_COLUMNS});
COMMENT ON TABLE "odd%s" IS '@shard_by id';
CREATE TABLE "ki'ds%d" (
    id bigint PRIMARY KEY, "new" bigint REFERENCES "odd%s", "co""py" text NOT NULL, "found" text, {_COLUMNS}
);
COMMENT ON TABLE "ki'ds%d" IS '@shard_by id';
COMMENT ON COLUMN "ki'ds%d"."co""py" IS '@copy new.na%me';
COMMENT ON COLUMN "ki'ds%d"."found" IS '@copy new.na%me snapshot';
{_TAGS}
"""

MAKERS, WARES = 1, 0
"""Shards."""

_makers, _wares, _nearby = numbers_on(MAKERS), numbers_on(WARES), numbers_on(MAKERS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address) as client:
        yield client


@pytest.fixture
def maker(client: Client) -> int:
    number = next(_makers)
    client.insert("makers", {"id": number, "name": "Ann", "price": "1.50"})
    return number


def add_ware(client: Client, maker: int) -> int:
    """Insert a row that copies its maker's name, on another shard."""
    [row] = client.insert("wares", {"id": next(_wares), "maker": maker})
    assert (row["maker_name"], row["price"]) == ("Ann", "1.50")
    return int(row["id"])


def wrong_copies(client: Client) -> list[tuple[int, str, dict[str, Any]]]:
    """What the audit finds: shard, table and key of each."""
    findings = client.with_timeout(60).audit()
    assert {finding.kind for finding in findings} <= {AuditResponse.KIND_WRONG_COPY}
    return [(one.shard, one.table, msgspec.json.decode(one.key)) for one in findings]


def change_past_all_triggers(cluster: LocalCluster, shard: int, statement: str, number: int) -> None:
    with as_superuser(cluster, shard) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode(), (number,))


def test_the_audit_finds_a_wrong_copy(cluster: LocalCluster, client: Client, maker: int) -> None:
    ware = add_ware(client, maker)
    change_past_all_triggers(cluster, WARES, "UPDATE wares SET maker_name = 'Eve' WHERE id = %s", ware)
    assert wrong_copies(client) == [(WARES, "wares", {"id": ware, "maker": maker})]
    for name in ("Bea", "Ann"):
        client.update("makers", {"name": name}, key={"id": maker})
    assert wrong_copies(client) == []


def test_the_audit_finds_a_parent_that_changed_alone(cluster: LocalCluster, client: Client, maker: int) -> None:
    add_ware(client, maker)
    change_past_all_triggers(cluster, MAKERS, "UPDATE makers SET name = 'Eve' WHERE id = %s", maker)
    [(shard, table, key)] = wrong_copies(client)
    assert (shard, table, key["name"]) == (WARES, "makers", "Ann")
    client.update("makers", {"name": "Ann"}, key={"id": maker})
    assert wrong_copies(client) == []


def test_raw_sql_is_refused(cluster: LocalCluster, client: Client, maker: int) -> None:
    ware = add_ware(client, maker)
    eventually(lambda: not prepared(cluster), "the pin is committed")
    with as_node(cluster, MAKERS) as connection, pytest.raises(psycopg.errors.AssertFailure, match="copy this row"):
        connection.execute("UPDATE makers SET name = 'Eve' WHERE id = %s", (maker,))
    with as_node(cluster, WARES) as connection, pytest.raises(psycopg.errors.CheckViolation, match="not to be given"):
        connection.execute("UPDATE wares SET maker_name = 'Eve' WHERE id = %s", (ware,))
    client.update("makers", {"name": "Bea"}, key={"id": maker})
    assert query(cluster, WARES, "SELECT maker_name FROM wares WHERE id = %s", ware) == [("Bea",)]


def test_a_new_name_waits_for_a_row_that_copies_the_old_one(cluster: LocalCluster, client: Client, maker: int) -> None:
    add_ware(client, maker)
    ware = next(_wares)
    with ThreadPoolExecutor(1) as pool, as_node(cluster, WARES) as connection:
        with connection.transaction():
            connection.execute("INSERT INTO wares (id, maker) VALUES (%s, %s)", (ware, maker))
            renamed = pool.submit(client.update, "makers", {"name": "Bea"}, key={"id": maker})
            wait_for_waiters(cluster, WARES)
        renamed.result()
    assert query(cluster, WARES, "SELECT maker_name FROM wares WHERE id = %s", ware) == [("Bea",)]
    assert wrong_copies(client) == []


def test_a_row_waits_for_a_new_name(cluster: LocalCluster, client: Client, maker: int) -> None:
    """Its shard has no shadow yet, and so no pin is there that the new name could find."""
    with ThreadPoolExecutor(1) as pool, as_node(cluster, MAKERS) as connection:
        with connection.transaction():
            connection.execute("UPDATE makers SET name = 'Bea' WHERE id = %s", (maker,))
            inserted = pool.submit(client.insert, "wares", {"id": next(_wares), "maker": maker})
            wait_for_waiters(cluster, MAKERS)
        [row] = inserted.result()
    assert row["maker_name"] == "Bea"
    assert wrong_copies(client) == []


def test_a_row_is_answered_with_its_copy_though_the_shadow_is_gone(client: Client, maker: int) -> None:
    """The router believes that it is there."""
    client.delete("wares", key={"id": add_ware(client, maker)})
    client.drop_unused_shadows()
    add_ware(client, maker)


def test_wares_beside_their_maker(client: Client, maker: int) -> None:
    for _ in range(2):
        [row] = client.insert("wares", {"id": next(_nearby), "maker": maker})
        assert row["maker_name"] == "Ann"


def test_an_upsert_takes_copies(client: Client, maker: int) -> None:
    other = next(_makers)
    client.insert("makers", {"id": other, "name": "Cid"})
    ware = add_ware(client, maker)
    for shown in ("Cid", "Cid"):
        [row] = client.insert("wares", {"id": ware, "maker": other}, on_conflict=do_update("maker", on="id"))
        assert row["maker_name"] == shown


def test_a_load_takes_copies(cluster: LocalCluster, client: Client, maker: int) -> None:
    """Its rows come before their parents have been looked for."""
    wares = [next(numbers) for numbers in (_wares, _wares, _nearby)]
    load_wares(cluster, b"".join(b"%d\t%d\n" % (ware, maker) for ware in wares))
    for ware in wares:
        row = client.get("wares", {"id": ware})
        assert row is not None
        assert (row["maker_name"], row["price"]) == ("Ann", "1.50")


def test_a_load_of_copies(cluster: LocalCluster, maker: int) -> None:
    """A right value may be given, and no other; but a snapshot that was taken elsewhere."""
    ware = next(_wares)
    load_wares(cluster, b"%d\t%d\t9.00\n" % (ware, maker), "price")
    assert query(cluster, WARES, "SELECT maker_name, price::text FROM wares WHERE id = %s", ware) == [("Ann", "9.00")]
    load_wares(cluster, b"%d\t%d\tAnn\n" % (next(_wares), maker), "maker_name")
    with pytest.raises(grpc.RpcError, match="not to be given"):
        load_wares(cluster, b"%d\t%d\tEve\n" % (next(_wares), maker), "maker_name")


def test_odd_names_and_all_types(cluster: LocalCluster, client: Client) -> None:
    odd, first, later = next(_makers), next(_wares), next(_wares)
    client.insert("odd%s", {"id": odd, "na%me": "o'x%"})
    [row] = client.insert("ki'ds%d", {"id": first, "new": odd})
    assert row['co"py'] == row["found"] == "o'x%"
    client.update("odd%s", {name: text for name, (_, text) in TYPES.items()}, key={"id": odd})
    client.update("odd%s", {"na%me": "y"}, key={"id": odd})
    [row] = client.insert("ki'ds%d", {"id": later, "new": odd})
    assert (row['co"py'], row["found"]) == ("y", "y")
    columns = ", ".join(TYPES)
    parents = query(cluster, MAKERS, f'SELECT ({columns})::text FROM "odd%%s" WHERE id = %s', odd)
    children = query(cluster, WARES, f"""SELECT ({columns})::text FROM "ki'ds%%d" WHERE "new" = %s""", odd)
    assert children == parents * 2
    assert wrong_copies(client) == []


def load_wares(cluster: LocalCluster, lines: bytes, *more: str) -> None:
    """Load rows in the text form of COPY; they have an id, a maker and those columns."""
    with grpc.insecure_channel(cluster.address) as channel:
        request = router_pb2.LoadRequest(table="wares", columns=["id", "maker", *more], lines=lines)
        router_pb2_grpc.RouterStub(channel).Load(iter([request]))

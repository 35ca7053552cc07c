"""The audit finds every kind of damage, done by hand as a superuser, and nothing where there is none."""

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec
import psycopg
import pytest

from crosskey import Client, CrosskeyError
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.committing.gids import Gid
from crosskey.v1.admin_pb2 import AuditResponse
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import prepared

SHARDS = 3
AUDITS = 2
"""Of a cluster that is written to; each meets thousands of writes."""

SCHEMA = """
CREATE TABLE regions (code text PRIMARY KEY, label text);
COMMENT ON TABLE regions IS '@reference';

CREATE TABLE users (id bigint PRIMARY KEY, region text REFERENCES regions);
COMMENT ON TABLE users IS '@shard_by id';

CREATE TABLE follows (
    follower bigint REFERENCES users ON DELETE CASCADE,
    followee bigint REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';

CREATE TABLE notes (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES users);
COMMENT ON TABLE notes IS '@shard_by owner';
"""

_numbers = itertools.count(1)


class Finding(NamedTuple):
    """What an audit found, without its message."""

    kind: str
    shard: int
    table: str
    constraint: str
    key: str


class AuditedCluster:
    """A cluster with a client, and ways to break it."""

    def __init__(self, cluster: LocalCluster, client: Client) -> None:
        self.cluster = cluster
        self.client = client
        self._known = self.audit()

    def audit(self) -> set[Finding]:
        """Returns all findings."""
        return {_finding(response) for response in self.client.with_timeout(60).audit()}

    def audit_anew(self) -> set[Finding]:
        """Returns the findings that the audit before had not."""
        before, self._known = self._known, self.audit()
        return self._known - before

    def break_shard(self, shard: int, statement: str, *parameters: object) -> None:
        """Runs a statement as a superuser, without any foreign key or trigger, once there is something that it breaks.

        Pins are committed behind the answer of the insert that needs them.
        """
        with psycopg.connect(self.cluster.databases[shard].superuser_dsn, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            eventually(lambda: connection.execute(statement, parameters).rowcount != 0, f"it breaks: {statement}")

    def user_on(self, shard: int) -> int:
        """Inserts a user that lives on that shard, and returns its id."""
        number = number_on(shard)
        self.client.insert("users", {"id": number})
        return number

    def follow(self, shard: int, followee_shard: int) -> tuple[int, int]:
        """Inserts two users on those shards, the first following the second; returns their ids once it is pinned."""
        follower, followee = self.user_on(shard), self.user_on(followee_shard)
        self.client.insert("follows", {"follower": follower, "followee": followee})
        # The pin's COMMIT PREPARED may still run when the answer is there.
        eventually(lambda: not prepared(self.cluster), "the pin is committed")
        return follower, followee


def number_on(shard: int) -> int:
    """A new number that hashes to that shard."""
    return next(number for number in _numbers if shard_of_slot(slot_of_value("int8", number), SHARDS) == shard)


def _finding(response: AuditResponse) -> Finding:
    return Finding(
        AuditResponse.Kind.Name(response.kind).removeprefix("KIND_"),
        response.shard,
        response.table,
        response.constraint,
        _key(**msgspec.json.decode(response.key or "{}")),
    )


def _key(**columns: object) -> str:
    """A row's key as text, whatever its columns' order."""
    return " ".join(f"{name}={value}" for name, value in sorted(columns.items()))


def brief(findings: Iterable[Finding]) -> set[tuple[str, int, str]]:
    """Kind, shard and table of each finding."""
    return {(finding.kind, finding.shard, finding.table) for finding in findings}


@pytest.fixture(scope="module")
def audited(fresh_cluster: FreshClusters) -> Iterator[AuditedCluster]:
    cluster = fresh_cluster(SCHEMA, shards=SHARDS, router_environment={"CROSSKEY_RESOLVER_MIN_AGE_MS": "2000"})
    with Client(cluster.address) as client:
        yield AuditedCluster(cluster, client)


@pytest.fixture(scope="module")
def one_shard(fresh_cluster: FreshClusters) -> Iterator[AuditedCluster]:
    cluster = fresh_cluster(SCHEMA, shards=1)
    with Client(cluster.address) as client:
        yield AuditedCluster(cluster, client)


def test_a_healthy_cluster_has_no_finding(fresh_cluster: FreshClusters) -> None:
    cluster = fresh_cluster(SCHEMA, shards=SHARDS)
    with Client(cluster.address) as client:
        healthy = AuditedCluster(cluster, client)
        client.insert("regions", [{"code": code} for code in "abc"])
        for shard, other in itertools.product(range(SHARDS), repeat=2):
            follower, _ = healthy.follow(shard, other)
            client.insert("notes", {"owner": follower})
        _, followee = healthy.follow(0, 1)
        client.delete("users", key={"id": followee})
        assert healthy.audit() == set()


def test_child_without_shadow(audited: AuditedCluster) -> None:
    follower, followee = audited.follow(0, 1)
    audited.break_shard(0, "DELETE FROM crosskey_shadow_public.users WHERE id = %s", followee)
    assert audited.audit_anew() == {
        Finding(
            "CHILD_WITHOUT_SHADOW",
            0,
            "follows",
            "follows_followee_fkey",
            _key(follower=follower, followee=followee),
        ),
        Finding("PIN_WITHOUT_SHADOW", 1, "users", "", _key(id=followee)),
    }


def test_child_without_parent(audited: AuditedCluster) -> None:
    follower, followee = audited.follow(1, 2)
    audited.break_shard(1, "DELETE FROM users WHERE id = %s", follower)
    key = _key(follower=follower, followee=followee)
    assert audited.audit_anew() == {Finding("CHILD_WITHOUT_PARENT", 1, "follows", "follows_follower_fkey", key)}


def test_child_without_reference(audited: AuditedCluster) -> None:
    user = audited.user_on(2)
    audited.break_shard(2, "UPDATE users SET region = 'nowhere' WHERE id = %s", user)
    key = _key(id=user, region="nowhere")
    assert audited.audit_anew() == {Finding("CHILD_WITHOUT_PARENT", 2, "users", "users_region_fkey", key)}


@pytest.mark.parametrize("parent_shard", [0, 1])
def test_shadow_without_pin(audited: AuditedCluster, parent_shard: int) -> None:
    _, followee = audited.follow(0, parent_shard)
    audited.break_shard(parent_shard, "DELETE FROM crosskey.pin_public_users_id WHERE id = %s", followee)
    assert audited.audit_anew() == {Finding("SHADOW_WITHOUT_PIN", 0, "users", "", _key(id=followee))}


def test_pin_without_parent(audited: AuditedCluster) -> None:
    _, followee = audited.follow(0, 2)
    audited.break_shard(2, "DELETE FROM users WHERE id = %s", followee)
    key = _key(id=followee, crosskey_shard=0)
    assert audited.audit_anew() == {Finding("PIN_WITHOUT_PARENT", 2, "users", "crosskey_pinned", key)}


def test_pin_without_shadow(audited: AuditedCluster) -> None:
    user = audited.user_on(1)
    audited.break_shard(1, "INSERT INTO crosskey.pin_public_users_id VALUES (%s, 2)", user)
    assert audited.audit_anew() == {Finding("PIN_WITHOUT_SHADOW", 1, "users", "", _key(id=user))}


def test_displaced_row(audited: AuditedCluster) -> None:
    elsewhere = number_on(1)
    audited.break_shard(0, "ALTER TABLE users DROP CONSTRAINT IF EXISTS crosskey_placement")
    audited.break_shard(0, "INSERT INTO users VALUES (%s)", elsewhere)
    found = audited.audit_anew()
    assert Finding("MISPLACED_ROW", 0, "users", "crosskey_placement", _key(id=elsewhere)) in found
    assert brief(found) <= {("MISPLACED_ROW", 0, "users"), ("MISSING_GUARD", 0, "users")}


def test_wrong_slot(audited: AuditedCluster) -> None:
    owner, wrong = audited.user_on(2), "00000000-0000-7000-8000-000000000000"
    audited.break_shard(2, "ALTER TABLE notes DROP CONSTRAINT crosskey_slot")
    audited.break_shard(2, "INSERT INTO notes VALUES (%s, %s)", wrong, owner)
    assert audited.audit_anew() == {
        Finding("WRONG_SLOT", 2, "notes", "crosskey_slot", _key(id=wrong, owner=owner)),
        Finding("MISSING_GUARD", 2, "notes", "crosskey_slot", ""),
    }


def test_many_damaged_rows_are_counted(audited: AuditedCluster) -> None:
    owner = number_on(0)
    audited.break_shard(0, "ALTER TABLE notes DROP CONSTRAINT crosskey_slot")
    audited.break_shard(0, "INSERT INTO notes SELECT gen_random_uuid(), %s FROM generate_series(1, 150)", owner)
    responses = [
        response
        for response in audited.client.audit()
        if response.shard == 0 and response.kind == AuditResponse.KIND_CHILD_WITHOUT_PARENT
    ]
    # Another audit may show another hundred of them.
    audited.break_shard(0, "DELETE FROM notes WHERE owner = %s", owner)
    audited.audit_anew()
    assert len(responses) == 101
    assert responses[-1].message == "50 more rows like the 100 before"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE regions SET label = 'changed' WHERE code = 'r1'",
        "DELETE FROM regions WHERE code = 'r2'",
        "INSERT INTO regions VALUES ('r3')",
    ],
)
def test_reference_differs(audited: AuditedCluster, damage: str) -> None:
    for code in ("r1", "r2"):
        with suppress(CrosskeyError):
            audited.client.insert("regions", {"code": code})
    audited.audit_anew()
    audited.break_shard(1, damage)
    assert audited.audit_anew() == {Finding("REFERENCE_DIFFERS", 1, "regions", "", "")}
    for shard in range(SHARDS):
        audited.break_shard(shard, "DELETE FROM regions")


_NOT_VALID = (
    "ALTER TABLE follows DROP CONSTRAINT follows_followee_fkey, ADD CONSTRAINT follows_followee_fkey"
    " FOREIGN KEY (followee) REFERENCES crosskey_shadow_public.users (id) ON DELETE CASCADE DEFERRABLE NOT VALID"
)
_UNPINNED = "ALTER TABLE crosskey.pin_public_users_id DROP CONSTRAINT crosskey_pinned"
_TOOTHLESS = (
    "CREATE OR REPLACE FUNCTION crosskey.refuse_effect() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
)


@pytest.mark.parametrize(
    ("damage", "table", "name"),
    [
        ("ALTER TABLE users DROP CONSTRAINT crosskey_placement", "users", "crosskey_placement"),
        (_NOT_VALID, "follows", "follows_followee_fkey"),
        ("ALTER TABLE users DISABLE TRIGGER crosskey_departed_delete", "users", "crosskey_departed_delete"),
        ("DROP TRIGGER crosskey_arrived_insert ON follows", "follows", "crosskey_arrived_insert"),
        ("ALTER TABLE follows DISABLE TRIGGER ALL", "follows", "follows_follower_fkey"),
        (_UNPINNED, "crosskey.pin_public_users_id", "crosskey_pinned"),
        (_TOOTHLESS, "", "crosskey.refuse_effect()"),
        ("DROP TABLE crosskey_shadow_public.users CASCADE", "crosskey_shadow_public.users", "users_pkey"),
    ],
)
def test_missing_guard(one_shard: AuditedCluster, damage: str, table: str, name: str) -> None:
    one_shard.break_shard(0, damage)
    found = one_shard.audit_anew()
    assert Finding("MISSING_GUARD", 0, table, name, "") in found
    assert {finding.kind for finding in found} == {"MISSING_GUARD"}


_COMMIT_AT_HOME = """
WITH shadow AS (INSERT INTO crosskey_shadow_public.users VALUES (%s)),
child AS (INSERT INTO follows VALUES (%s, %s))
INSERT INTO crosskey.decision (gid, committed) VALUES (%s, true)
"""


def test_a_pin_that_is_only_prepared_is_no_finding(audited: AuditedCluster) -> None:
    """The state between the commit at home and COMMIT PREPARED: the audit waits until the resolver has finished it."""
    followee, follower = audited.user_on(1), audited.user_on(0)
    gid = Gid.new(_cluster_name(audited.cluster), home=0)
    _prepare_pin(audited.cluster, gid, followee)
    audited.break_shard(0, _COMMIT_AT_HOME, followee, follower, followee, str(gid))
    [in_doubt] = audited.client.list_in_doubt().transactions
    assert (in_doubt.shard, in_doubt.home, in_doubt.decision) == (1, 0, "committed")
    assert audited.audit_anew() == set()
    assert not audited.client.list_in_doubt().transactions


def test_in_doubt_without_home(audited: AuditedCluster) -> None:
    gid = Gid.new(_cluster_name(audited.cluster), home=2)
    _prepare_pin(audited.cluster, gid, audited.user_on(1))
    [undecided] = audited.client.list_in_doubt().transactions
    assert (undecided.gid, undecided.decision) == (gid.branch(1), "undecided")
    audited.cluster.nodes[2].kill()
    response = audited.client.with_timeout(30).list_in_doubt()
    audited.cluster.nodes[2].start_serving()
    assert [transaction.decision for transaction in response.transactions] == ["unknown"]
    assert list(response.unreachable_shards) == [2]


def test_no_false_alarm_while_clients_write(fresh_cluster: FreshClusters) -> None:
    cluster = fresh_cluster(SCHEMA, shards=SHARDS)
    stop = threading.Event()
    users = [number_on(shard) for shard in range(SHARDS)] * 2

    def write(turn: int) -> None:
        with Client(cluster.address) as client:
            for number in itertools.count(turn):
                if stop.is_set():
                    return
                with suppress(CrosskeyError):
                    _churn(client, users, number)

    writers = [threading.Thread(target=write, args=(turn,)) for turn in range(4)]
    with Client(cluster.address) as client:
        churned = AuditedCluster(cluster, client)
        for writer in writers:
            writer.start()
        try:
            audits = [churned.audit() for _ in range(AUDITS)]
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert audits == [set()] * AUDITS
        assert churned.audit() == set()


def _churn(client: Client, users: list[int], number: int) -> None:
    """One write of many that meet on the same few rows: parents go and come back, and are referenced anew."""
    follower, followee = users[number % SHARDS], users[number // SHARDS % SHARDS]
    match number % 5:
        case 0:
            client.delete("users", key={"id": followee})
        case 1:
            client.insert("users", {"id": followee})
        case 2:
            client.insert("regions", {"code": f"churned-{number}-{threading.get_ident()}"})
        case _:
            client.insert("follows", {"follower": follower, "followee": followee})


def _cluster_name(cluster: LocalCluster) -> str:
    with psycopg.connect(cluster.databases[0].superuser_dsn) as connection:
        [(name,)] = connection.execute("SELECT cluster FROM crosskey.shard").fetchall()
        return str(name)


def _prepare_pin(cluster: LocalCluster, gid: Gid, user: int) -> None:
    """Prepares a transaction on shard 1 that pins a user for shard 0."""
    # As the node's own role, which may finish what it prepared.
    with psycopg.connect(cluster.databases[1].dsn, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO crosskey.pin_public_users_id VALUES (%s, 0)", (user,))
        connection.execute(f"PREPARE TRANSACTION '{gid.branch(1)}'")

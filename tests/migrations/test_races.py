"""A migration meets other clients: whoever writes, gives it up or goes on with it while it is under way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from crosskey import Client, Conflict, MigrationUnderWay, SchemaRefused, errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import transactions_pb2
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import admin_pb2
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandCoordinator
from tests.migrations.schema import SCHEMA, fill
from tests.shard_sql import as_superuser, query, query_all

pytestmark = pytest.mark.processes

EVENTUAL = "COMMENT ON CONSTRAINT trips_rider ON trips IS '@enforce eventual';"
OLD = f"""{SCHEMA}
CREATE TABLE posts (id bigint PRIMARY KEY, code text);
COMMENT ON TABLE posts IS '@shard_by id';
CREATE TABLE trips (
    id bigint PRIMARY KEY,
    rider_id bigint CONSTRAINT trips_rider REFERENCES users ON DELETE CASCADE
);
COMMENT ON TABLE trips IS '@shard_by id';
CREATE INDEX ON trips (rider_id);
{EVENTUAL}
"""
CHECKED = OLD.replace("home text", "home text CHECK (home <> '')")
WITH_EMAIL = OLD.replace("age integer", "email text, age integer")

CHECK = "SELECT conname FROM pg_constraint WHERE conname = 'users_home_check'"

State = admin_pb2.MigrationDescription


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(OLD, shards=2)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=60) as client:
        fill(client)
        yield client


@pytest.fixture(scope="module")
def hand(cluster: LocalCluster) -> Iterator[HandCoordinator]:
    hand = HandCoordinator(cluster)
    yield hand
    hand.close()


class Migrating:
    """Somebody else carries out a migration, and is told so much."""

    def __init__(self, cluster: LocalCluster, sql: str) -> None:
        self._cluster, self._sql = cluster, sql
        self.told: list[errors.CrosskeyError] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Client(self._cluster.address, timeout=60) as other:
                other.apply_migration(self._sql)
        except errors.CrosskeyError as error:
            self.told.append(error)

    def start(self) -> None:
        """It goes on by itself."""
        self._thread.start()

    def join(self) -> errors.CrosskeyError | None:
        """What it was told, once it came to its end; None if it came through."""
        self._thread.join()
        return self.told[0] if self.told else None


@contextmanager
def held_up(cluster: LocalCluster, client: Client, table: str, sql: str) -> Iterator[Migrating]:
    """A migration is planned and under way, and cannot lock a table for as long as the context lasts."""
    migrating = Migrating(cluster, sql)
    with as_superuser(cluster, 1) as blocking, blocking.transaction():
        blocking.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE".encode())
        before = len(client.list_migrations())
        migrating.start()
        eventually(lambda: len(client.list_migrations()) > before, "it is under way")
        yield migrating


def state(client: Client) -> int:
    """How far the last migration has come."""
    return client.list_migrations(1)[0].state


def planned(hand: HandCoordinator, shard: int, sql: str) -> proto.PlanShardMigrationResponse:
    """What a migration does on a shard."""
    request = proto.PlanShardMigrationRequest(shard=shard, migration=admin_pb2.Migration(sql=sql))
    return hand.maintenance[shard].PlanShardMigration(request)


def flip(hand: HandCoordinator, shard: int, flipped: transactions_pb2.FlipSchema) -> None:
    """A flip on one shard, which is not committed. Raises what the node answers."""
    flipped.lock_timeout_ms = 1000
    with hand.branch(shard) as branch:
        branch.run(transactions_pb2.Command(flip_schema=flipped))


def test_rows_that_come_before_the_flip_are_seen_by_it(cluster: LocalCluster, client: Client) -> None:
    unique = OLD.replace("code text)", "code text UNIQUE)")
    with held_up(cluster, client, "posts", unique) as migrating:
        client.insert("posts", {"id": 1, "code": "alike"})
    told = migrating.join()
    assert isinstance(told, SchemaRefused)
    assert "posts_code_key" in told.message
    assert state(client) == State.STATE_ABORTED
    client.insert("posts", [{"id": number, "code": "alike"} for number in range(2, 10)])
    assert client.audit() == []
    assert client.plan_migration(OLD).steps == []
    client.delete("posts", where={"code": "alike"})


def test_an_abort_while_the_flip_is_tried_keeps_it_from_happening(cluster: LocalCluster, client: Client) -> None:
    epochs = query_all(cluster, "SELECT max(epoch) FROM crosskey.epoch")
    with held_up(cluster, client, "users", WITH_EMAIL) as migrating:
        client.abort_migration()
    assert isinstance(migrating.join(), Conflict)
    assert state(client) == State.STATE_ABORTED
    assert query_all(cluster, "SELECT max(epoch) FROM crosskey.epoch") == epochs
    assert client.audit() == []
    assert client.plan_migration(OLD).steps == []


def test_none_begins_that_was_planned_for_another_epoch(cluster: LocalCluster, hand: HandCoordinator) -> None:
    before = query(cluster, 0, "SELECT count(*) FROM crosskey.migration")
    asked = admin_pb2.Migration(sql=WITH_EMAIL)
    epoch = planned(hand, 0, WITH_EMAIL).epoch
    with pytest.raises(grpc.RpcError, match="another migration came into force"):
        hand.maintenance[0].NoteMigration(proto.NoteMigrationRequest(shard=0, migration=asked, epoch=epoch + 1))
    assert query(cluster, 0, "SELECT count(*) FROM crosskey.migration") == before


@pytest.mark.parametrize(("epochs_away", "why"), [(1, "another migration was faster"), (0, "was given up")])
def test_no_step_comes_late(
    cluster: LocalCluster, client: Client, hand: HandCoordinator, epochs_away: int, why: str
) -> None:
    """After a flip, and after the steps were taken back, which says so for the migration's number."""
    plan = planned(hand, 0, CHECKED)
    [step, _] = [each for each in plan.steps if each.step.phase == admin_pb2.MigrationStep.PHASE_BEFORE]
    request = proto.RunMigrationStepRequest(shard=0, step=step, epoch=plan.epoch, migration=1000)
    request.undo = True
    hand.maintenance[0].RunMigrationStep(request)
    request.undo, request.epoch = False, plan.epoch + epochs_away
    with pytest.raises(grpc.RpcError, match=why):
        hand.maintenance[0].RunMigrationStep(request)
    assert query(cluster, 0, CHECK) == []
    assert client.audit() == []


def test_a_flip_happens_only_from_where_its_migration_is(
    cluster: LocalCluster, client: Client, hand: HandCoordinator
) -> None:
    flipped = planned(hand, 0, WITH_EMAIL).flip
    flipped.state_after = State.STATE_FINISHING
    with held_up(cluster, client, "users", WITH_EMAIL) as migrating:
        flipped.migration = client.list_migrations(1)[0].id
        # Nothing has the table locked here.
        flip(hand, 0, flipped)
        client.abort_migration()
        with pytest.raises(Conflict, match="is not where it was"):
            flip(hand, 0, flipped)
    assert migrating.join() is not None


def test_what_is_being_given_up_is_not_resumed_and_comes_to_its_end(cluster: LocalCluster, client: Client) -> None:
    """A server is lost in the middle, before the flip and after it."""
    client.apply_migration(CHECKED)
    for left in (State.STATE_GOING_BACK, State.STATE_FINISHING):
        query(
            cluster,
            0,
            f"UPDATE crosskey.migration SET state = {left}, ended_at = NULL"
            " WHERE id = (SELECT max(id) FROM crosskey.migration)",
        )
        if left == State.STATE_GOING_BACK:
            with pytest.raises(MigrationUnderWay, match="is being given up"):
                client.apply_migration(resume=True)
        client.abort_migration()
        assert state(client) == State.STATE_ABORTED
        assert client.plan_migration(OLD).steps == []
        assert client.audit() == []
        client.apply_migration(CHECKED)
    client.apply_migration(OLD)


def test_steps_that_are_being_taken_back_are_taken_back(cluster: LocalCluster, client: Client) -> None:
    """The server is lost when it has noted that it gives up, and the user says so once more."""
    with held_up(cluster, client, "users", CHECKED) as migrating:
        eventually(lambda: client.list_migrations(1)[0].message or query(cluster, 0, CHECK), "a step is taken")
        query(cluster, 0, f"UPDATE crosskey.migration SET state = {State.STATE_ABORTING} WHERE ended_at IS NULL")
    assert isinstance(migrating.join(), Conflict)
    with pytest.raises(MigrationUnderWay, match="is being given up"):
        client.apply_migration(resume=True)
    client.abort_migration()
    assert state(client) == State.STATE_ABORTED
    assert query_all(cluster, CHECK) == []
    assert client.audit() == []


def test_a_clean_up_is_over_before_its_key_stops_being_eventual(cluster: LocalCluster, hand: HandCoordinator) -> None:
    plan = planned(hand, 0, OLD.replace(EVENTUAL, ""))
    flip(hand, 0, plan.flip)
    for kind in ("departed", "dead"):
        table = f"crosskey.{kind}_public_users_id"
        with as_superuser(cluster, 0) as connection:
            # Rows of it alone: nobody is to go on with it.
            connection.execute("SET session_replication_role TO replica")
            columns = "(id, crosskey_shard, crosskey_told)" if kind == "departed" else "(id)"
            values = "(999, 1, true)" if kind == "departed" else "(999)"
            connection.execute(f"INSERT INTO {table} {columns} VALUES {values}".encode())
            try:
                with pytest.raises(Conflict, match="a clean-up is under way"):
                    flip(hand, 0, plan.flip)
            finally:
                connection.execute(f"DELETE FROM {table} WHERE id = 999".encode())

"""One cluster for all tests of the rules."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from crosskey import Client
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandCoordinator
from tests.hot_keys.families import DEFAULT_PARENT, FAMILIES, schema_of
from tests.numbers_on_shards import SHARDS
from tests.rules.setting import Setting

OTHER_TABLES = """
CREATE TABLE counters (id bigint PRIMARY KEY, value bigint NOT NULL DEFAULT 0);
COMMENT ON TABLE counters IS '@shard_by id';

CREATE TABLE hasty (id bigint PRIMARY KEY);
COMMENT ON TABLE hasty IS '@shard_by id';
CREATE FUNCTION commit_in_haste() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN NULL;
END
$$;
CREATE TRIGGER commit_in_haste AFTER INSERT ON hasty EXECUTE FUNCTION commit_in_haste();

CREATE TABLE announced (id bigint PRIMARY KEY);
COMMENT ON TABLE announced IS '@shard_by id';
CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NOTIFY announced; RETURN NULL; END';
CREATE TRIGGER announce AFTER INSERT ON announced EXECUTE FUNCTION announce();

CREATE TABLE checked_late (id bigint PRIMARY KEY, accepted boolean NOT NULL DEFAULT true);
COMMENT ON TABLE checked_late IS '@shard_by id';
CREATE FUNCTION check_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.accepted THEN
        RAISE EXCEPTION 'not accepted';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER check_late AFTER INSERT ON checked_late
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_late();

CREATE TABLE dooms (id bigint PRIMARY KEY);
COMMENT ON TABLE dooms IS '@shard_by id';
CREATE FUNCTION doom() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM cascade_parents WHERE id = NEW.id;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER doom AFTER INSERT ON dooms
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doom();
"""

# A request that loses is told so soon, and a lock that a test holds is waited for long enough.
NODE_ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "1000"}
ROUTER_ENVIRONMENT = {"CROSSKEY_RETRIES": "2"}


@pytest.fixture(scope="session")
def setting(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with ExitStack() as lifetime:
        fresh_cluster = FreshClusters(postgres, tmp_path_factory.mktemp("rules"), lifetime)
        cluster = fresh_cluster(
            schema_of(FAMILIES) + OTHER_TABLES,
            shards=SHARDS,
            node_environment=NODE_ENVIRONMENT,
            router_environment=ROUTER_ENVIRONMENT,
        )
        client = lifetime.enter_context(Client(cluster.address))
        hand = HandCoordinator(cluster)
        lifetime.callback(hand.close)
        for family in FAMILIES:
            client.insert(family.parents, {"id": DEFAULT_PARENT})
        yield Setting(cluster, client, hand)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Runs calls that are meant to wait."""
    with ThreadPoolExecutor() as executor:
        yield executor

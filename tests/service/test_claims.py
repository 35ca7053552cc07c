"""Claims: one winner in every race, what a crash leaves, what it costs, and what the audit finds."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from time import monotonic
from typing import Any

import msgspec
import pytest

from crosskey import AsyncClient, Client, CrosskeyError, UniqueViolation, errors, requests
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import explanation
from crosskey.router.committing.gids import Gid
from crosskey.v1.admin_pb2 import AuditResponse
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandCoordinator, claim_values, commit, expect_claims, insert, prepare
from tests.hot_keys.settings import run_seconds, run_seed
from tests.numbers_on_shards import SHARDS, NewAccounts
from tests.running_cluster import RunningCluster
from tests.shard_sql import as_superuser, query, query_all, wait_for_waiters

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE accounts (id bigint PRIMARY KEY, username text NOT NULL UNIQUE, email text UNIQUE, note text);
COMMENT ON TABLE accounts IS '@shard_by id';
"""

CLAIM = "public.accounts_username_key"
ROW_SHARD, CLAIM_SHARD, OTHER_SHARD = range(SHARDS)
CLIENTS = 16
SECONDS = 2.5

_new = NewAccounts(CLAIM_SHARD)
new_name, new_account = _new.name, _new.account


class Claiming(RunningCluster):
    """A cluster with two routers, clients, and a coordinator that is driven by hand."""

    def __init__(self, cluster: LocalCluster, client: Client, hand: HandCoordinator) -> None:
        super().__init__(cluster, client)
        self.hand = hand

    def claims(self, username: str) -> list[int]:
        """The shards that hold a committed claim of the username."""
        statement = "SELECT crosskey_shard FROM crosskey_claim_public_2.accounts WHERE username = %s"
        return [shard for (shard,) in query_all(self.cluster, statement, username)]

    def prepare_claim(self, username: str) -> Gid:
        """Claims a username for ROW_SHARD, as the first phase of an insert does."""
        gid = self.hand.gid(home=ROW_SHARD)
        claim = claim_values(CLAIM, ROW_SHARD, {"username": username})
        self.hand.execute(CLAIM_SHARD, claim, prepare(gid, CLAIM_SHARD))
        return gid

    def insert_at_home(self, gid: Gid, row: dict[str, Any], *expected: str) -> bool:
        """Inserts a row and commits with the decision; whether that was done."""
        expect = expect_claims(CLAIM, *({"username": username} for username in expected))
        return self.hand.execute(ROW_SHARD, expect, insert("accounts", row), commit(gid)).finished


@pytest.fixture(scope="module")
def claiming(fresh_cluster: FreshClusters) -> Iterator[Claiming]:
    cluster = fresh_cluster(
        SCHEMA,
        routers=2,
        node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "400"},
        router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1500"},
    )
    hand = HandCoordinator(cluster)
    with Client(cluster.address) as client:
        yield Claiming(cluster, client, hand)
        assert client.with_timeout(60).audit() == []
    hand.close()


def test_an_insert_claims_first_and_one_by_value_is_found_on_one_shard(claiming: Claiming) -> None:
    request = requests.insert("accounts", [new_account(ROW_SHARD, username := new_name())])
    explained = claiming.calls.router.Explain(explanation(request))
    assert claiming.node_calls(request) == [f"s{CLAIM_SHARD} ShardNode.Run", f"s{ROW_SHARD} ShardNode.Run"]
    assert list(explained.rpcs) == [
        f"s{CLAIM_SHARD} ShardNode.Run",
        f"s{ROW_SHARD} ShardNode.Run",
        f"s{CLAIM_SHARD} ShardNode.FinishPrepared",
    ]
    claiming.wait_until_settled()
    by_value = [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{ROW_SHARD} ShardNode.Read"]
    assert claiming.node_calls(requests.get("accounts", {"username": username})) == by_value
    assert claiming.node_calls(requests.list_rows("accounts", {"username": username})) == by_value


def test_a_value_that_is_claimed_on_its_rows_shard_takes_one_call(claiming: Claiming) -> None:
    request = requests.insert("accounts", [new_account(ROW_SHARD, new_name(ROW_SHARD))])
    assert claiming.node_calls(request) == [f"s{ROW_SHARD} ShardNode.Run"]


def test_an_update_of_other_columns_takes_one_call(claiming: Claiming) -> None:
    account = new_account(ROW_SHARD, new_name())
    claiming.client.insert("accounts", account)
    request = requests.update("accounts", {"note": "new"}, key={"id": account["id"]})
    assert claiming.node_calls(request) == [f"s{ROW_SHARD} ShardNode.Run"]


def test_many_rows_claim_by_shard_and_not_by_row(claiming: Claiming) -> None:
    rows = [new_account(ROW_SHARD, new_name()) for _ in range(50)]
    calls = claiming.node_calls(requests.insert("accounts", rows))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.Run", f"s{ROW_SHARD} ShardNode.Run"]


def test_a_row_whose_claim_cannot_be_read_yet_is_found(claiming: Claiming) -> None:
    gid, account = claiming.prepare_claim(username := new_name()), new_account(ROW_SHARD, username)
    assert claiming.insert_at_home(gid, account, username)
    assert claiming.client.get("accounts", username=username)["id"] == str(account["id"])
    assert claiming.client.update("accounts", {"note": "found"}, key={"username": username})
    claiming.hand.finish(gid, CLAIM_SHARD, commit=True)


def test_a_release_waits_for_a_claim_that_is_still_prepared(claiming: Claiming) -> None:
    gid, account = claiming.prepare_claim(username := new_name()), new_account(ROW_SHARD, username)
    assert claiming.insert_at_home(gid, account, username)
    with ThreadPoolExecutor() as background:
        deleting = background.submit(claiming.client.delete, "accounts", key={"id": account["id"]})
        wait_for_waiters(claiming.cluster, CLAIM_SHARD)
        claiming.hand.finish(gid, CLAIM_SHARD, commit=True)
        assert deleting.result() == 1
    claiming.wait_until_settled()
    assert claiming.claims(username) == []


def test_a_claim_of_a_transaction_that_never_ended_is_given_up(claiming: Claiming) -> None:
    claiming.prepare_claim(username := new_name())
    claiming.client.insert("accounts", new_account(OTHER_SHARD, username))
    claiming.wait_until_settled()
    assert claiming.claims(username) == [OTHER_SHARD]


@pytest.mark.parametrize("expected", [0, 2])
def test_home_commits_only_what_was_claimed(claiming: Claiming, expected: int) -> None:
    username = new_name()
    gid, account = claiming.prepare_claim(username), new_account(ROW_SHARD, username)
    assert not claiming.insert_at_home(gid, account, *[username, new_name()][:expected])
    claiming.hand.finish(gid, CLAIM_SHARD, commit=False)
    assert claiming.client.count("accounts", {"username": username}) == 0


async def test_of_many_who_want_one_value_one_gets_it(claiming: Claiming) -> None:
    addresses = [router.address for router in claiming.cluster.routers]
    for username in [new_name(shard) for shard in range(SHARDS) for _ in range(3)]:
        outcomes = await asyncio.gather(
            *(_try_to_insert(addresses[turn % 2], new_account(turn % SHARDS, username)) for turn in range(CLIENTS))
        )
        assert sorted(outcomes) == ["UNIQUE_VIOLATION"] * (CLIENTS - 1) + ["done"]


async def _try_to_insert(address: str, row: dict[str, Any]) -> str:
    async with AsyncClient(address) as client:
        try:
            await client.insert("accounts", row)
        except CrosskeyError as error:
            return error.reason_name
        return "done"


async def test_clients_race_for_a_few_values(claiming: Claiming) -> None:
    seed, deadline = run_seed(), monotonic() + run_seconds(SECONDS)
    values = [new_name(shard) for shard in range(SHARDS) for _ in range(2)]
    addresses = [router.address for router in claiming.cluster.routers]
    racers = (_race(addresses[turn % 2], values, random.Random(seed + turn), deadline) for turn in range(CLIENTS))
    done = sum(await asyncio.gather(*racers))
    assert done > CLIENTS
    claiming.wait_until_settled()
    for value in values:
        rows = query_all(claiming.cluster, "SELECT id FROM accounts WHERE username = %s", value)
        assert len(rows) == len(claiming.claims(value)) <= 1
    assert claiming.client.with_timeout(60).audit() == []


async def _race(address: str, values: list[str], choices: random.Random, deadline: float) -> int:
    """Inserts, renames, moves and deletes accounts; answers how much was done."""
    done = 0
    async with AsyncClient(address) as client:
        while monotonic() < deadline:
            value, other = choices.sample(values, 2)
            with suppress(UniqueViolation, errors.Conflict):
                match choices.randrange(4):
                    case 0 | 1:
                        await client.insert("accounts", new_account(choices.randrange(SHARDS), value))
                    case 2:
                        await client.update("accounts", {"username": other}, key={"username": value})
                    case 3:
                        await client.delete("accounts", key={"username": value})
                done += 1
    return done


@contextmanager
def damaged(cluster: LocalCluster, shard: int, statement: str, mend: str, parameter: str) -> Iterator[None]:
    """A shard on which a superuser did something without any trigger."""
    with as_superuser(cluster, shard) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement, (parameter,))
        yield
        connection.execute(mend, (parameter,))


def test_the_audit_finds_a_value_without_claim(claiming: Claiming) -> None:
    claiming.client.insert("accounts", new_account(ROW_SHARD, username := new_name()))
    claiming.wait_until_settled()
    delete = "DELETE FROM crosskey_claim_public_2.accounts WHERE username = %s"
    mend = f"INSERT INTO crosskey_claim_public_2.accounts VALUES (%s, {ROW_SHARD})"
    with damaged(claiming.cluster, CLAIM_SHARD, delete, mend, username):
        [finding] = claiming.client.with_timeout(60).audit()
    assert finding.kind == AuditResponse.KIND_VALUE_WITHOUT_CLAIM
    assert (finding.shard, finding.table, finding.constraint) == (ROW_SHARD, "accounts", "accounts_username_key")
    assert msgspec.json.decode(finding.key) == {"username": username}


def test_the_audit_finds_a_claim_without_value(claiming: Claiming) -> None:
    username = new_name()
    claim = f"INSERT INTO crosskey_claim_public_2.accounts VALUES (%s, {ROW_SHARD})"
    mend = "DELETE FROM crosskey_claim_public_2.accounts WHERE username = %s"
    with damaged(claiming.cluster, CLAIM_SHARD, claim, mend, username):
        [finding] = claiming.client.with_timeout(60).audit()
        with pytest.raises(UniqueViolation):
            claiming.client.insert("accounts", new_account(OTHER_SHARD, username))
    assert finding.kind == AuditResponse.KIND_CLAIM_WITHOUT_VALUE
    assert (finding.shard, finding.table, finding.constraint) == (CLAIM_SHARD, "accounts", "accounts_username_key")


def test_no_sql_gets_past_a_claim(claiming: Claiming) -> None:
    """Not even psql: a value that another shard would have to claim is refused."""
    number, username = next(_new.numbers[ROW_SHARD]), new_name()
    with pytest.raises(Exception, match="another shard holds the claim"):
        query(claiming.cluster, ROW_SHARD, "INSERT INTO accounts VALUES (%s, %s)", number, username)
    assert list(islice(query(claiming.cluster, ROW_SHARD, "SELECT FROM accounts WHERE id = %s", number), 1)) == []

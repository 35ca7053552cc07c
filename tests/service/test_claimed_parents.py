"""Foreign keys onto claimed keys: what they cost, no orphan in any race, what a crash leaves, what the audit finds."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec
import psycopg
import pytest

from crosskey import AsyncClient, Client, ForeignKeyViolation, UniqueViolation, column, errors, in_, requests
from crosskey.catalog.slots import shard_of_slot, slot_of_text
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import explanation
from crosskey.router.committing.gids import Gid
from crosskey.v1.admin_pb2 import AuditResponse
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import (
    HandCoordinator,
    add_shadows,
    claim_values,
    commit,
    effects_by_shard,
    expect_claims,
    insert,
    pin,
    prepare,
    release_values,
)
from tests.hot_keys.settings import run_seconds, run_seed
from tests.numbers_on_shards import SHARDS, NewAccounts
from tests.running_cluster import RunningCluster
from tests.shard_sql import as_superuser, query, query_all, wait_for_waiters

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE accounts (id bigint PRIMARY KEY, username text NOT NULL UNIQUE);
COMMENT ON TABLE accounts IS '@shard_by id';
CREATE TABLE mails (
    id bigint PRIMARY KEY,
    sender text REFERENCES accounts (username) ON UPDATE CASCADE,
    receiver text REFERENCES accounts (username) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE mails IS '@shard_by id';
"""

REFERENCED = "public.accounts(username)"
CLAIM = "public.accounts_username_key"
PARENT_SHARD, CLAIM_SHARD, CHILD_SHARD = range(SHARDS)
CLIENTS = 12
SECONDS = 3.0
PAUSE_SECONDS = 0.1

_new = NewAccounts(CLAIM_SHARD)
new_name, new_account = _new.name, _new.account


def new_mail(shard: int, **names: str) -> dict[str, Any]:
    """A mail for the shard, not inserted yet."""
    return {"id": next(_new.numbers[shard])} | names


class Referencing(RunningCluster):
    """A cluster with two routers, a client, and a coordinator that is driven by hand."""

    def __init__(self, cluster: LocalCluster, client: Client, hand: HandCoordinator) -> None:
        super().__init__(cluster, client)
        self.hand = hand

    def account(self, username: str) -> dict[str, Any]:
        """Inserts an account, and waits until its claim can be seen."""
        account = new_account(PARENT_SHARD, username)
        self.client.insert("accounts", account)
        self.wait_until_none_in_doubt()
        return account

    def prepare_pin(self, username: str) -> Gid:
        """Pins an account for CHILD_SHARD, as the first phase of an insert does."""
        gid = self.hand.gid(home=CHILD_SHARD)
        answer = self.hand.execute(
            CLAIM_SHARD, pin(REFERENCED, CHILD_SHARD, {"username": username}), prepare(gid, CLAIM_SHARD)
        )
        assert list(effects_by_shard(answer.results)) == [CHILD_SHARD]
        return gid

    def insert_at_home(self, gid: Gid, mail: dict[str, Any], username: str) -> None:
        """The second phase of that insert."""
        response = self.hand.execute(
            CHILD_SHARD, add_shadows(REFERENCED, {"username": username}), insert("mails", mail), commit(gid)
        )
        assert response.finished


@pytest.fixture(scope="module")
def referencing(fresh_cluster: FreshClusters) -> Iterator[Referencing]:
    cluster = fresh_cluster(
        SCHEMA,
        routers=2,
        node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "400"},
        router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1500"},
    )
    hand = HandCoordinator(cluster)
    with Client(cluster.address) as client:
        yield Referencing(cluster, client, hand)
        assert client.with_timeout(60).audit() == []
    hand.close()


def test_a_first_reference_goes_to_the_claim_and_later_ones_nowhere(referencing: Referencing) -> None:
    username = referencing.account(new_name())["username"]
    first = requests.insert("mails", [new_mail(CHILD_SHARD, sender=username)])
    explained = referencing.calls.router.Explain(explanation(first))
    calls = [f"s{CLAIM_SHARD} ShardNode.Run", f"s{CHILD_SHARD} ShardNode.Run"]
    assert list(explained.rpcs) == [*calls, f"s{CLAIM_SHARD} ShardNode.FinishPrepared"]
    assert explained.keys[1].note.endswith("their parents are pinned on the shards with the claims on them.")
    assert referencing.node_calls(first) == calls
    later = requests.insert("mails", [new_mail(CHILD_SHARD, sender=username, receiver=username)])
    assert referencing.node_calls(later) == [f"s{CHILD_SHARD} ShardNode.Run"]


def test_many_parents_are_pinned_by_shard_and_not_by_row(referencing: Referencing) -> None:
    names = [new_name() for _ in range(50)]
    referencing.client.insert("accounts", [new_account(PARENT_SHARD, name) for name in names])
    referencing.wait_until_none_in_doubt()
    calls = referencing.node_calls(requests.insert("mails", [new_mail(CHILD_SHARD, sender=name) for name in names]))
    assert calls == [f"s{CLAIM_SHARD} ShardNode.Run", f"s{CHILD_SHARD} ShardNode.Run"]


def test_a_parent_whose_claim_cannot_be_read_yet_is_waited_for(referencing: Referencing) -> None:
    account = new_account(PARENT_SHARD, username := new_name())
    gid = referencing.hand.gid(home=PARENT_SHARD)
    claim = claim_values(CLAIM, PARENT_SHARD, {"username": username})
    expect = expect_claims(CLAIM, {"username": username})
    referencing.hand.execute(CLAIM_SHARD, claim, prepare(gid, CLAIM_SHARD))
    assert referencing.hand.execute(PARENT_SHARD, expect, insert("accounts", account), commit(gid)).finished
    with ThreadPoolExecutor() as background:
        inserting = background.submit(referencing.client.insert, "mails", new_mail(CHILD_SHARD, sender=username))
        wait_for_waiters(referencing.cluster, CLAIM_SHARD)
        referencing.hand.finish(gid, CLAIM_SHARD, commit=True)
        assert inserting.result()[0]["sender"] == username


def test_a_claim_that_is_given_up_is_no_parent(referencing: Referencing) -> None:
    username, gid = new_name(), referencing.hand.gid(home=PARENT_SHARD)
    claim = claim_values(CLAIM, PARENT_SHARD, {"username": username})
    referencing.hand.execute(CLAIM_SHARD, claim, prepare(gid, CLAIM_SHARD))
    with pytest.raises(ForeignKeyViolation) as refused:
        referencing.client.insert("mails", new_mail(CHILD_SHARD, sender=username))
    assert refused.value.metadata["constraint"] == "mails_sender_fkey"
    referencing.wait_until_none_in_doubt()


def test_a_delete_waits_for_a_child_that_is_being_written(referencing: Referencing) -> None:
    account = referencing.account(new_name())
    gid = referencing.prepare_pin(account["username"])
    with ThreadPoolExecutor() as background:
        deleting = background.submit(referencing.client.delete, "accounts", key={"id": account["id"]})
        wait_for_waiters(referencing.cluster, CLAIM_SHARD)
        mail = new_mail(CHILD_SHARD, sender=account["username"])
        referencing.insert_at_home(gid, mail, account["username"])
        referencing.hand.finish(gid, CLAIM_SHARD, commit=True)
        with pytest.raises(ForeignKeyViolation):
            deleting.result()
    assert referencing.client.get("mails", id=mail["id"])["sender"] == account["username"]


def test_a_child_waits_for_a_delete_and_finds_no_parent(referencing: Referencing) -> None:
    account = referencing.account(new_name())
    gid = referencing.hand.gid(home=PARENT_SHARD)
    release = release_values(CLAIM, PARENT_SHARD, {"username": account["username"]})
    referencing.hand.execute(CLAIM_SHARD, release, prepare(gid, CLAIM_SHARD))
    with ThreadPoolExecutor() as background:
        mail = new_mail(CHILD_SHARD, sender=account["username"])
        inserting = background.submit(referencing.client.insert, "mails", mail)
        wait_for_waiters(referencing.cluster, CLAIM_SHARD)
        # What the home of a delete does, without the releases that the router sees to.
        with as_superuser(referencing.cluster, PARENT_SHARD) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM accounts WHERE id = %s", (account["id"],))
        referencing.hand.finish(gid, CLAIM_SHARD, commit=True)
        with pytest.raises(ForeignKeyViolation):
            inserting.result()


def test_a_pin_of_a_transaction_that_never_ended_is_given_up(referencing: Referencing) -> None:
    account = referencing.account(new_name())
    referencing.prepare_pin(account["username"])
    assert referencing.client.delete("accounts", key={"id": account["id"]}) == 1
    referencing.wait_until_none_in_doubt()


def test_pins_of_a_parent_that_moved_hold_its_new_claim(referencing: Referencing) -> None:
    account = referencing.account(new_name())
    referencing.client.insert("mails", new_mail(CHILD_SHARD, sender=account["username"]))
    referencing.client.update("accounts", {"id": next(_new.numbers[CHILD_SHARD])}, key={"id": account["id"]})
    referencing.wait_until_none_in_doubt()
    statement = (
        'SELECT crosskey_shard, crosskey_claimant FROM crosskey."pin_public_accounts_username" WHERE username = %s'
    )
    assert query(referencing.cluster, CLAIM_SHARD, statement, account["username"]) == [(CHILD_SHARD, CHILD_SHARD)]


def test_a_rename_on_the_shard_of_all_claims_takes_a_first_child_along(referencing: Referencing) -> None:
    """All on one shard. That one parent has a child already keeps the rename off the path without coordination."""
    names = [_name_that_stays(CLAIM_SHARD) for _ in range(2)]
    accounts = [new_account(CLAIM_SHARD, name) for name in names]
    referencing.client.insert("accounts", accounts)
    referencing.client.insert("mails", known := new_mail(CLAIM_SHARD, sender=names[0]))
    first = new_mail(CLAIM_SHARD, sender=names[1])
    with referencing.hand.branch(CLAIM_SHARD) as writer, ThreadPoolExecutor() as background:
        writer.run(insert("mails", first))
        renaming = background.submit(
            referencing.client.update,
            "accounts",
            {"username": column("username").concatenate("x")},
            where=[in_("id", [account["id"] for account in accounts])],
        )
        wait_for_waiters(referencing.cluster, CLAIM_SHARD)
        writer.run(commit())
        assert sorted(row["username"] for row in renaming.result()) == sorted(f"{name}x" for name in names)
    for mail, name in zip((known, first), names, strict=True):
        assert referencing.client.get("mails", id=mail["id"])["sender"] == f"{name}x"


def _name_that_stays(shard: int) -> str:
    """A username that is claimed on the shard, also with an x behind it."""
    while shard_of_slot(slot_of_text(f"{(name := new_name(shard))}x"), SHARDS) != shard:
        pass
    return name


async def test_clients_race_for_a_few_parents(referencing: Referencing) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    values = [new_name(shard) for shard in range(SHARDS) for _ in range(2)]
    addresses = [router.address for router in referencing.cluster.routers]
    deadline = monotonic() + seconds
    racers = (_race(addresses[turn % 2], values, random.Random(seed + turn), deadline) for turn in range(CLIENTS))
    async with AsyncClient(referencing.cluster.address, timeout=60) as client:
        done, _ = await asyncio.gather(asyncio.gather(*racers), _drop_shadows(client, deadline))
        assert sum(done) > CLIENTS
        referencing.wait_until_none_in_doubt()
        assert await client.audit() == []
    usernames = {name for (name,) in query_all(referencing.cluster, "SELECT username FROM accounts")}
    statement = "SELECT name FROM mails, unnest(ARRAY[sender, receiver]) AS name WHERE name IS NOT NULL"
    assert {name for (name,) in query_all(referencing.cluster, statement)} <= usernames


async def _race(address: str, values: list[str], choices: random.Random, deadline: float) -> int:
    """Writes mails of accounts that others insert, rename, move and delete; answers how much was done."""
    done = 0
    async with AsyncClient(address) as client:
        while monotonic() < deadline:
            value, other = choices.sample(values, 2)
            shard = choices.randrange(SHARDS)
            with suppress(UniqueViolation, ForeignKeyViolation, errors.Conflict):
                match choices.randrange(8):
                    case 0 | 1:
                        await client.insert("accounts", new_account(shard, value))
                    case 2:
                        await client.insert("mails", new_mail(shard, receiver=value))
                    case 3:
                        await client.insert("mails", new_mail(shard, sender=value, receiver=other))
                    case 4:
                        await client.update("accounts", {"username": other}, key={"username": value})
                    case 5:
                        await client.update("accounts", {"id": next(_new.numbers[shard])}, key={"username": value})
                    case 6:
                        await client.delete("accounts", key={"username": value})
                    case 7:
                        await client.delete("mails", where={"sender": value})
                done += 1
    return done


async def _drop_shadows(client: AsyncClient, deadline: float) -> None:
    while monotonic() < deadline:
        await client.drop_unused_shadows()
        await asyncio.sleep(PAUSE_SECONDS)


def test_the_audit_finds_a_shadow_whose_claim_is_not_pinned(referencing: Referencing) -> None:
    account = referencing.account(new_name())
    referencing.client.insert("mails", new_mail(CHILD_SHARD, sender=account["username"]))
    referencing.wait_until_none_in_doubt()
    with as_superuser(referencing.cluster, CLAIM_SHARD) as connection:
        connection.execute("SET session_replication_role = replica")
        statement = "DELETE FROM crosskey.pin_public_accounts_username WHERE username = %s"
        connection.execute(statement, (account["username"],))
        [finding] = referencing.client.with_timeout(60).audit()
        statement = "INSERT INTO crosskey.pin_public_accounts_username VALUES (%s, %s, %s)"
        connection.execute(statement, (account["username"], CHILD_SHARD, PARENT_SHARD))
    assert finding.kind == AuditResponse.KIND_SHADOW_WITHOUT_PIN
    assert (finding.shard, finding.table) == (CHILD_SHARD, "accounts")
    assert msgspec.json.decode(finding.key) == {"username": account["username"]}
    assert f"no pin on shard {CLAIM_SHARD}, where it is claimed" in finding.message


def test_the_audit_finds_a_pin_whose_claim_is_gone(referencing: Referencing) -> None:
    username = new_name()
    referencing.wait_until_none_in_doubt()
    with as_superuser(referencing.cluster, CLAIM_SHARD) as connection:
        connection.execute("SET session_replication_role = replica")
        statement = "INSERT INTO crosskey.pin_public_accounts_username VALUES (%s, %s, %s)"
        connection.execute(statement, (username, CHILD_SHARD, PARENT_SHARD))
        kinds = {finding.kind for finding in referencing.client.with_timeout(60).audit()}
        connection.execute("DELETE FROM crosskey.pin_public_accounts_username WHERE username = %s", (username,))
    assert kinds == {AuditResponse.KIND_PIN_WITHOUT_PARENT, AuditResponse.KIND_PIN_WITHOUT_SHADOW}


@pytest.mark.parametrize("claim_shard", [PARENT_SHARD, CLAIM_SHARD])
def test_no_sql_gets_past_a_pin_on_a_claim(referencing: Referencing, claim_shard: int) -> None:
    account = referencing.account(new_name(claim_shard))
    referencing.client.insert("mails", new_mail(CHILD_SHARD, sender=account["username"]))
    referencing.wait_until_none_in_doubt()
    for statement in (
        "DELETE FROM accounts WHERE id = %s",
        "UPDATE accounts SET username = 'other' WHERE id = %s",
    ):
        with pytest.raises(psycopg.Error):
            query(referencing.cluster, PARENT_SHARD, statement, account["id"])
    with pytest.raises(psycopg.Error, match="pins keep rows that other shards reference"):
        query(referencing.cluster, PARENT_SHARD, "TRUNCATE accounts CASCADE")

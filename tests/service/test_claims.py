"""Claims: one winner in every race, what a crash leaves, what it costs, and what the audit finds."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from time import monotonic
from typing import Any

import grpc
import msgspec
import pytest

import crosskey
from crosskey import AsyncClient, Client, CrosskeyError, UniqueViolation, UnknownConstraint, errors, requests
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import explanation
from crosskey.router.committing.gids import Gid
from crosskey.v1 import router_pb2
from crosskey.v1.admin_pb2 import AuditResponse
from crosskey.v1.rows_pb2 import OnConflict
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
CREATE TABLE patrons (id bigint PRIMARY KEY, email text, left_at date, code text, data json);
CREATE UNIQUE INDEX patrons_email_idx ON patrons (lower(email)) WHERE left_at IS NULL;
CREATE UNIQUE INDEX patrons_code_idx ON patrons (reverse(code));
COMMENT ON TABLE patrons IS '@shard_by id';
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
    claiming.wait_until_none_in_doubt()
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


def new_patron(shard: int, email: str) -> dict[str, Any]:
    """A patron for the shard, not inserted yet."""
    return {"id": next(_new.numbers[shard]), "email": email}


def test_what_an_index_computes_is_foreseen(claiming: Claiming) -> None:
    request = requests.insert("patrons", [new_patron(ROW_SHARD, email := new_name().upper())])
    assert claiming.node_calls(request) == [f"s{CLAIM_SHARD} ShardNode.Run", f"s{ROW_SHARD} ShardNode.Run"]
    claiming.wait_until_none_in_doubt()
    present = requests.list_rows("patrons", [crosskey.eq("email", email), crosskey.is_null("left_at")])
    assert claiming.node_calls(present) == [f"s{CLAIM_SHARD} ShardNode.FindClaims", f"s{ROW_SHARD} ShardNode.Read"]
    left = requests.insert("patrons", [{**new_patron(ROW_SHARD, email), "left_at": "2020-01-01"}])
    assert claiming.node_calls(left) == [f"s{ROW_SHARD} ShardNode.Run"]
    any_of_them = requests.list_rows("patrons", {"email": email})
    assert sorted(claiming.node_calls(any_of_them)) == [f"s{shard} ShardNode.Read" for shard in range(SHARDS)]


def test_what_cannot_be_foreseen_is_claimed_when_home_has_computed_it(claiming: Claiming) -> None:
    code = new_name()
    request = requests.insert("patrons", [{"id": next(_new.numbers[ROW_SHARD]), "code": code[::-1]}])
    assert claiming.node_calls(request) == [f"s{ROW_SHARD} ShardNode.Run", f"s{CLAIM_SHARD} ShardNode.Run"]


def test_an_update_that_leaves_what_is_computed_takes_one_shard(claiming: Claiming) -> None:
    patron = new_patron(ROW_SHARD, email := new_name())
    claiming.client.insert("patrons", patron)
    claiming.wait_until_none_in_doubt()
    louder = requests.update("patrons", {"email": email.upper()}, key={"id": patron["id"]})
    assert claiming.node_calls(louder) == [f"s{ROW_SHARD} ShardNode.Run"]


def test_a_load_claims_what_an_index_computes(claiming: Claiming) -> None:
    patrons = [new_patron(shard, new_name(shard).upper()) for shard in range(SHARDS)]
    lines = b"".join(b"%d\t%s\n" % (patron["id"], patron["email"].encode()) for patron in patrons)
    load = router_pb2.LoadRequest(table="patrons", columns=["id", "email"], lines=lines)
    assert claiming.calls.router.Load(iter([load])).count == SHARDS
    for shard, patron in enumerate(patrons):
        with pytest.raises(UniqueViolation):
            claiming.client.insert("patrons", new_patron((shard + 1) % SHARDS, patron["email"].lower()))
    again = router_pb2.LoadRequest(table="patrons", columns=["id", "email"], lines=b"%d\t%s\n" % (0, b"nameless"))
    twice = router_pb2.LoadRequest(table="patrons", columns=["id", "email"], lines=b"%d\t%s\n" % (1, b"NAMELESS"))
    with pytest.raises(grpc.RpcError, match="patrons_email_idx"):
        claiming.calls.router.Load(iter([again, twice]))


def test_an_upsert_has_home_compute_first(claiming: Claiming) -> None:
    code = new_name()
    action = crosskey.do_nothing(index="patrons_code_idx")
    row = {"id": next(_new.numbers[ROW_SHARD]), "code": code[::-1]}
    claiming.client.insert("patrons", {**row, "id": next(_new.numbers[OTHER_SHARD])})
    claiming.wait_until_none_in_doubt()
    request = requests.insert("patrons", [row], on_conflict=action)
    explained = claiming.calls.router.Explain(explanation(request))
    assert explained.route == "distributed"
    assert any(note.startswith("What an index computes") for note in explained.notes)
    assert claiming.node_calls(request) == [
        f"s{shard} ShardNode.Run" for shard in (ROW_SHARD, CLAIM_SHARD, OTHER_SHARD)
    ]


def test_an_upsert_names_an_index_that_there_is(claiming: Claiming) -> None:
    with pytest.raises(UnknownConstraint, match='no unique index "patrons_code_id"') as refused:
        claiming.client.insert("patrons", {"id": 1}, on_conflict=crosskey.do_nothing(index="patrons_code_id"))
    assert refused.value.metadata["hint"] == 'Perhaps you meant "patrons_code_idx".'
    with pytest.raises(errors.InvalidRequest, match="has both columns and index"):
        claiming.client.insert("patrons", {"id": 1}, on_conflict=crosskey.do_nothing("id", index="patrons_pkey"))


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
    claiming.wait_until_none_in_doubt()
    assert claiming.claims(username) == []


def test_a_claim_of_a_transaction_that_never_ended_is_given_up(claiming: Claiming) -> None:
    claiming.prepare_claim(username := new_name())
    claiming.client.insert("accounts", new_account(OTHER_SHARD, username))
    claiming.wait_until_none_in_doubt()
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


async def test_of_many_who_want_what_is_equal_one_gets_it(claiming: Claiming) -> None:
    """By two routers, in spellings of their own; some look first who has it."""
    addresses = [router.address for router in claiming.cluster.routers]
    for email in [new_name(shard) for shard in range(SHARDS)]:
        spellings = email, email.upper(), email.capitalize()
        rows = [new_patron(turn % SHARDS, spellings[turn % 3]) for turn in range(CLIENTS)]
        outcomes = await asyncio.gather(
            *(_try_to_insert(addresses[turn // 3 % 2], row, "patrons") for turn, row in enumerate(rows))
        )
        assert sorted(outcomes) == ["UNIQUE_VIOLATION"] * (CLIENTS - 1) + ["done"]


async def test_of_many_upserts_of_what_is_equal_one_inserts(claiming: Claiming) -> None:
    addresses = [router.address for router in claiming.cluster.routers]
    action = crosskey.do_update("email", index="patrons_email_idx")
    for email in [new_name(shard) for shard in range(SHARDS)]:
        rows = [new_patron(turn % SHARDS, (email, email.upper())[turn % 2]) for turn in range(CLIENTS // 2)]
        done = await asyncio.gather(
            *(_upsert(addresses[turn % 2], row, action) for turn, row in enumerate(rows)), return_exceptions=True
        )
        assert all(isinstance(one, list | errors.Conflict) for one in done), done
        both = crosskey.in_("email", [email, email.upper()])
        assert claiming.client.count("patrons", both) == 1


async def _upsert(address: str, row: dict[str, Any], action: OnConflict) -> list[dict[str, Any]]:
    async with AsyncClient(address) as client:
        return await client.insert("patrons", row, on_conflict=action)


async def _try_to_insert(address: str, row: dict[str, Any], table: str = "accounts") -> str:
    async with AsyncClient(address) as client:
        try:
            await client.insert(table, row)
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
    claiming.wait_until_none_in_doubt()
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
    claiming.wait_until_none_in_doubt()
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


def test_the_audit_compares_what_an_index_computes(claiming: Claiming) -> None:
    claiming.client.insert("patrons", new_patron(ROW_SHARD, (email := new_name()).upper()))
    claiming.client.insert("patrons", {**new_patron(ROW_SHARD, left := new_name()), "left_at": "2020-01-01"})
    claiming.wait_until_none_in_doubt()
    delete = "DELETE FROM crosskey_claim_public_2.patrons WHERE lower = %s"
    insert = f"INSERT INTO crosskey_claim_public_2.patrons VALUES (%s, {ROW_SHARD})"
    with damaged(claiming.cluster, CLAIM_SHARD, delete, insert, email):
        [alone] = claiming.client.with_timeout(60).audit()
    with damaged(claiming.cluster, CLAIM_SHARD, insert, delete, left):
        [extra] = claiming.client.with_timeout(60).audit()
    assert (alone.kind, extra.kind) == (
        AuditResponse.KIND_VALUE_WITHOUT_CLAIM,
        AuditResponse.KIND_CLAIM_WITHOUT_VALUE,
    )
    assert (alone.shard, extra.shard, alone.constraint) == (ROW_SHARD, CLAIM_SHARD, "patrons_email_idx")
    assert msgspec.json.decode(alone.key) == {"lower": email}


def test_no_sql_gets_past_a_claim(claiming: Claiming) -> None:
    """Not even psql: a value that another shard would have to claim is refused."""
    number, username = next(_new.numbers[ROW_SHARD]), new_name()
    with pytest.raises(Exception, match="another shard holds the claim"):
        query(claiming.cluster, ROW_SHARD, "INSERT INTO accounts VALUES (%s, %s)", number, username)
    assert list(islice(query(claiming.cluster, ROW_SHARD, "SELECT FROM accounts WHERE id = %s", number), 1)) == []

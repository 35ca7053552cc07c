"""Both clients do the same: every test runs with each of them."""

from __future__ import annotations

import asyncio
import inspect
import socket
from typing import Any

import pytest

import crosskey
from crosskey.v1 import admin_pb2
from tests.client.toy_router import RunningRouter
from tests.eventually import until

USERS = [{"id": name, "age": age} for name, age in (("ada", 36), ("ben", 7), ("cy", 36))]


async def test_rows_go_in_and_come_back(client: Any) -> None:
    assert await client.insert("users", USERS) == USERS
    assert await client.insert("users", {"id": 4, "age": None}) == [{"id": 4, "age": None}]
    assert await client.get("users", id="ada") == USERS[0]
    assert await client.get("users", {"id": 4}) == {"id": 4, "age": None}
    assert await client.count("users") == 4
    assert await client.count("users", {"age": 36}) == 2
    assert await client.aggregate("users", {"n": "count", "of": ("count", "age")}, where={"age": 36}) == [
        {"n": "2", "of": "2"}
    ]


async def test_rows_of_relations_are_associated(client: Any) -> None:
    user = client.related("users", id=1)
    assert await client.associate("users", {"id": 1}, "posts", "append", [{"id": 2}, {"id": 3}]) == crosskey.Associated(
        added=2, removed=0, kept=0
    )
    for answer in (user.posts.append({"id": 2}), user["posts"].replace([{"id": 2}]), user.posts.remove({"id": 2})):
        assert await answer == crosskey.Associated(added=1, removed=0, kept=0)
    assert (await user.posts.clear(delete_detached=True)).added == 0
    with pytest.raises(TypeError, match="a key names its columns"):
        client.related("users", "no key")


async def test_rows_are_changed_and_deleted_by_key_and_by_condition(client: Any) -> None:
    await client.insert("users", USERS)
    assert await client.update("users", {"age": 8}, key={"id": "ben"}) == [{"id": "ben", "age": 8}]
    assert len(await client.update("users", {"age": 37}, where=crosskey.eq("age", 36))) == 2
    assert await client.delete("users", key={"id": "ben"}) == 1
    assert await client.delete("users", where={"age": 37}) == 2


async def test_a_list_goes_through_all_pages(client: Any) -> None:
    await client.insert("users", USERS)
    assert [row["id"] async for row in client.list("users")] == ["ada", "ben", "cy"]
    assert [row["id"] async for row in client.list("users", order_by=crosskey.desc("id"), page_size=1)] == [
        "cy",
        "ben",
        "ada",
    ]
    assert [row["id"] async for row in client.list("users", {"age": 36})] == ["ada", "cy"]
    assert [row async for row in client.list("users", {"age": 99})] == []


async def test_a_list_ends_at_its_limit(client: Any) -> None:
    await client.insert("users", USERS)
    for limit, page_size in [(0, 0), (1, 0), (2, 1), (2, 3), (3, 0), (5, 0)]:
        rows = [row["id"] async for row in client.list("users", page_size=page_size, limit=limit)]
        assert rows == ["ada", "ben", "cy"][:limit]
    with pytest.raises(ValueError, match="a limit is 0 or more, not -1"):
        [row async for row in client.list("users", limit=-1)]


async def test_no_row_is_an_answer(client: Any) -> None:
    await client.insert("users", USERS)
    assert await client.get_or_none("users", id="ben") == USERS[1]
    assert await client.get_or_none("users", {"id": "nobody"}) is None
    assert await client.first("users", {"age": 36}, crosskey.desc("id")) == USERS[2]
    assert await client.first("users", {"age": 99}) is None
    assert (await client.exists("users", {"age": 36}), await client.exists("users", {"age": 99})) == (True, False)


async def test_a_page_has_the_token_of_the_next_one(client: Any) -> None:
    await client.insert("users", USERS)
    page = await client.list_page("users")
    assert (len(page.rows), page.next_page_token) == (2, "2")
    assert await client.list_page("users", page_token="2") == crosskey.Page([USERS[2]], "")


async def test_a_transaction_answers_each_statement(client: Any) -> None:
    assert await client.transact(
        [
            crosskey.insert("users", USERS),
            crosskey.update("users", {"age": 1}, key={"id": "cy"}),
            crosskey.delete("users", where={"age": 7}),
        ]
    ) == [USERS, [{"id": "cy", "age": 1}], 1]


async def test_a_group_answers_as_a_transaction_or_with_its_error(client: Any) -> None:
    taken = crosskey.insert("users", USERS[0])
    modes, group, failed, count = await client.transact(
        [
            crosskey.set_constraints("users_fkey", deferred=True),
            crosskey.group([taken, crosskey.group([crosskey.delete("users", key={"id": "ada"})]), taken]),
            crosskey.group([crosskey.insert("users", USERS[1]), taken]),
            crosskey.delete("users", where={}),
        ]
    )
    assert modes is None
    assert group == [USERS[:1], [1], USERS[:1]]
    assert isinstance(failed, crosskey.UniqueViolation)
    assert (failed.message, failed.metadata["constraint"]) == ("taken", "users_pkey")
    assert count == 1


async def test_a_request_is_explained(client: Any) -> None:
    explained = await client.explain(crosskey.delete("users", key={"id": 1}))
    assert list(explained.rpcs) == ["delete"]


async def test_the_cluster_is_administered(client: Any) -> None:
    with pytest.raises(crosskey.SchemaNotLoaded):
        await client.describe_schema()
    assert not (await client.apply_schema("CREATE ..", dry_run=True)).changed
    assert (await client.apply_schema("CREATE ..")).changed
    assert (await client.describe_schema()).fingerprint == "CREATE .."
    assert (await client.describe_topology()).slots == 16384
    assert [each.gid for each in (await client.list_in_doubt()).transactions] == ["g"]
    assert [step.sql for step in (await client.plan_migration("CREATE ..")).steps] == ["CREATE .."]
    migrated = await client.apply_migration("CREATE ..", renames={"a.b": "c"})
    assert [each.message for each in migrated] == ["a.b=c", "done"]
    assert [each.message for each in await client.apply_migration(resume=True)] == ["resumed"]
    assert [each.id for each in await client.list_migrations(2)] == [2, 1]
    await client.abort_migration()
    assert await client.drop_unused_shadows() == 2


async def test_an_audit_answers_every_finding(client: Any, toy: RunningRouter) -> None:
    assert await client.audit() == []
    toy.admin.damaged = True
    findings = await client.audit()
    assert [finding.table for finding in findings] == ["follows", "messages"]
    assert findings[0].kind == admin_pb2.AuditResponse.KIND_CHILD_WITHOUT_SHADOW


async def test_errors_are_exceptions_by_reason(client: Any) -> None:
    await client.insert("users", USERS)
    with pytest.raises(crosskey.UniqueViolation, match="taken") as caught:
        await client.insert("users", USERS[0])
    assert caught.value.metadata == {"table": "users", "constraint": "users_pkey"}
    with pytest.raises(crosskey.RowNotFound):
        await client.get("users", id="nobody")


async def test_a_call_ends_at_its_deadline(client: Any) -> None:
    with pytest.raises(crosskey.DeadlineExceeded):
        await client.with_timeout(0.1).get("users", id="slow")
    assert await client.count("users") == 0


async def test_a_client_waits_for_its_router(client: Any) -> None:
    await client.wait_until_connected()


async def test_a_cancelled_call_is_cancelled(toy: RunningRouter) -> None:
    async with crosskey.AsyncClient(toy.address) as client:
        before = toy.router.begun
        call = asyncio.create_task(client.get("users", id="slow"))
        await until(lambda: toy.router.begun > before, "the call is begun")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.fixture
def nowhere() -> str:
    """An address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


async def test_an_absent_router_is_unavailable_and_the_call_may_be_repeated(nowhere: str) -> None:
    async with crosskey.AsyncClient(nowhere) as client:
        with pytest.raises(crosskey.ShardUnavailable) as caught:
            await client.count("users")
        assert caught.value.retryable
        with pytest.raises(crosskey.ShardUnavailable, match="accepts no connection"):
            await client.with_timeout(0.2).wait_until_connected()


def test_an_absent_router_is_unavailable_for_a_blocking_client_too(nowhere: str) -> None:
    with crosskey.Client(nowhere) as client:
        with pytest.raises(crosskey.ShardUnavailable) as caught:
            client.count("users")
        assert caught.value.retryable
        with pytest.raises(crosskey.ShardUnavailable, match="accepts no connection"):
            client.with_timeout(0.2).wait_until_connected()


async def test_a_router_that_stops_in_the_middle_of_a_call_leaves_it_unsure() -> None:
    with RunningRouter().running() as toy:
        client = crosskey.AsyncClient(toy.address)
        call = asyncio.create_task(client.insert("users", USERS))
        await call
        slow = asyncio.create_task(client.get("users", id="slow"))
        await until(lambda: toy.router.begun > 0, "the call is begun")
    with pytest.raises(crosskey.CrosskeyError) as caught:
        await slow
    assert isinstance(caught.value, crosskey.ShardUnavailable | crosskey.Cancelled)
    assert not caught.value.retryable
    await client.close()


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "http://localhost:7400", "localhost:", "localhost:0", "localhost:70000", ":7400"],
)
def test_what_is_no_address_is_told_at_once(address: str) -> None:
    for client in (crosskey.Client, crosskey.AsyncClient):
        with pytest.raises(ValueError, match=r"is no address of a router: say HOST:PORT"):
            client(address)


@pytest.mark.parametrize("address", ["[::1]:7400", "dns:///router:7400", "unix:/run/router.sock", "router.local:1"])
def test_addresses(address: str) -> None:
    crosskey.Client(address).close()


async def test_what_a_request_cannot_mean_is_told_with_what_to_say(client: Any) -> None:
    with pytest.raises(TypeError, match=r'a key names its columns: say \{"id": 5\}, not 5'):
        await client.get("users", 5)
    with pytest.raises(TypeError, match="a key names its columns"):
        await client.update("users", {"name": "Ada"}, key="ada")
    with pytest.raises(TypeError, match="a key names its columns"):
        await client.delete("users", key=[1])
    with pytest.raises(TypeError, match="a row names its columns"):
        await client.insert("users", ["Ada"])
    with pytest.raises(TypeError, match=r"in_ takes a list of values, such as \['Ada'\]"):
        crosskey.in_("name", "Ada")
    with pytest.raises(TypeError, match="'name' is no condition"):
        await client.count("users", "name")


def test_both_clients_have_the_same_documented_methods() -> None:
    def methods(kind: type) -> dict[str, str | None]:
        return {name: inspect.getdoc(method) for name, method in inspect.getmembers(kind) if not name.startswith("_")}

    assert methods(crosskey.Client) == methods(crosskey.AsyncClient)
    assert methods(crosskey.Transaction) == methods(crosskey.AsyncTransaction)
    assert all(methods(crosskey.Client).values())
    assert all(methods(crosskey.Transaction).values())

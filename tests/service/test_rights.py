"""Who may call a router, and what they may do: by tokens and certificates, table by table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf import message_factory

import crosskey
import crosskey.router.serve
from crosskey import Client, PermissionDenied, Unauthenticated, errors
from crosskey.cli.commands import crosskey as command
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc
from tests.certificates import Authority, Certificate, authority
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, total int);
COMMENT ON TABLE orders IS '@shard_by id';
"""
RIGHTS = """
[roles.all]
tables = {"*" = ["read", "insert", "update", "delete"]}
cluster = ["schema", "audit", "admin"]
[roles.orders_only]
tables = {"orders" = ["read", "insert", "update", "delete"]}
[roles.users_reader]
tables = {"public.users" = ["read"]}
[roles.writer]
tables = {"users" = ["insert"]}
[roles.auditor]
cluster = ["audit"]
[roles.looker]
tables = {"*" = ["read"]}
[roles.nothing]

[[certificates]]
name = "reporting"
roles = ["users_reader"]
"""
TOKENS = {
    "root": ["all"],
    "shop": ["orders_only"],
    "reader": ["users_reader"],
    "both": ["orders_only", "users_reader"],
    "writer": ["writer"],
    "auditor": ["auditor"],
    "looker": ["looker"],
    "nobody": ["nothing"],
}


def token_of(name: str) -> str:
    return f"token-of-{name}-hunter2"


def rights_file(tokens: dict[str, list[str]]) -> str:
    entries = [
        f'[[tokens]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
        f"roles = {json.dumps(roles)}\n"
        for name, roles in tokens.items()
    ]
    return RIGHTS + "".join(entries)


class Guarded(NamedTuple):
    """A cluster, and a router before it that asks who calls."""

    cluster: LocalCluster
    address: str
    ca: Authority
    file: Path
    log: Path

    @contextmanager
    def client(self, name: str | None, certificate: Certificate | None = None) -> Iterator[Client]:
        """A client with the token of that name."""
        tls = self.ca.alone if certificate is None else certificate.shown_to(self.ca)
        with Client(self.address, tls=tls, token=None if name is None else token_of(name), timeout=30) as client:
            yield client


@pytest.fixture(scope="module")
def guarded(fresh_cluster: FreshClusters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("rights")
    ca = authority(folder, "ca")
    certificate = ca.sign("router")
    file = folder / "rights.toml"
    file.write_text(rights_file(TOKENS))
    cluster = fresh_cluster(SCHEMA, shards=2)
    settings = {
        "CROSSKEY_TLS_CERT": str(certificate.certificate),
        "CROSSKEY_TLS_KEY": str(certificate.key),
        "CROSSKEY_ACCESS": str(file),
    }
    with extra_router(cluster, folder, **settings) as started:
        started.tls = ca.alone
        started.wait_until_serving()
        with Client(cluster.address) as client:
            client.insert("users", [{"id": number, "name": f"user {number}"} for number in range(4)])
            client.insert("orders", [{"id": 10 + number, "user_id": number} for number in range(4)])
        yield Guarded(cluster, started.address, ca, file, started.log)


def test_who_says_nothing_or_something_unknown_is_not_let_in(guarded: Guarded) -> None:
    for name in (None, "stranger"):
        with guarded.client(name) as client:
            with pytest.raises(Unauthenticated):
                client.count("users")
            with pytest.raises(Unauthenticated):
                client.describe_schema()


READS: dict[str, Callable[[Client], Any]] = {
    "get": lambda client: client.get("users", id=1),
    "list": lambda client: list(client.list("users")),
    "count": lambda client: client.count("users"),
    "by its long name": lambda client: client.count("public.users"),
    "in a transaction": lambda client: client.transact([crosskey.count("users")]),
    "in a group": lambda client: client.transact([crosskey.group([crosskey.count("users")])]),
    "included": lambda client: list(client.list("orders", include=["user"])),
    "included deeper": lambda client: list(client.list("orders", include=["user.orders"])),
    "in a condition": lambda client: client.count("orders", where=crosskey.some("user", crosskey.eq("name", "x"))),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_table_is_read_only_by_who_may(guarded: Guarded, read: Callable[[Client], Any]) -> None:
    with guarded.client("both") as client:
        read(client)
    with guarded.client("shop") as client, pytest.raises(PermissionDenied) as refused:
        read(client)
    assert refused.value.message.startswith('"shop" has no right to read in "')


WRITES: dict[str, Callable[[Client], Any]] = {
    "insert": lambda client: client.insert("users", {"id": 77}),
    "update": lambda client: client.update("users", {"name": "changed"}, key={"id": 1}),
    "delete": lambda client: client.delete("users", key={"id": 1}),
    "in a transaction": lambda client: client.transact([crosskey.delete("users", key={"id": 1})]),
    "nested creation": lambda client: client.insert("orders", {"id": 78, "user": {"create": {"id": 79}}}),
    "nested update": lambda client: client.update("orders", {"user": {"update": {"name": "changed"}}}, key={"id": 10}),
    "upsert": lambda client: client.insert("users", {"id": 1}, on_conflict=crosskey.do_update("name", on="id")),
    "explained": lambda client: client.explain(crosskey.delete("users", key={"id": 1})),
    "locking": lambda client: client.transact([crosskey.get("users", {"id": 1}, lock="UPDATE")]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_table_is_written_only_by_who_may(guarded: Guarded, write: Callable[[Client], Any]) -> None:
    with guarded.client("both") as client, pytest.raises(PermissionDenied):
        write(client)
    with Client(guarded.cluster.address) as client:
        assert [row["name"] for row in client.list("users", order_by="id")] == [f"user {n}" for n in range(4)]
        assert client.count("orders") == 4


def test_rows_change_their_parents_only_by_who_may_write_them(guarded: Guarded) -> None:
    with guarded.client("looker") as client:
        for operation, row, relation in (("clear", {"id": 1}, "orders"), ("append", {"id": 2}, "orders")):
            rows = [{"id": 11}] if operation == "append" else []
            with pytest.raises(PermissionDenied, match='"looker" has no right to update in "orders"'):
                client.associate("users", row, relation, operation, rows)  # type: ignore[arg-type]
        with pytest.raises(PermissionDenied, match='"looker" has no right to update in "orders"'):
            client.associate("orders", {"id": 10}, "user", "append", [{"id": 2}])
    with guarded.client("both") as client:
        assert client.associate("users", {"id": 1}, "orders", "append", [{"id": 11}]).kept == 1


def test_statements_of_a_transaction_to_talk_to_are_checked_too(guarded: Guarded) -> None:
    with guarded.client("shop") as client, pytest.raises(PermissionDenied), client.transaction() as transaction:
        transaction.count("users")


def test_who_may_only_insert_gets_no_rows_back(guarded: Guarded) -> None:
    with guarded.client("writer") as client:
        with pytest.raises(PermissionDenied, match="no right to read"):
            client.insert("users", {"id": 88})
        client.insert("users", {"id": 88}, count_only=True)
    with Client(guarded.cluster.address) as client:
        assert client.delete("users", key={"id": 88}) == 1


def test_a_certificate_says_who_calls(guarded: Guarded, tmp_path: Path) -> None:
    clients = authority(tmp_path, "clients")
    served = guarded.ca.sign("router", "for certificates")
    settings = {
        "CROSSKEY_TLS_CERT": str(served.certificate),
        "CROSSKEY_TLS_KEY": str(served.key),
        "CROSSKEY_TLS_CLIENT_CA": str(clients.certificate),
        "CROSSKEY_ACCESS": str(guarded.file),
    }
    known, unknown = clients.sign("reporting"), clients.sign("somebody")
    with extra_router(guarded.cluster, tmp_path, **settings) as started:
        started.tls = known.shown_to(guarded.ca)
        started.wait_until_serving()
        with Client(started.address, tls=known.shown_to(guarded.ca)) as client:
            assert client.count("users") == 4
            with pytest.raises(PermissionDenied, match='"reporting" has no right to read in "orders"'):
                client.count("orders")
        with Client(started.address, tls=unknown.shown_to(guarded.ca)) as client, pytest.raises(Unauthenticated):
            client.count("users")


def every_call(channel: grpc.Channel) -> Iterator[tuple[str, Callable[..., Any], Any, bool]]:
    """Each method of the public services but Session, with a request that names a table where it can."""
    for module, stub in ((router_pb2, router_pb2_grpc.RouterStub), (admin_pb2, admin_pb2_grpc.AdminStub)):
        made = stub(channel)
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if method.name != "Session":
                    yield method.name, getattr(made, method.name), request_of(method), method.client_streaming


def request_of(method: Any) -> Any:
    request: Any = message_factory.GetMessageClass(method.input_type)()
    match method.name:
        case "StreamList":
            request.list.table = "users"
        case "Watch":
            request.tables.add(table="users")
        case "Explain":
            request.count.table = "users"
        case "Transact":
            request.statements.add().count.table = "users"
        case _ if "table" in method.input_type.fields_by_name:
            request.table = "users"
    return request


def test_no_call_is_open_to_who_has_no_rights(guarded: Guarded) -> None:
    metadata = (("authorization", f"Bearer {token_of('nobody')}"),)
    outcomes: dict[str, str] = {}
    with grpc.secure_channel(guarded.address, guarded.ca.alone.credentials()) as channel:
        for name, method, request, streaming in every_call(channel):
            try:
                answer = method(iter([request]) if streaming else request, metadata=metadata, timeout=20)
                if hasattr(answer, "__next__"):
                    list(answer)
                outcomes[name] = "answered"
            except grpc.RpcError as error:
                outcomes[name] = type(errors.from_rpc_error(error)).__name__
    assert outcomes.pop("DescribeSchema") == "answered"
    assert set(outcomes.values()) == {"PermissionDenied"}, outcomes


def test_rights_over_the_cluster(guarded: Guarded) -> None:
    with guarded.client("auditor") as client:
        assert list(client.audit()) == []
        with pytest.raises(PermissionDenied, match='"auditor" has no right "schema" over the cluster'):
            client.apply_schema(SCHEMA)


def test_a_right_that_is_taken_away_ends_on_sessions_that_are_open(guarded: Guarded) -> None:
    with guarded.client("reader") as client, guarded.client("root") as other:
        assert client.count("users") == 4
        try:
            guarded.file.write_text(rights_file({name: roles for name, roles in TOKENS.items() if name != "reader"}))
            eventually(lambda: _is_refused(client), "the token is refused")
            assert other.count("users") == 4
            guarded.file.write_text("this is no TOML")
            eventually(
                lambda: other.count("users") == 4 and "rights not renewed" in guarded.log.read_text(), "a warning"
            )
        finally:
            guarded.file.write_text(rights_file(TOKENS))
        eventually(lambda: not _is_refused(client), "the token is taken again")


def _is_refused(client: Client) -> bool:
    try:
        client.count("users")
    except Unauthenticated:
        return True
    return False


def test_commands_show_a_token(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token_of("reader") + "\n")
    shown = ["--router", guarded.address, "--ca", str(guarded.ca.certificate), "--token-file", str(tmp_path / "token")]
    done = CliRunner().invoke(command, ["count", "users", *shown])
    assert (done.exit_code, done.output.strip()) == (0, "4")
    done = CliRunner().invoke(command, ["count", "orders", *shown])
    assert done.exit_code == 1
    assert 'PERMISSION_DENIED: "reader" has no right to read in "orders"' in done.output


def test_no_token_is_in_the_log(guarded: Guarded) -> None:
    with guarded.client("stranger") as client, pytest.raises(Unauthenticated) as refused:
        client.count("users")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in guarded.log.read_text()


def test_rights_need_tls(guarded: Guarded) -> None:
    arguments = ["--node", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--access", str(guarded.file)]
    done = CliRunner().invoke(crosskey.router.serve.serve, arguments)
    assert done.exit_code == 2
    assert "--access needs --tls-cert" in done.output

"""Connections with TLS: who gets in by which certificate, and certificates that change while servers serve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from click.testing import CliRunner

import crosskey
import crosskey.router.serve
import crosskey.shard_node.serve
from crosskey import Client, Tls
from crosskey.cli.commands import crosskey as command
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.serving.probe import is_serving
from tests.certificates import Authority, Certificate, authority
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters

SCHEMA = "CREATE TABLE things (id bigint PRIMARY KEY); COMMENT ON TABLE things IS '@shard_by id'"


class Secured(NamedTuple):
    """A cluster whose nodes and router speak TLS, by one authority, and want certificates of it."""

    cluster: LocalCluster
    ours: Authority
    strangers: Authority
    router: Certificate
    node: Certificate
    caller: Certificate

    @property
    def tls(self) -> Tls:
        """How a client with a certificate connects."""
        return self.caller.shown_to(self.ours)


@pytest.fixture(scope="module")
def secured(fresh_cluster: FreshClusters, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    folder = tmp_path_factory.mktemp("certificates")
    ours, strangers = authority(folder, "ours"), authority(folder, "strangers")
    router, node, caller = ours.sign("router"), ours.sign("node"), ours.sign("caller")
    cluster = fresh_cluster(
        SCHEMA,
        shards=2,
        node_environment={**served_by(node), "CROSSKEY_TLS_CLIENT_CA": str(ours.certificate), **named("router caller")},
        router_environment={
            **served_by(router),
            "CROSSKEY_TLS_CLIENT_CA": str(ours.certificate),
            "CROSSKEY_NODES_CA": str(ours.certificate),
            "CROSSKEY_REFLECTION": "false",
        },
        tls=caller.shown_to(ours),
    )
    return Secured(cluster, ours, strangers, router, node, caller)


def served_by(certificate: Certificate) -> dict[str, str]:
    return {"CROSSKEY_TLS_CERT": str(certificate.certificate), "CROSSKEY_TLS_KEY": str(certificate.key)}


def named(names: str) -> dict[str, str]:
    return {"CROSSKEY_ROUTER_NAMES": names}


@contextmanager
def client_of(address: str, tls: Tls | None) -> Iterator[Client]:
    """A client on a connection of its own."""
    with Client(address, tls=tls, timeout=20, options=[("grpc.use_local_subchannel_pool", 1)]) as client:
        yield client


def test_rows_are_written_and_read_over_tls(secured: Secured) -> None:
    with client_of(secured.cluster.address, secured.tls) as client:
        client.insert("things", [{"id": number} for number in range(10)])
        assert client.count("things") == 10
        assert client.delete("things", where=crosskey.ge("id", 0)) == 10
        assert client.describe_topology().shards


async def test_so_they_are_by_an_async_client(secured: Secured) -> None:
    async with crosskey.AsyncClient(secured.cluster.address, tls=secured.tls) as client:
        assert await client.count("things") == 0


def test_who_shows_no_certificate_of_the_ca_gets_no_connection(secured: Secured) -> None:
    stranger = secured.strangers.sign("caller")
    by_nobody, by_stranger = secured.ours.alone, stranger.shown_to(secured.ours)
    for address in (secured.cluster.address, secured.cluster.nodes[0].address):
        for tls in (by_nobody, by_stranger, None):
            assert not is_serving(address, 5, tls)
        with client_of(address, by_stranger) as client, pytest.raises(crosskey.ShardUnavailable):
            client.count("things")


def test_a_client_turns_away_from_a_router_of_another_ca(secured: Secured) -> None:
    tls = secured.caller.shown_to(secured.strangers)
    with client_of(secured.cluster.address, tls) as client, pytest.raises(crosskey.ShardUnavailable):
        client.count("things")


def test_a_node_refuses_certificates_of_its_ca_that_name_no_router(secured: Secured, tmp_path: Path) -> None:
    other = secured.ours.sign("somebody")
    settings = {
        **served_by(secured.router),
        "CROSSKEY_NODES_CA": str(secured.ours.certificate),
        "CROSSKEY_NODES_CERT": str(other.certificate),
        "CROSSKEY_NODES_KEY": str(other.key),
    }
    with extra_router(secured.cluster, tmp_path, **settings) as started:
        started.tls = secured.ours.alone
        eventually(lambda: not started.running, "the router ends")
        assert started.exit_code == 1
        assert "the certificate names no router of this node" in started.log.read_text()


def test_a_certificate_is_renewed_while_the_router_serves(secured: Secured, tmp_path: Path) -> None:
    served, shown = secured.ours.sign("router", "served"), secured.ours.sign("router", "shown")
    settings = {
        **served_by(served),
        "CROSSKEY_NODES_CA": str(secured.ours.certificate),
        "CROSSKEY_NODES_CERT": str(shown.certificate),
        "CROSSKEY_NODES_KEY": str(shown.key),
    }
    with extra_router(secured.cluster, tmp_path, **settings) as started:
        started.tls = secured.ours.alone
        started.wait_until_serving()
        with client_of(started.address, secured.ours.alone) as early:
            early.count("things")
            served.replace_by(secured.strangers.sign("router"))
            shown.replace_by(secured.ours.sign("router", "shown later"))
            assert is_serving(started.address, 5, secured.strangers.alone)
            assert not is_serving(started.address, 5, secured.ours.alone)
            assert early.count("things") == 0
        with client_of(started.address, secured.strangers.alone) as late:
            secured.cluster.nodes[0].stop(grace_seconds=15)
            secured.cluster.nodes[0].start_serving()
            assert late.with_timeout(30).describe_topology().shards
        assert "certificate for nodes renewed" in started.log.read_text()


def test_files_that_do_not_fit_are_not_taken(secured: Secured, tmp_path: Path) -> None:
    served = secured.ours.sign("router", "half")
    settings = {**served_by(served), "CROSSKEY_NODES_CA": str(secured.ours.certificate), **nodes_see(secured.router)}
    with extra_router(secured.cluster, tmp_path, **settings) as started:
        started.tls = secured.ours.alone
        started.wait_until_serving()
        served.certificate.write_bytes(secured.strangers.sign("router").certificate.read_bytes())
        assert is_serving(started.address, 5, secured.ours.alone)
        assert "certificates not renewed" in started.log.read_text()


def nodes_see(certificate: Certificate) -> dict[str, str]:
    return {"CROSSKEY_NODES_CERT": str(certificate.certificate), "CROSSKEY_NODES_KEY": str(certificate.key)}


def test_reflection_can_be_closed(secured: Secured) -> None:
    with grpc.secure_channel(secured.cluster.address, secured.tls.credentials()) as channel:
        reflect: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as refused:
            list(reflect(iter([b""])))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_commands_show_a_certificate(secured: Secured) -> None:
    shown: list[object] = ["--ca", secured.ours.certificate, "--client-cert", secured.caller.certificate]
    shown += ["--client-key", secured.caller.key]
    arguments = ["count", "things", "--router", secured.cluster.address, *map(str, shown)]
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, done.output.strip()) == (0, "0")


ROUTER = ["--node", "127.0.0.1:1"]
NODE = ["--shard", "0", "--shards", "1", "--cluster", "c", "--dsn", "host=localhost"]


@pytest.mark.parametrize(
    ("serve", "arguments"), [(crosskey.router.serve.serve, ROUTER), (crosskey.shard_node.serve.serve, NODE)]
)
def test_nothing_listens_beyond_this_machine_without_tls(serve: object, arguments: list[str]) -> None:
    for listen in ("0.0.0.0:7400", "[::]:7400", "10.1.2.3:7400", "db.example:7400"):
        done = CliRunner().invoke(serve, [*arguments, "--listen", listen])  # type: ignore[arg-type]
        assert done.exit_code == 2
        assert "say --insecure-listen" in done.output


def test_a_node_with_tls_asks_for_certificates_of_routers(secured: Secured) -> None:
    certificate = ["--tls-cert", str(secured.node.certificate), "--tls-key", str(secured.node.key)]
    done = CliRunner().invoke(crosskey.shard_node.serve.serve, [*NODE, "--listen", "127.0.0.1:0", *certificate])
    assert done.exit_code == 2
    assert "give --tls-client-ca" in done.output


def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="only sent over TLS"):
        Client("127.0.0.1:7400", token="hunter2")

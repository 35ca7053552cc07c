"""Servers that start: in which order, with which settings, and what they say when they cannot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner

import crosskey
import crosskey.router.serve
import crosskey.shard_node.serve
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.server_process import ServerProcess
from crosskey.router.settings import Settings as RouterSettings
from crosskey.serving.probe import is_serving
from crosskey.shard_node.settings import Settings as NodeSettings
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.refusals import RawCalls

SHARDS = 2
PASSWORD = "hunter2"
SCHEMA = "CREATE TABLE things (id bigint PRIMARY KEY); COMMENT ON TABLE things IS '@shard_by id'"


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


# Routers and their nodes.


def end_of(process: ServerProcess) -> str:
    """What a process that ends by itself, with an error, says last."""
    eventually(lambda: not process.running, "the process ends")
    assert process.exit_code == 1
    log = process.log.read_text()
    assert "Traceback" not in log
    return log.splitlines()[-1]


def test_a_router_with_two_nodes_swapped_does_not_start(cluster: LocalCluster, tmp_path: Path) -> None:
    swapped = [node.address for node in reversed(cluster.nodes)]
    with extra_router(cluster, tmp_path, nodes=swapped) as started:
        assert end_of(started) in {f"Error: this node serves shard {one}, not {1 - one}" for one in range(SHARDS)}


def test_a_router_with_too_few_nodes_does_not_start(cluster: LocalCluster, tmp_path: Path) -> None:
    with extra_router(cluster, tmp_path, nodes=[cluster.nodes[0].address]) as started:
        assert "of [2] shards, but the router was given 1 nodes of one" in end_of(started)


def test_a_router_may_start_before_its_nodes(cluster: LocalCluster, tmp_path: Path) -> None:
    for node in cluster.nodes:
        node.stop(grace_seconds=15)
    with extra_router(cluster, tmp_path) as early:
        calls = RawCalls(early.address)
        eventually(lambda: "waiting for a node" in early.log.read_text(), "the router waits")
        _check_not_ready(early, calls)
        cluster.nodes[0].start_serving()
        _check_not_ready(early, calls)
        cluster.nodes[1].start_serving()
        early.wait_until_serving()
        assert len(calls.send(crosskey.insert("things", [{"id": number} for number in range(10)])).rows) == 10
        assert calls.send(crosskey.delete("things", where=crosskey.ge("id", 0))).count == 10
        calls.close()


def _check_not_ready(started: ServerProcess, calls: RawCalls) -> None:
    assert not is_serving(started.address, 2.0)
    for request in (crosskey.insert("things", {"id": 1}), crosskey.count("things")):
        refusal = calls.refusal(request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHARD_UNAVAILABLE")
        assert refusal.retryable


def test_a_router_that_still_waits_can_be_stopped(cluster: LocalCluster, tmp_path: Path) -> None:
    with extra_router(cluster, tmp_path, nodes=["127.0.0.1:1", "127.0.0.1:1"]) as waiting:
        eventually(lambda: "waiting for a node" in waiting.log.read_text(), "the router waits")
        waiting.stop(grace_seconds=5)
        assert waiting.exit_code == 0


# Nodes and their databases.


def test_a_node_with_another_shards_database_does_not_start(cluster: LocalCluster) -> None:
    node = cluster.nodes[0]
    dsn = f"{cluster.databases[0].dsn} password={PASSWORD}"
    environment = {**os.environ, **node.environment, "CROSSKEY_SHARD": "1", "CROSSKEY_DSN": dsn}
    done = subprocess.run(node.command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    name = node.environment["CROSSKEY_CLUSTER"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Error: this database is shard 0 of 2 of cluster '{name}', not shard 1 of 2 of '{name}': check the node's"
        " --shard, --shards, --cluster and --dsn"
    )
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr + done.stdout


def test_a_node_that_never_finds_its_postgresql_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("crosskey.shard_node.server.CONNECT_PATIENCE_SECONDS", 0.0)
    dsn = f"host={tmp_path} user=crosskey password={PASSWORD}"
    result = CliRunner().invoke(crosskey.shard_node.serve.serve, [*NODE_FLAGS, "--dsn", dsn])
    assert result.exit_code == 1
    assert "Error: the shard's PostgreSQL cannot be reached: " in result.output
    assert "No such file or directory" in result.output
    assert PASSWORD not in result.output


# Flags and environment.

NODE_FLAGS = ["--shard", "0", "--shards", "2", "--cluster", "here", "--listen", "127.0.0.1:0"]
NODE_ENVIRONMENT = {
    "CROSSKEY_SHARD": "1",
    "CROSSKEY_SHARDS": "2",
    "CROSSKEY_CLUSTER": "here",
    "CROSSKEY_DSN": f"postgresql://crosskey:{PASSWORD}@db/shard",
    "CROSSKEY_LISTEN": "0.0.0.0:7401",
    "CROSSKEY_INSECURE_LISTEN": "true",
}
ROUTER_ENVIRONMENT = {
    "CROSSKEY_NODES": "a:1,b:2",
    "CROSSKEY_LISTEN": "0.0.0.0:7400",
    "CROSSKEY_INSECURE_LISTEN": "true",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The settings that servers were started with; none runs."""
    given: list[object] = []

    async def note(settings: object) -> None:
        given.append(settings)

    monkeypatch.setattr("crosskey.router.server.serve", note)
    monkeypatch.setattr("crosskey.shard_node.server.serve", note)
    return given


def test_a_node_takes_its_settings_from_the_environment(given: list[object]) -> None:
    extra = {"CROSSKEY_POOL_SIZE": "3", "CROSSKEY_POOL_QUEUE": "4", "CROSSKEY_LOCK_TIMEOUT_MS": "5"}
    result = CliRunner().invoke(
        crosskey.shard_node.serve.serve, env={**NODE_ENVIRONMENT, **extra, "CROSSKEY_DRAIN_SECONDS": "6"}
    )
    assert result.output == ""
    assert given == [
        NodeSettings(
            shard=1,
            shards=2,
            cluster="here",
            dsn=NODE_ENVIRONMENT["CROSSKEY_DSN"],
            listen="0.0.0.0:7401",
            pool_size=3,
            pool_queue=4,
            lock_timeout_ms=5,
            drain_seconds=6.0,
        )
    ]


def test_a_router_takes_its_settings_from_the_environment(given: list[object]) -> None:
    extra = {"CROSSKEY_RETRIES": "0", "CROSSKEY_MAX_IN_FLIGHT": "7", "CROSSKEY_RESOLVER_INTERVAL_MS": "8"}
    result = CliRunner().invoke(crosskey.router.serve.serve, env={**ROUTER_ENVIRONMENT, **extra})
    assert result.output == ""
    settings = RouterSettings(
        nodes=("a:1", "b:2"), listen="0.0.0.0:7400", retries=0, max_in_flight=7, resolver_interval_ms=8
    )
    assert given == [settings]


def test_flags_win_over_the_environment(given: list[object]) -> None:
    result = CliRunner().invoke(
        crosskey.router.serve.serve, ["--node", "c:3", "--node", "d:4", "--retries", "5"], env=ROUTER_ENVIRONMENT
    )
    assert result.output == ""
    assert given == [RouterSettings(nodes=("c:3", "d:4"), listen="0.0.0.0:7400", retries=5)]


WRONG_NODE_SETTINGS = {
    "no shard": ({"CROSSKEY_SHARD": ""}, "Missing option '--shard'"),
    "shard that is no number": ({"CROSSKEY_SHARD": "one"}, "Invalid value for '--shard'"),
    "shard beyond the last": ({"CROSSKEY_SHARD": "2"}, "there is no shard 2 among 2: they count from 0"),
    "negative shard": ({"CROSSKEY_SHARD": "-1"}, "Invalid value for '--shard'"),
    "no shards": ({"CROSSKEY_SHARDS": "0"}, "Invalid value for '--shards'"),
    "cluster with a space": ({"CROSSKEY_CLUSTER": "my cluster"}, "'my cluster' is not 1 to 64 letters"),
    "cluster with a quote": ({"CROSSKEY_CLUSTER": "x'; --"}, "Invalid value for '--cluster'"),
    "dsn of one word": ({"CROSSKEY_DSN": PASSWORD}, "it is neither like 'host=db user=crosskey dbname=shard'"),
    "dsn with an unknown word": ({"CROSSKEY_DSN": f"password={PASSWORD} x=1"}, "Invalid value for '--dsn'"),
    "dsn with an unknown part": ({"CROSSKEY_DSN": f"postgresql://u:{PASSWORD}@h/d?x=1"}, "Invalid value for '--dsn'"),
    "listen without a port": ({"CROSSKEY_LISTEN": "localhost"}, "'localhost' is not HOST:PORT"),
    "listen on a port too high": ({"CROSSKEY_LISTEN": "localhost:65536"}, "'localhost:65536' is not HOST:PORT"),
    "empty pool": ({"CROSSKEY_POOL_SIZE": "0"}, "Invalid value for '--pool-size'"),
    "queue without end": ({"CROSSKEY_POOL_QUEUE": "0"}, "Invalid value for '--pool-queue'"),
    "no lock time-out": ({"CROSSKEY_LOCK_TIMEOUT_MS": "0"}, "Invalid value for '--lock-timeout-ms'"),
    "negative drain": ({"CROSSKEY_DRAIN_SECONDS": "-1"}, "Invalid value for '--drain-seconds'"),
}
WRONG_ROUTER_SETTINGS = {
    "no nodes": ({"CROSSKEY_NODES": ""}, "Missing option '--node'"),
    "node without a port": ({"CROSSKEY_NODES": "a:1,b"}, "'b' is not HOST:PORT"),
    "negative retries": ({"CROSSKEY_RETRIES": "-1"}, "Invalid value for '--retries'"),
    "no calls": ({"CROSSKEY_MAX_IN_FLIGHT": "0"}, "Invalid value for '--max-in-flight'"),
    "resolver without rest": ({"CROSSKEY_RESOLVER_INTERVAL_MS": "0"}, "Invalid value for '--resolver-interval-ms'"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG_NODE_SETTINGS.values(), ids=WRONG_NODE_SETTINGS.keys())
def test_a_wrong_setting_of_a_node_is_named(given: list[object], wrong: Mapping[str, str], message: str) -> None:
    result = CliRunner().invoke(crosskey.shard_node.serve.serve, env={**NODE_ENVIRONMENT, **wrong})
    assert (result.exit_code, given) == (2, [])
    assert message in " ".join(result.output.split())
    assert PASSWORD not in result.output


@pytest.mark.parametrize(("wrong", "message"), WRONG_ROUTER_SETTINGS.values(), ids=WRONG_ROUTER_SETTINGS.keys())
def test_a_wrong_setting_of_a_router_is_named(given: list[object], wrong: Mapping[str, str], message: str) -> None:
    result = CliRunner().invoke(crosskey.router.serve.serve, env={**ROUTER_ENVIRONMENT, **wrong})
    assert (result.exit_code, given) == (2, [])
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("command", "environment"),
    [(crosskey.shard_node.serve.serve, NODE_ENVIRONMENT), (crosskey.router.serve.serve, ROUTER_ENVIRONMENT)],
    ids=["node", "router"],
)
def test_an_unknown_log_level_is_named(command: click.Command, environment: Mapping[str, str]) -> None:
    result = CliRunner().invoke(command, env={**environment, "CROSSKEY_LOG_LEVEL": "loud"})
    assert result.exit_code == 1
    assert result.output == "Error: CROSSKEY_LOG_LEVEL is 'loud', which is none of debug, info, warning, error\n"

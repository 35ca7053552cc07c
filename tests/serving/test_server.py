"""A whole server as a process: health, reflection, drain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from crosskey import AsyncClient, Client, DeadlineExceeded, errors

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Process:
    """A toy server in a process of its own, and the lines of its log."""

    def __init__(self, listen: str, drain_seconds: float, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.serving.toy_server", listen, str(drain_seconds), *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients'}"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)

    def line(self, event: str) -> dict[str, Any]:
        """Waits for the next log line of that event."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"the server ended without the log line {event!r}")

    def stop(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def started(listen: str = "127.0.0.1:0", drain_seconds: float = 5, *arguments: str) -> Process:
            process = Process(listen, drain_seconds, *arguments)
            stack.callback(process.stop)
            return process

        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server that is ready."""
    process = Process("127.0.0.1:0", 5)
    listening = process.line("listening")["address"]
    process.line("serving")
    yield listening
    process.stop()


@contextmanager
def health_of(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def unary_unary(channel: grpc.Channel) -> Any:
    call: Any = channel.unary_unary("/toy.Toy/UnaryUnary")
    return call


def grpcurl(*arguments: str) -> str:
    command = shutil.which("grpcurl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert command is not None
    done = subprocess.run([command, "-plaintext", *arguments], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_health_is_serving_only_once_it_is_ready(start: Start) -> None:
    process = start()
    with health_of(process.line("listening")["address"]) as health:
        for service in ("", "crosskey.v1.Router"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == NOT_SERVING
        process.line("serving")
        for service in ("", "crosskey.v1.Router"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


def test_health_is_watched_from_start_to_drain(start: Start) -> None:
    process = start()
    with health_of(process.line("listening")["address"]) as health:
        watch = health.Watch(health_pb2.HealthCheckRequest())
        states = [next(watch).status, next(watch).status]
        process.process.send_signal(signal.SIGTERM)
        states.append(next(watch).status)
    assert states == [NOT_SERVING, SERVING, NOT_SERVING]


def test_a_server_whose_dependencies_fail_ends_with_an_error(start: Start) -> None:
    process = start("127.0.0.1:0", 5, "broken")
    _, log = process.process.communicate(timeout=20)
    assert process.process.returncode == 1
    assert b"the database is not there" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_may_end_when_the_server_is_told_to_stop(start: Start, number: signal.Signals) -> None:
    process = start()
    address = process.line("listening")["address"]
    with grpc.insecure_channel(address) as channel:
        waiting = unary_unary(channel).future(b"wait", timeout=10)
        process.line("serving")
        process.process.send_signal(number)
        process.line("draining")
        assert waiting.result() == b"wait"
    assert process.process.wait(10) == 0


def test_calls_that_do_not_end_are_cut_off_when_the_drain_is_over(start: Start) -> None:
    process = start("127.0.0.1:0", 0.5)
    address = process.line("listening")["address"]
    with grpc.insecure_channel(address) as channel:
        waiting = unary_unary(channel).future(b"wait long", timeout=30)
        process.line("serving")
        process.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert waiting.exception() is not None
        assert process.process.wait(10) == 0
    assert time.monotonic() - started < 5


def test_a_server_stops_before_it_is_ready_too(start: Start) -> None:
    process = start()
    process.line("listening")
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0


def test_two_servers_on_one_port_fail_loudly(start: Start, address: str) -> None:
    process = start(address)
    _, log = process.process.communicate(timeout=20)
    assert process.process.returncode == 1
    assert f"cannot listen on {address}" in log.decode()


def test_grpcurl_needs_no_proto_file(address: str) -> None:
    assert grpcurl(address, "list").split() == [
        "crosskey.v1.Router",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    assert "rpc Insert ( .crosskey.v1.InsertRequest )" in grpcurl(address, "describe")
    assert "rpc Count ( .crosskey.v1.CountRequest )" in grpcurl(address, "describe", "crosskey.v1.Router.Count")
    assert "string table = 1;" in grpcurl(address, "describe", "crosskey.v1.CountRequest")
    assert json.loads(grpcurl("-d", '{"table": "users"}', address, "crosskey.v1.Router/Count")) == {"count": "7"}


def test_grpcurl_shows_the_reason_of_an_error(address: str) -> None:
    shown = grpcurl("-d", '{"table": "refuse"}', address, "crosskey.v1.Router/Count")
    assert "Code: AlreadyExists" in shown
    assert '"reason":"UNIQUE_VIOLATION"' in shown


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_under_both_its_names(address: str, version: str) -> None:
    with grpc.insecure_channel(address) as channel:
        reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        [listed, unknown] = reflect(
            iter(
                [
                    reflection_pb2.ServerReflectionRequest(list_services=""),
                    reflection_pb2.ServerReflectionRequest(file_containing_symbol="crosskey.v1.Nothing"),
                ]
            )
        )
    assert "crosskey.v1.Router" in [service.name for service in listed.list_services_response.service]
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_message_over_the_bound_is_refused(address: str) -> None:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        unary_unary(channel)(b"x" * 5_000_000)
    assert isinstance(errors.from_rpc_error(caught.value), errors.Overloaded)


def test_garbage_on_the_port_does_no_harm(address: str) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
        connection.recv(1000)
    with Client(address) as client:
        assert client.count("users") == 7


def test_a_blocking_client_gives_up_at_its_deadline(address: str) -> None:
    with Client(address) as client, pytest.raises(DeadlineExceeded):
        client.with_timeout(0.2).count("wait long")


async def test_an_async_client_gives_up_at_its_deadline(address: str) -> None:
    async with AsyncClient(address) as client:
        with pytest.raises(DeadlineExceeded):
            await client.with_timeout(0.2).count("wait long")

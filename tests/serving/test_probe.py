"""The health probe."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crosskey.serving.probe import is_serving, main

pytestmark = pytest.mark.processes

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STOP_SECONDS = 1.0


@pytest.fixture
def servicer() -> health.HealthServicer:
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer) -> Iterator[str]:
    """A server with nothing but its health."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(STOP_SECONDS).wait()


@pytest.mark.parametrize(("status", "exit_code"), [(SERVING, 0), (NOT_SERVING, 1)])
def test_the_exit_code_tells_whether_the_server_serves(
    servicer: health.HealthServicer, address: str, status: int, exit_code: int
) -> None:
    servicer.set("", status)
    assert CliRunner().invoke(main, [address]).exit_code == exit_code


def test_a_server_that_is_not_there_does_not_serve() -> None:
    assert not is_serving("127.0.0.1:1", timeout_seconds=1)


def test_a_server_that_comes_back_is_seen_at_once(servicer: health.HealthServicer, address: str) -> None:
    servicer.set("", NOT_SERVING)
    assert not is_serving(address, timeout_seconds=1)
    servicer.set("", SERVING)
    assert is_serving(address, timeout_seconds=1)

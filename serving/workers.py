"""Several processes that serve one address, since one Python process uses one core.

The kernel spreads connections over the workers (SO_REUSEPORT); each is a server like any other, with connections and
caches of its own. Their parent serves nothing: it starts them, replaces one that is killed, and ends them.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

RESTART_SECONDS = 1.0
"""How long a killed worker's place stays empty, so that one that is killed at once each time uses no core."""

Work = Callable[[str, int], None]
"""Serves HOST:PORT as the worker of a number, until SIGTERM. Raises ClickException."""

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def run_workers(number: int, listen: str, work: Work) -> None:
    """Has `number` processes do the work at one address, until SIGTERM or SIGINT; they are drained then.

    A worker that is killed is replaced. One that gives up says why, and all end with its exit status (SystemExit).
    If this process is killed, its workers are drained. Call it before gRPC is used, which bears no fork.
    Raises OSError if the address is not to be had.
    """
    with _reserved(listen) as address:
        status = _Workers(number, lambda worker: work(address, worker)).run()
    if status:
        sys.exit(status)


@contextmanager
def _reserved(listen: str) -> Iterator[str]:
    """Holds HOST:PORT for the workers, without taking connections; answers it with the real port. Raises OSError."""
    host, _, port = listen.rpartition(":")
    family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as nobody_else, socket.socket(family) as held:
        try:
            # Those that share a port are not told of each other: whether it is free is seen without sharing.
            nobody_else.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            nobody_else.bind(address)
            free = nobody_else.getsockname()
            nobody_else.close()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(free)
        except OSError as error:
            raise OSError(f"cannot listen on {listen}: {error.strerror}") from error
        yield f"{host}:{free[1]}"


class _Workers:
    """The parent's side; used once."""

    def __init__(self, number: int, work: Callable[[int], None]) -> None:
        self._number = number
        self._work = work
        self._by_pid: dict[int, int] = {}
        self._parent_lives, self._alive = os.pipe()
        self._is_ending = False
        self._status = 0

    def run(self) -> int:
        """Answers the exit status."""
        # Without a handler, children that end are not told of everywhere.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        for worker in range(self._number):
            self._start(worker)
        while self._by_pid:
            if signal.sigwait(_WATCHED) == signal.SIGCHLD:
                self._reap()
            else:
                self._end()
        return self._status

    def _start(self, worker: int) -> None:
        pid = os.fork()
        if pid:
            self._by_pid[pid] = worker
        else:
            os._exit(self._as_worker(worker))

    def _reap(self) -> None:
        """Looks after all workers that have ended: several may be told of by one signal."""
        while self._by_pid:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker, code = self._by_pid.pop(pid), os.waitstatus_to_exitcode(status)
            if self._is_ending:
                continue
            if code < 0:
                _say(f"worker {worker} was ended by {signal.Signals(-code).name}; another one takes its place")
                time.sleep(RESTART_SECONDS)
                self._start(worker)
            else:
                self._status = code
                self._end()

    def _end(self) -> None:
        self._is_ending = True
        for pid in self._by_pid:
            os.kill(pid, signal.SIGTERM)

    def _as_worker(self, worker: int) -> int:
        """The child's side: does the work and answers the exit status."""
        os.close(self._alive)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        threading.Thread(target=_end_with_parent, args=(self._parent_lives,), daemon=True).start()
        try:
            self._work(worker)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0


def _end_with_parent(parent_lives: int) -> None:
    """The pipe's other end is only the parent's: it ends with it, however it ends."""
    os.read(parent_lives, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _say(event: str) -> None:
    """The parent sets up no logging, which would be inherited half."""
    click.echo(event, err=True)

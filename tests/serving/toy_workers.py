"""Workers whose one call answers the process that serves it.

Run it with `python -m tests.serving.toy_workers HOST:PORT WORKERS [broken]`: broken workers give up.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import grpc
import grpc.aio
import uvloop

from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.logging import configure_logging
from crosskey.serving.server import ServerSettings, run_server
from crosskey.serving.workers import run_workers


async def _pid(_: bytes, __: Any) -> bytes:
    return str(os.getpid()).encode()


def _register(server: grpc.aio.Server) -> None:
    handlers: dict[str, Any] = {"Pid": grpc.unary_unary_rpc_method_handler(_pid)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy.Toy", handlers),))


def _work(listen: str, worker: int) -> None:
    if sys.argv[3:] == ["broken"]:
        raise click.ClickException("there is no database")
    configure_logging(service="toy", worker=worker)
    settings = ServerSettings(listen=listen, drain_seconds=5, shares_address=True)
    uvloop.run(run_server(settings, CallsInFlight(1000), register=_register, service_names=["toy.Toy"]))


if __name__ == "__main__":
    try:
        run_workers(int(sys.argv[2]), sys.argv[1], _work)
    except OSError as error:
        sys.exit(str(error))

"""Asks a server for its health, as a container's health check does: `python -m crosskey.serving.probe HOST:PORT`."""

import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import optional_setting
from crosskey.tls import Tls

# Each probe is a connection of its own: a shared one would wait out a back-off after the server was down.
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


def is_serving(address: str, timeout_seconds: float, tls: Tls | None = None) -> bool:
    """Return whether the server at `address` answers SERVING for itself as a whole within the time-out."""
    with (
        grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        if tls is None
        else grpc.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)
    ) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@click.command()
@click.argument("address", type=ADDRESS)
@click.option("--timeout", "timeout_seconds", type=float, default=2.0, show_default=True, help="In seconds.")
@optional_setting("probe_ca", click.Path(), "Speak TLS; the server's certificate is of this CA.")
@optional_setting("probe_cert", click.Path(), "The certificate to show.")
@optional_setting("probe_key", click.Path(), "Its key.")
def main(
    address: str, timeout_seconds: float, probe_ca: str | None, probe_cert: str | None, probe_key: str | None
) -> None:
    """Exit with 0 if the server at ADDRESS is serving, with 1 if it is not."""
    tls = None if probe_ca is None else Tls(probe_ca, probe_cert, probe_key)
    sys.exit(0 if is_serving(address, timeout_seconds, tls) else 1)


if __name__ == "__main__":
    main()

"""Further routers on the nodes of a running cluster, with settings of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.ports import PortReservation
from crosskey.local_cluster.server_process import ServerProcess, python_server

STOP_SECONDS = 15.0


@contextmanager
def extra_router(
    cluster: LocalCluster, folder: Path, *, nodes: Sequence[str] | None = None, **settings: str
) -> Iterator[ServerProcess]:
    """A router that was started; it may not serve yet. It stops with the context, its log in `folder` stays.

    `nodes` are those of the cluster if they are not given; settings are like CROSSKEY_RETRIES="0".
    """
    reservation = PortReservation()
    addresses = [node.address for node in cluster.nodes] if nodes is None else nodes
    environment = {"CROSSKEY_NODES": ",".join(addresses), **settings}
    router = python_server(
        "crosskey.router", "extra-router", address=reservation.address, log_folder=folder, environment=environment
    )
    router.start()
    try:
        yield router
    finally:
        router.stop(STOP_SECONDS)
        reservation.release()

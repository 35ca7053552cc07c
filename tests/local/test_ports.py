"""Port reservations: nobody else gets the port, and its server does."""

import socket

import pytest

from crosskey.local_cluster.ports import PortReservation

pytestmark = pytest.mark.processes


@pytest.fixture
def reservation() -> PortReservation:
    return PortReservation()


def test_a_server_can_listen_on_a_reserved_port_again_and_again(reservation: PortReservation) -> None:
    host, port = reservation.address.split(":")
    for _ in range(2):
        with socket.create_server((host, int(port))), socket.create_connection((host, int(port))):
            pass
    reservation.release()


def test_a_reserved_port_is_handed_to_nobody_who_asks_for_any(reservation: PortReservation) -> None:
    others = [PortReservation() for _ in range(500)]
    assert reservation.address not in {other.address for other in others}
    for taken in [reservation, *others]:
        taken.release()


def test_a_foreign_address_cannot_be_reserved() -> None:
    with pytest.raises(OSError, match="Cannot assign"):
        PortReservation("192.0.2.1")

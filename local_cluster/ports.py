"""Free ports that stay free for the process that they are meant for."""

import socket


class PortReservation:
    """A free TCP port of this machine, kept from everybody who asks for any free port.

    A server that listens on it by number still can, also again after a crash: the reservation is bound but does not
    listen, and allows its address to be used again.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Reserve a port of `host`; OSError if the host is not this machine's."""
        self._host = host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((host, 0))
        except OSError:
            self._socket.close()
            raise

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self._host}:{self._socket.getsockname()[1]}"

    def release(self) -> None:
        """Give the port back."""
        self._socket.close()

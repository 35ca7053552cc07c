"""The certificates that a server shows and asks for: read from files, and again when the files have changed."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import grpc
import structlog

FilesState: TypeAlias = tuple[tuple[int, int, int], ...]

_log = structlog.get_logger(__name__)


class UnfitCertificate(OSError):
    """A certificate, key or CA file that is no such thing, or a key that is not the certificate's."""


@dataclass(frozen=True)
class ServerTls:
    """PEM files: the server's certificate (and those up to its CA) and key, and the CA of its clients.

    With `client_ca` only clients connect that show a certificate signed by it.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(file for file in (self.certificate, self.key, self.client_ca) if file is not None)

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC takes; it looks at each new connection whether the files have changed.

        Raises UnfitCertificate, and OSError for a file that cannot be read.
        """
        state = files_state(self.files)
        renewal = _Renewal(self, state)
        # The stubs do not say that None stands for what there was before.
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewal.configuration_if_changed)
        return grpc.dynamic_ssl_server_credentials(self.configuration(), fetch, self.client_ca is not None)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold. Raises UnfitCertificate, and OSError for a file that cannot be read."""
        _check_pair(self.certificate, self.key)
        client_ca = None if self.client_ca is None else _checked_ca(self.client_ca)
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], client_ca)


class _Renewal:
    """Remembers which files were read last."""

    def __init__(self, tls: ServerTls, state: FilesState) -> None:
        self._tls = tls
        self._state = state

    def configuration_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificates if the files have changed, None if not, or if they do not fit: the former ones stay."""
        try:
            state = files_state(self._tls.files)
            if state == self._state:
                return None
            configuration = self._tls.configuration()
        except OSError as error:
            _log.warning("certificates not renewed", error=str(error))
            return None
        self._state = state
        _log.info("certificates renewed")
        return configuration


def files_state(files: Iterable[Path]) -> FilesState:
    """What differs once a file has been written anew or replaced. Raises OSError for one that is not there."""
    stats = (file.stat() for file in files)
    return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def is_loopback(listen: str) -> bool:
    """Whether only this machine reaches HOST:PORT."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        # A key with a passphrase would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise UnfitCertificate(
            f"{certificate.name} and {key.name} are no certificate with its key, in PEM and without a passphrase"
        ) from error


def _checked_ca(file: Path) -> bytes:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except ssl.SSLError as error:
        raise UnfitCertificate(f"{file.name} holds no certificates in PEM") from error
    return file.read_bytes()

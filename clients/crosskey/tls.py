"""Who may be at the other end of a connection, and who one is there: certificates and tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc

PemFile: TypeAlias = "Path | str"


@dataclass(frozen=True)
class Tls:
    """TLS to a server, by PEM files.

    `ca` holds the certificates of who may have signed the server's; without it gRPC's own list is used, which holds
    those of the internet. `certificate` and `key` say who the client is, where the server asks; they come together.
    Raises ValueError if only one of them is given.
    """

    ca: PemFile | None = None
    certificate: PemFile | None = None
    key: PemFile | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key are given together, or neither of them")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(Path(file) for file in (self.ca, self.certificate, self.key) if file is not None)

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC takes. Reads the files anew each time; raises OSError for one that cannot be read."""
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.certificate))


def channel_credentials(
    credentials: grpc.ChannelCredentials | None, tls: Tls | None, token: str | None
) -> grpc.ChannelCredentials | None:
    """What a client connects with; None for a connection that everybody on its way can read and change.

    Raises ValueError if both credentials and `tls` are given, or a token that would be sent in the clear.
    """
    if credentials is not None and tls is not None:
        raise ValueError("give tls or credentials, not both")
    secured = tls.credentials() if tls is not None else credentials
    if token is None:
        return secured
    if secured is None:
        raise ValueError("a token is only sent over TLS: give tls too")
    return grpc.composite_channel_credentials(secured, grpc.metadata_call_credentials(_Bearer(token), "bearer"))


class _Bearer(grpc.AuthMetadataPlugin):
    """Adds a token to every call; it shows in no repr."""

    def __init__(self, token: str) -> None:
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ValueError("a token consists of printable ASCII characters without spaces")
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __call__(self, context: Any, callback: Callable[[Any, Exception | None], None]) -> None:  # noqa: ARG002
        callback(self._metadata, None)


def _content(file: PemFile | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()

"""Real certificates for tests, made by openssl: authorities, and what they sign."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crosskey.tls import Tls

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path

    def replace_by(self, other: Certificate) -> None:
        """Has these files hold what the other's do, each at once."""
        os.replace(other.key, self.key)
        os.replace(other.certificate, self.certificate)

    def shown_to(self, authority: Authority) -> Tls:
        """How one who has it connects to a server of that authority."""
        return Tls(authority.certificate, self.certificate, self.key)


@dataclass(frozen=True)
class Authority(Certificate):
    """Who signs certificates."""

    def sign(self, name: str, file: str = "") -> Certificate:
        """A certificate for that common name, for servers and clients on this machine."""
        made = _files(self.certificate.parent, file or name)
        request = made.certificate.with_suffix(".csr")
        _openssl("req", *_NEW_KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}", "-addext", _NAMES)
        authority = ("-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-copy_extensions", "copy")
        _openssl("x509", "-req", "-in", request, *authority, "-out", made.certificate, "-days", "2")
        return made

    @property
    def alone(self) -> Tls:
        """How one who has no certificate connects to its servers."""
        return Tls(self.certificate)


def authority(folder: Path, name: str) -> Authority:
    """A new authority, whose files are in a folder of its name."""
    (folder / name).mkdir()
    made = _files(folder / name, "ca")
    _openssl(
        "req", "-x509", *_NEW_KEY, "-keyout", made.key, "-out", made.certificate, "-days", "2", "-subj", f"/CN={name}"
    )
    return Authority(made.certificate, made.key)


def _files(folder: Path, name: str) -> Certificate:
    return Certificate(folder / f"{name}.pem", folder / f"{name}.key")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)

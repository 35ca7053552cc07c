"""Who calls a router and what they may do, as a file says that is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import structlog

from crosskey import errors
from crosskey.router.planning.rights import Verb, current_caller
from crosskey.serving.certificates import FilesState, files_state
from crosskey.serving.peers import names_of

LOOK_SECONDS = 1.0
"""How often the file is looked at."""

EVERY_TABLE = "*"
_ADMIN = "/crosskey.v1.Admin/"
_CLUSTER_RIGHTS: dict[str, str] = {
    "DescribeSchema": "",
    "ApplySchema": "schema",
    "PlanMigration": "schema",
    "ApplyMigration": "schema",
    "AbortMigration": "schema",
    "ListMigrations": "schema",
    "Audit": "audit",
    "ListInDoubt": "audit",
    "ListCleanups": "audit",
    "DescribeEvents": "audit",
}
"""Which right each call of Admin needs: none but to be known for "", and "admin" for those that are not here."""

Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger(__name__)


class UnfitAccessFile(ValueError):
    """The file of rights says something that cannot be meant; the message says where."""


class _Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tables: dict[str, set[Verb]] = {}
    cluster: set[str] = set()


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sha256: str
    roles: list[str]


class _Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    roles: list[str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    roles: dict[str, _Role] = {}
    tokens: list[_Token] = []
    certificates: list[_Certificate] = []


@dataclass(frozen=True)
class _Rights:
    """The rights of all roles of one caller together."""

    name: str
    tables: Mapping[str, frozenset[Verb]]
    cluster: frozenset[str]


@dataclass(frozen=True)
class _Known:
    """Whoever the file knows: by the SHA-256 of a token, and by the name in a certificate."""

    by_digest: Mapping[bytes, _Rights]
    by_certificate: Mapping[str, _Rights]


class Access:
    """The file of rights. Its `admit` is told of every call that comes in."""

    def __init__(self, file: Path) -> None:
        """Reads the file. Raises UnfitAccessFile, and OSError if it cannot be read."""
        self._file = file
        self._state: FilesState = files_state([file])
        self._known = _read(file)
        self._looked_at = time.monotonic()

    def admit(self, method: str, context: Context) -> None:
        """Sets who the current caller is. Raises Unauthenticated, and PermissionDenied for calls of Admin."""
        caller = self._caller(context)
        current_caller.set(caller)
        if method.startswith(_ADMIN):
            caller.check_cluster(_CLUSTER_RIGHTS.get(method.removeprefix(_ADMIN), "admin"))

    def known(self) -> _Known:
        """Whoever the file knows now, or a second ago."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._read_if_changed()
        return self._known

    def _read_if_changed(self) -> None:
        try:
            state = files_state([self._file])
            if state != self._state:
                self._known, self._state = _read(self._file), state
                _log.info("rights renewed")
        except (UnfitAccessFile, OSError) as error:
            _log.warning("rights not renewed", error=str(error))

    def _caller(self, context: Context) -> _Caller:
        tokens = [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
        known = self.known()
        if tokens:
            kind, _, token = tokens[0].partition(" ")
            digest = hashlib.sha256(token.encode()).digest()
            # All are compared, each in constant time, so that the time tells nothing of them.
            found = [one for one in known.by_digest if hmac.compare_digest(one, digest)]
            if len(tokens) == 1 and kind.lower() == "bearer" and found:
                return _Caller(self, digest=digest)
            raise errors.Unauthenticated("the token is not known here")
        names = sorted(names_of(context) & known.by_certificate.keys())
        if names:
            return _Caller(self, certificate=names[0])
        raise errors.Unauthenticated("say who calls: by a token, or by a certificate whose name is known here")


@dataclass(frozen=True)
class _Caller:
    """Implements crosskey.router.planning.rights.Caller; asks the file anew each time."""

    access: Access
    digest: bytes = b""
    certificate: str = ""

    @property
    def name(self) -> str:
        return self._rights().name

    def may(self, verb: Verb, table: str) -> bool:
        tables = self._rights().tables
        nothing: frozenset[Verb] = frozenset()
        return verb in tables.get(EVERY_TABLE, nothing) or verb in tables.get(_without_public(table), nothing)

    def may_load(self) -> bool:
        return any("insert" in verbs for verbs in self._rights().tables.values())

    def check_cluster(self, right: str) -> None:
        """Raises PermissionDenied without that right over the cluster; Unauthenticated if not known any more."""
        rights = self._rights()
        if right and right not in rights.cluster:
            raise errors.PermissionDenied(
                f'"{rights.name}" has no right "{right}" over the cluster',
                hint="Give one of its roles the right, in the router's file of rights.",
            )

    def _rights(self) -> _Rights:
        known = self.access.known()
        rights = known.by_digest.get(self.digest) or known.by_certificate.get(self.certificate)
        if rights is None:
            raise errors.Unauthenticated("the token or certificate is not known here any more")
        return rights


def _read(file: Path) -> _Known:
    try:
        with file.open("rb") as opened:
            content = msgspec.convert(tomllib.load(opened), _File)
        digests = {_digest(token): _rights(content, token.name, token.roles) for token in content.tokens}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UnfitAccessFile(f"{file.name}: {error}") from None
    for role, given in content.roles.items():
        if unknown := given.cluster - {"schema", "audit", "admin"}:
            raise UnfitAccessFile(f'{file.name}: role "{role}" has an unknown right {sorted(unknown)[0]!r}')
    certificates = {one.name: _rights(content, one.name, one.roles) for one in content.certificates}
    return _Known(digests, certificates)


def _digest(token: _Token) -> bytes:
    try:
        digest = bytes.fromhex(token.sha256)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise UnfitAccessFile(f'the sha256 of the token "{token.name}" is not 64 hexadecimal digits')
    return digest


def _rights(content: _File, name: str, roles: Sequence[str]) -> _Rights:
    tables: dict[str, frozenset[Verb]] = {}
    cluster: set[str] = set()
    for role_name in roles:
        role = content.roles.get(role_name)
        if role is None:
            raise UnfitAccessFile(f'"{name}" has the role "{role_name}", which is none')
        for given, verbs in role.tables.items():
            table = _without_public(given)
            tables[table] = tables.get(table, frozenset()) | verbs
        cluster |= role.cluster
    return _Rights(name, tables, frozenset(cluster))


def _without_public(table: str) -> str:
    return table.removeprefix("public.")

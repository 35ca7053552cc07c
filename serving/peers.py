"""Who is at the other end of a call, as its certificate says."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc.aio

from crosskey import errors
from crosskey.serving.interceptor import Admission

Context = grpc.aio.ServicerContext[Any, Any]

_NAMES = ("x509_common_name", "x509_subject_alternative_name")


def names_of(context: Context) -> frozenset[str]:
    """The names in the certificate of the caller: its common name and alternative names; none without one."""
    identity = context.auth_context()
    return frozenset(name.decode(errors="replace") for key in _NAMES for name in identity.get(key, ()))


def only_named(names: Collection[str]) -> Admission:
    """Lets in who has one of these names in the certificate. What it returns raises PermissionDenied for others."""
    known = frozenset(names)

    def admit(method: str, context: Context) -> None:
        del method
        if known.isdisjoint(names_of(context)):
            raise errors.PermissionDenied(
                "the certificate names no router of this node",
                hint="Give the node --router-name with the common name of the router's certificate.",
            )

    return admit

"""The audit's look at two shards at once: shadows on one against pins on the other, values against claims."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Set
from dataclasses import dataclass, replace

import msgspec

from crosskey import errors
from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.waiting_for_prepared import wait_for_prepared
from crosskey.v1.admin_pb2 import AuditResponse

MAX_FINDINGS = 100
"""Of one comparison; the others are only counted."""

PAGE_KEYS = 1000

CONFIRMING_ROUNDS = 3
CONFIRMING_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Guards:
    """The pins on `shard` for `other_shard`, or the shadows on `shard` whose parents live on `other_shard`.

    Of a claim, the claims on `shard` of `other_shard`, as if they were pins, or the values of rows on `shard` that
    are to be claimed on `other_shard`, as if they were shadows.
    """

    guarded: ReferencedKey | Claim
    pins: bool
    shard: int
    other_shard: int
    copies: bool = False
    """Whether the values that children copy are meant: of the shadows on `shard`, or of the parents themselves."""

    def to_finding(self, message: str, key: str = "") -> AuditResponse:
        """What an audit answers."""
        if isinstance(self.guarded, Claim):
            kind = AuditResponse.KIND_CLAIM_WITHOUT_VALUE if self.pins else AuditResponse.KIND_VALUE_WITHOUT_CLAIM
            table, constraint = self.guarded.table, self.guarded.constraint
        elif self.copies:
            kind, table, constraint = AuditResponse.KIND_WRONG_COPY, self.guarded.parent, ""
        else:
            kind = AuditResponse.KIND_PIN_WITHOUT_SHADOW if self.pins else AuditResponse.KIND_SHADOW_WITHOUT_PIN
            table, constraint = self.guarded.parent, ""
        return AuditResponse(
            kind=kind, shard=self.shard, table=str(table), constraint=constraint, key=key, message=message
        )


PresentGuards = Set[tuple[int, str, bool]]
"""Where there are any guards to look at: the shard, the referenced key or claim, and whether its pins are meant."""


async def compare_guards(
    nodes: Nodes, guarded: ReferencedKey | Claim, present: PresentGuards, *, child_shard: int, parent_shard: int
) -> AsyncIterator[AuditResponse]:
    """Streams the shadows without a pin and the pins without a shadow; of a claim, values and claims likewise.

    Of shadows whose values children copy, those that have others than their parents as well.

    Raises what calls raise, and Conflict if transactions stay in doubt for too long.
    """
    shadows = Guards(guarded, pins=False, shard=child_shard, other_shard=parent_shard)
    pins = Guards(guarded, pins=True, shard=parent_shard, other_shard=child_shard)
    pairs = [(shadows, pins), (pins, shadows)]
    if isinstance(guarded, ReferencedKey) and guarded.copied:
        pairs.append((replace(shadows, copies=True), replace(pins, copies=True)))
    for guards, counterparts in pairs:
        if (guards.shard, guarded.id, guards.pins) in present:
            async for finding in _alone(nodes, guards, counterparts):
                yield finding


async def _alone(nodes: Nodes, guards: Guards, counterparts: Guards) -> AsyncIterator[AuditResponse]:
    """A finding for each of the guards without its counterpart."""
    found = 0
    try:
        async for key in _keys_alone(nodes, guards, counterparts):
            found += 1
            if found <= MAX_FINDINGS:
                yield guards.to_finding(_meaning(guards), key.decode())
    except errors.UnknownTable:
        # The shard itself has found its own guards missing already.
        return
    if found > MAX_FINDINGS:
        yield guards.to_finding(f"{found - MAX_FINDINGS} more like the {MAX_FINDINGS} before")


async def _keys_alone(nodes: Nodes, guards: Guards, counterparts: Guards) -> AsyncIterator[bytes]:
    request = proto.ListGuardsRequest(
        referenced_key=guards.guarded.id,
        pins=guards.pins,
        other_shard=guards.other_shard,
        limit=PAGE_KEYS,
        copies=guards.copies,
    )
    while True:
        page = await nodes[guards.shard].list_guards(request)
        for key in await _confirmed(nodes, guards, counterparts, _keys(page.keys_json)):
            yield key
        if page.count < PAGE_KEYS:
            return
        request.after_json = page.last_json


async def _confirmed(nodes: Nodes, guards: Guards, counterparts: Guards, keys: list[bytes]) -> list[bytes]:
    """Those of the keys, seen among the guards, that have no counterpart.

    No snapshot spans two shards, so a distributed transaction may be seen on one and not yet on the other. But it is
    seen on none before it is prepared on all (home, which is not prepared, commits first). So before each look at a
    shard, whatever was prepared at the look before is waited for. What is then missing on one shard, and after that
    still there on the other, is no half of a transaction, unless its parent was deleted, written and referenced anew
    just between the two looks; no key has such luck in several rounds.
    """
    keys = await _missing(nodes, counterparts, keys)
    for _ in range(CONFIRMING_ROUNDS):
        if not keys:
            break
        await asyncio.sleep(CONFIRMING_PAUSE_SECONDS)
        await wait_for_prepared(nodes, (guards.shard, counterparts.shard))
        keys = await _missing(nodes, counterparts, keys)
        await wait_for_prepared(nodes, (guards.shard, counterparts.shard))
        gone = set(await _missing(nodes, guards, keys))
        keys = [key for key in keys if key not in gone]
    return keys


async def _missing(nodes: Nodes, guards: Guards, keys: list[bytes]) -> list[bytes]:
    """Those of the keys that are not among the guards."""
    if not keys:
        return []
    request = proto.FindUnguardedRequest(
        referenced_key=guards.guarded.id,
        pins=guards.pins,
        other_shard=guards.other_shard,
        keys_json=b"[" + b",".join(keys) + b"]",
        copies=guards.copies,
    )
    response = await nodes[guards.shard].find_unguarded(request)
    return _keys(response.keys_json)


def _keys(keys_json: bytes) -> list[bytes]:
    """The keys one by one, as PostgreSQL wrote them: equal keys have equal text."""
    return [bytes(key) for key in msgspec.json.decode(keys_json, type=list[msgspec.Raw])]


def _meaning(guards: Guards) -> str:
    """What it means that a guard is alone."""
    if isinstance(guards.guarded, Claim):
        return _claim_alone(guards) if guards.pins else _value_alone(guards)
    if guards.copies:
        return (
            f"rows on shard {guards.shard} copy these values, and the row on shard {guards.other_shard} has others:"
            " update them there through a router, to other values and back"
        )
    return _pin_alone(guards) if guards.pins else _shadow_alone(guards)


def _value_alone(values: Guards) -> str:
    return (
        f"a row on shard {values.shard} has this value, and no claim on shard {values.other_shard} keeps rows of other"
        " shards from having it too: delete the row, and insert it again through a router"
    )


def _claim_alone(claims: Guards) -> str:
    return (
        f"says that a row on shard {claims.other_shard} has this value, which none has: no row can get it until this"
        f" claim is deleted here, from {claims.guarded.claims.qualified if isinstance(claims.guarded, Claim) else ''}"
    )


def _shadow_alone(shadows: Guards) -> str:
    claimed = isinstance(shadows.guarded, ReferencedKey) and shadows.guarded.claim is not None
    there = "where it is claimed" if claimed else "where it lives"
    return (
        f"rows on shard {shadows.shard} reference this row, and no pin on shard {shadows.other_shard}, {there},"
        " keeps it from being deleted, if it still exists: delete this shadow and what references it, and insert those"
        " rows again through a router"
    )


def _pin_alone(pins: Guards) -> str:
    return (
        f"harmless: a leftover that says that shard {pins.other_shard} references this row, which it does not; a delete"
        " of the row visits that shard in vain"
    )

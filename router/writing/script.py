"""Writes that one shard alone may be able to do: as commands for it, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from router.committing.part import CHECK, Results
from router.planning.writes import WritePlan
from router.writing.write_results import WriteResult, collect


def script(plans: Sequence[WritePlan]) -> list[proto.Command]:
    """The statements of each plan and a check after them."""
    commands: list[proto.Command] = []
    for plan in plans:
        commands.extend(proto.Command(run=part.statement) for part in plan.parts)
        commands.append(CHECK)
    return commands


def deal_out(plans: Sequence[WritePlan], shard: int, results: Results) -> list[WriteResult]:
    """The result of each plan, from those of the commands of its script."""
    dealt, at = [], 0
    for plan in plans:
        dealt.append(collect(plan, {shard: results[at : at + len(plan.parts)]}))
        at += len(plan.parts) + 1
    return dealt


@contextmanager
def naming_statements(plans: Sequence[WritePlan] = (), *, first: int = 0) -> Iterator[None]:
    """Names the plan, as a statement, in errors that name a command; the script begins with the command `first`."""
    try:
        yield
    except errors.CrosskeyError as error:
        command = error.metadata.pop("command", None)
        place = None if command is None else _place_of(plans, int(command) - first)
        if place is not None:
            error.metadata["statement"] = str(place)
        raise


def _place_of(plans: Sequence[WritePlan], command: int) -> int | None:
    """The plan whose commands have that one among them; None for a command before or after the script."""
    end = 0
    for place, plan in enumerate(plans):
        start, end = end, end + len(plan.parts) + 1
        if start <= command < end:
            return place
    return None

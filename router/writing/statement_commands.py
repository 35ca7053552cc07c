"""Writes of one shard as commands for it, and their results from those of the commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.tags import CHECK, tag_of
from crosskey.router.planning.writes import WritePlan
from crosskey.router.writing.write_results import WriteResult, collect


def to_commands(plans: Sequence[WritePlan]) -> list[proto.Command]:
    """The statements of each plan and a check after them, tagged with the plan's place."""
    commands: list[proto.Command] = []
    for place, plan in enumerate(plans):
        tag = tag_of(str(place))
        commands.extend(proto.Command(tag=tag, run=part.statement) for part in plan.parts)
        commands.append(proto.Command(tag=tag, check=CHECK))
    return commands


def collect_results(plans: Sequence[WritePlan], results: Iterable[proto.CommandResult]) -> list[WriteResult]:
    """The result of each plan that was run to its end, from the results of its commands."""
    by_tag: defaultdict[str, list[proto.CommandResult]] = defaultdict(list)
    for result in results:
        by_tag[result.tag].append(result)
    collected = []
    for place, plan in enumerate(plans):
        answers = by_tag[tag_of(str(place))]
        if len(answers) < len(plan.parts):
            break
        collected.append(collect(plan, {plan.parts[0].shard: answers}))
    return collected

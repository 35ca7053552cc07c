"""Running the commands of one request in order. An error names the command that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from shard_node.writing.transactions import ShardTransaction


async def run_until_effects(
    transaction: ShardTransaction, commands: Sequence[proto.Command]
) -> list[proto.CommandResult]:
    """Runs commands up to the first that has effects on other shards."""
    results: list[proto.CommandResult] = []
    for place, command in enumerate(commands):
        with naming_command(place):
            results.append(await transaction.run(command))
        if results[-1].effects:
            break
    return results


async def run_for_participant(
    transaction: ShardTransaction, commands: Sequence[proto.Command]
) -> proto.ParticipateResponse:
    """Runs commands. Behind a savepoint, an error of a statement is part of the answer: the transaction goes on."""
    response = proto.ParticipateResponse()
    try:
        for place, command in enumerate(commands):
            with naming_command(place):
                response.results.append(await transaction.run(command))
            # What follows a check is a commit: never before the effects of the check are carried out elsewhere.
            if response.results[-1].effects and command.WhichOneof("command") == "check":
                break
    except errors.STATEMENT_ERRORS as error:
        if not transaction.can_go_back:
            raise
        response.failure.CopyFrom(errors.to_failure(error))
    return response


@contextmanager
def naming_command(place: int) -> Iterator[None]:
    """Adds the place of a command, from 0, to its errors."""
    try:
        yield
    except errors.CrosskeyError as error:
        error.metadata["command"] = str(place)
        raise

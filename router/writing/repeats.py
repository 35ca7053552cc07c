"""Requests with an id: carried out once, whose answer is kept on one shard that every repeat finds again.

The steps, and what a crash between any two of them leaves, are told in docs/protocol-repeats.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from google.protobuf.message import Message

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import AlreadyAnswered, Nodes
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.told_shards import told_shard
from crosskey.router.planning.transactions import Step, only_writes
from crosskey.router.writing.statement_commands import collect_results
from crosskey.router.writing.step_running import StepResult
from crosskey.router.writing.write_results import WriteResult

MAX_ID_BYTES = 200

KEPT_REFUSALS = (*errors.STATEMENT_ERRORS, errors.RowNotFound, errors.InvalidRequest, errors.AnswerTooLarge)
"""What a request is refused for by what is stored: a repeat is told the same, whatever is stored by then."""

Response = TypeVar("Response", bound=Message)


class NothingThere(Exception):
    """A write found no row where it was looked for first, and is not committed."""


@dataclass
class _Attempts:
    """What all attempts of a router at one request have in common."""

    shard: int | None = None
    """Where the answer is kept, once a plan has told."""
    refused: bool = False
    """Whether it is kept that the request is refused."""


@dataclass(frozen=True)
class Keeping:
    """How the answer of a request is kept. `to_response` makes it of what the writer comes to."""

    request_id: str
    digest: bytes
    to_response: Callable[[Any], Message]
    by_node: bool = True
    """Whether a node that carries the request out by itself keeps its results: a repeat, whose plans are the same,
    makes the answer of them. If not, nothing tells a shard either."""
    _attempts: _Attempts = field(default_factory=_Attempts)

    def of(self, made: Callable[[Any], Any], *, by_node: bool = True) -> Keeping:
        """The same for results of which `made` makes what this one's answer is made of."""
        return replace(
            self, to_response=lambda result: self.to_response(made(result)), by_node=self.by_node and by_node
        )

    def of_any(self) -> Keeping:
        """The same for results of writes, unless these have found no row: then NothingThere is raised."""
        return self.of(_some, by_node=False)

    def place(self, view: SchemaView, steps: Sequence[Step]) -> int:
        """The shard that keeps the answer."""
        if self._attempts.shard is None:
            told = told_shard(view, steps) if self.by_node else None
            self._attempts.shard = self._anywhere(view.shards) if told is None else told
        return self._attempts.shard

    def place_of_refusal(self, shards: int) -> int:
        """The same, for what may not have been planned."""
        return self._anywhere(shards) if self._attempts.shard is None else self._attempts.shard

    @property
    def refused(self) -> bool:
        """Whether it is kept that the request is refused."""
        return self._attempts.refused

    def note_refusal(self) -> None:
        """To be said once that is kept."""
        self._attempts.refused = True

    def _anywhere(self, shards: int) -> int:
        return int.from_bytes(hashlib.sha256(self.request_id.encode()).digest()[:8], "big") % shards

    @property
    def results(self) -> proto.Keep:
        """Has a node keep its results."""
        return proto.Keep(request_id=self.request_id, digest=self.digest)

    def answer(self, results: Any) -> proto.Keep:
        """Has a node keep the answer of what the writer came to."""
        response = self.to_response(results).SerializeToString()
        return self._with(proto.KeptAnswer(response=response))

    def refusal(self, error: errors.CrosskeyError) -> proto.Keep:
        """Has a node keep that the request was refused."""
        return self._with(proto.KeptAnswer(refusal=errors.to_failure(error)))

    def _with(self, answer: proto.KeptAnswer) -> proto.Keep:
        return proto.Keep(request_id=self.request_id, digest=self.digest, answer=answer)


def _some(results: Sequence[StepResult]) -> Sequence[StepResult]:
    if not any(isinstance(result, WriteResult) and result.count for result in results):
        raise NothingThere
    return results


class Repeats:
    """Carries out requests, those with an id once."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def once(
        self,
        request: Any,
        answer_of: type[Response],
        to_response: Callable[[Any], Response],
        carry_out: Callable[[Keeping | None], Awaitable[Any]],
    ) -> Response:
        """The answer of a request of Router that writes; of one that was carried out before, the answer of then.

        `carry_out` is given how the answer is to be kept, and comes to what `to_response` makes the answer of. Raises
        what it raises, InvalidRequest for an id that is none, RequestIdReused, AnswerNotKept, and Conflict.
        """
        if not request.request_id:
            return to_response(await carry_out(None))
        _check_id(request.request_id)
        keeping = Keeping(request.request_id, _digest(request), to_response)
        try:
            try:
                return to_response(await carry_out(keeping))
            except KEPT_REFUSALS as error:
                if not keeping.refused:
                    # Values could not be made for it now; they may have been made for an earlier attempt.
                    await keep_refusal(self._nodes, keeping, error)
                raise
        except AlreadyAnswered as already:
            raise_refusal(already.answer)
            if not already.answer.HasField("response"):
                raise _not_kept() from None
            return answer_of.FromString(already.answer.response)


async def keep_refusal(nodes: Nodes, keeping: Keeping, error: errors.CrosskeyError) -> None:
    """Has the request refused for good: an earlier attempt that is still at work cannot commit any more.

    Raises AlreadyAnswered if one has, RequestIdReused, and what calls to nodes raise.
    """
    branch = nodes[keeping.place_of_refusal(len(nodes))].branch()
    with safe_to_retry():
        await branch.run(
            [proto.Command(commit=proto.Commit(keep=keeping.refusal(error)))], proto.RunRequest.START_PLAIN
        )
    keeping.note_refusal()


def results_again(keeping: Keeping, already: AlreadyAnswered, steps: Sequence[Step]) -> Sequence[StepResult]:
    """What steps came to when they were carried out by one node. Raises what they were refused with then.

    Raises AlreadyAnswered again if that has the router's answer.
    """
    if already.answer.HasField("refusal"):
        keeping.note_refusal()
    raise_refusal(already.answer)
    plans = only_writes(steps)
    if plans is None or not already.answer.HasField("results"):
        raise already
    return collect_results(plans, already.answer.results.results)


def raise_refusal(answer: proto.KeptAnswer) -> None:
    """Raises what the request was refused with, if it was, and AnswerNotKept if there is no answer."""
    if answer.HasField("refusal"):
        raise errors.from_failure(answer.refusal)
    if answer.too_large:
        raise _not_kept()


def _not_kept() -> errors.AnswerNotKept:
    return errors.AnswerNotKept(
        "the request was carried out before, and its answer was too large to be kept",
        hint="Read the rows; or ask for their number only, and an answer is never too large.",
    )


def _digest(request: Any) -> bytes:
    """Of the request without its id."""
    anonymous = type(request)()
    anonymous.CopyFrom(request)
    anonymous.ClearField("request_id")
    return hashlib.sha256(request.DESCRIPTOR.name.encode() + anonymous.SerializeToString(deterministic=True)).digest()


def _check_id(request_id: str) -> None:
    if len(request_id.encode()) > MAX_ID_BYTES or "\0" in request_id:
        raise errors.InvalidRequest(
            f"a request_id has at most {MAX_ID_BYTES} bytes, and no NUL", hint="Make it of a random uuid."
        )

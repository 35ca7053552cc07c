"""Two-phase commit: prepare, decide, finish; or ask, or abandon.

    prepare all but home ──refused──> abandon ──> roll back by name what may be prepared
          │
          v
    home commits with the decision ──refused──> abandon
          │            └──no answer──> ask home, which decides to abort unless it has committed ──> finish accordingly
          v
    commit the others, then have the decision forgotten

What a crash leaves between any two of these steps is told in docs/protocol.md; the resolver of any router mends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crosskey import errors
from crosskey.router.calls.fan_out import fan_out_to_the_end
from crosskey.router.committing.branch import Branch, LateEffects
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid


class TwoPhaseCommit:
    """The end of one distributed transaction, whose home is `gid.home`."""

    def __init__(self, gid: Gid, finisher: Finisher) -> None:
        self.gid = gid
        self._finisher = finisher
        self._maybe_prepared: set[int] = set()
        self._prepare_unanswered: set[int] = set()

    async def prepare(self, others: Sequence[Branch]) -> None:
        """Prepares all branches but home's. Raises what a shard raises; then `abandon` is to be called."""
        # To the end: what is prepared after it was to be rolled back would hold its locks until it is resolved.
        await fan_out_to_the_end({branch.shard: self._prepare(branch) for branch in others})

    async def _prepare(self, branch: Branch) -> None:
        """Notes what is to be rolled back by name if the transaction is abandoned."""
        self._maybe_prepared.add(branch.shard)
        self._prepare_unanswered.add(branch.shard)
        try:
            await branch.prepare(self.gid.branch(branch.shard))
        except errors.STATEMENT_ERRORS:
            self._maybe_prepared.discard(branch.shard)
            self._prepare_unanswered.discard(branch.shard)
            raise
        self._prepare_unanswered.discard(branch.shard)

    async def decide(self, home: Branch, others: Sequence[Branch], readers: Sequence[Branch] = ()) -> None:
        """The commit point, and then the second phase: as much of it as a client could see is done when this returns.

        It runs to its end whatever happens to the client. `readers` are branches with nothing to commit, which keep
        their locks until all that is written can be seen: whoever waits for such a lock then sees it on every shard.
        Raises what home says, with everything abandoned, and OutcomeUnknown if home does not answer and cannot be asked
        either.
        """
        await asyncio.shield(self._finisher.in_background(self._decide(home, others, readers)))

    async def _decide(self, home: Branch, others: Sequence[Branch], readers: Sequence[Branch]) -> None:
        try:
            await self._end_writers(home, others)
        finally:
            await _leave(readers)

    async def _end_writers(self, home: Branch, others: Sequence[Branch]) -> None:
        branches = [home, *others]
        try:
            await home.commit(str(self.gid) if others else "")
        except Exception as error:
            if says_rolled_back(error):
                rolling_back = await self.abandon(branches)
                if isinstance(error, LateEffects) and rolling_back is not None:
                    # All is run again at once, which would meet the locks of what is prepared.
                    await rolling_back
                raise
            await _leave(branches)
            await self._ask_for_outcome(error, home, others)
            return
        await asyncio.gather(_leave(branches), self._finish(others))

    async def _finish(self, others: Sequence[Branch]) -> None:
        """The second phase. What no client can see runs after the answer: whoever needs it waits for it."""
        shards = [branch.shard for branch in others]
        if all(branch.unseen for branch in others):
            self._finisher.commit_behind_the_answer(self.gid, shards)
        else:
            await self._finisher.commit(self.gid, shards)

    async def _ask_for_outcome(self, error: Exception, home: Branch, others: Sequence[Branch]) -> None:
        """Home's answer was lost. Returns if home says that it committed, and its answer is not needed.

        Raises Conflict if it did not commit, and OutcomeUnknown if it cannot be asked. Deadlines, and what nobody
        foresaw, stay what they are.
        """
        if not others:
            if isinstance(error, errors.DeadlineExceeded | errors.OutcomeUnknown):
                raise error
            raise errors.OutcomeUnknown(
                "the connection to the shard that commits was lost", shard=home.shard
            ) from error
        committed = await self._finisher.finish_unanswered(self.gid, [branch.shard for branch in others])
        if committed and not home.answers_at_commit:
            return
        if committed is not False:
            raise errors.OutcomeUnknown(
                "the connection to the shard that decides was lost at the commit point", shard=home.shard
            ) from error
        if isinstance(error, errors.OutcomeUnknown | errors.ShardUnavailable):
            raise errors.Conflict(
                "the connection to the shard that decides was lost before it committed", shard=home.shard
            ) from error
        raise error

    async def abandon(self, branches: Sequence[Branch]) -> asyncio.Task[None] | None:
        """Rolls back all branches, whatever happens to the client. To be called only if home will never commit.

        What may be prepared is rolled back by name, in the task that is answered, if there is any.
        """
        leaving = self._finisher.in_background(_leave(branches))
        rolling_back = None
        if self._maybe_prepared:
            rolling_back = self._finisher.in_background(self._roll_back_prepared(leaving))
        await asyncio.shield(leaving)
        return rolling_back

    async def _roll_back_prepared(self, leaving: asyncio.Task[None]) -> None:
        await asyncio.wait({leaving})
        unanswered = bool(self._prepare_unanswered)
        await self._finisher.roll_back(self.gid, sorted(self._maybe_prepared), unanswered=unanswered)


async def _leave(branches: Sequence[Branch]) -> None:
    await asyncio.gather(*(branch.leave() for branch in branches))


def says_rolled_back(error: Exception) -> bool:
    """Whether a node that was asked to commit is sure not to have done so: it answered, in its own words."""
    unsure = errors.OutcomeUnknown | errors.InternalError | errors.DeadlineExceeded
    return isinstance(error, errors.CrosskeyError) and error.answered and not isinstance(error, unsure)

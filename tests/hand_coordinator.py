"""A coordinator driven by hand: it takes a router's steps one at a time, and stops wherever a test wants it to."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import grpc
import msgspec

from crosskey import errors
from crosskey.internal.v1 import effects_pb2, maintenance_pb2, reads_pb2, recovery_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.internal.v1.maintenance_pb2_grpc import ShardMaintenanceStub
from crosskey.router.committing.gids import Gid
from tests.hand_session import HandSession

CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]

Key = Mapping[str, object]
Effect = effects_pb2.Effect
START = proto.RunRequest


class Process(Protocol):
    """A process that serves somewhere."""

    address: str


class Nodes(Protocol):
    """A cluster, as far as its nodes go."""

    @property
    def nodes(self) -> Sequence[Process]:
        """The nodes in the order of their shards."""


class HandBranch:
    """A branch on a session of its own."""

    def __init__(self, session: HandSession) -> None:
        """The branch begins with the first command."""
        self.session = session

    def run(
        self, *commands: proto.Command, start: proto.RunRequest.Start.ValueType = START.START_UNSPECIFIED
    ) -> list[proto.CommandResult]:
        """Runs commands and answers their results. Raises what the node answers, behind a savepoint too."""
        response = self.answer(*commands, start=start)
        if response.HasField("failure"):
            raise errors.from_failure(response.failure)
        return list(response.results)

    def answer(
        self, *commands: proto.Command, start: proto.RunRequest.Start.ValueType = START.START_UNSPECIFIED
    ) -> proto.RunResponse:
        """Runs commands and answers all of the response. Raises what the node answers instead of one."""
        response = self.session.call(run=proto.RunRequest(branch=1, commands=commands, start=start))
        assert isinstance(response, proto.RunResponse)
        return response

    def leave(self) -> None:
        """Ends the session in good order."""
        self.session.leave()

    def die(self) -> None:
        """Breaks the session off, as a killed router would."""
        self.session.die()


class HandCoordinator:
    """Calls the nodes of a cluster directly."""

    def __init__(self, cluster: Nodes) -> None:
        """Connects to every node."""
        self._channels = [grpc.insecure_channel(node.address, options=CHANNEL_OPTIONS) for node in cluster.nodes]
        self.maintenance = [ShardMaintenanceStub(channel) for channel in self._channels]
        self._sessions: dict[int, HandSession] = {}
        self._branches = itertools.count(1)
        self.cluster_name = self.maintenance[0].DescribeShard(maintenance_pb2.DescribeShardRequest(shard=0)).cluster

    def close(self) -> None:
        """Closes the connections."""
        for session in self._sessions.values():
            session.die()
        for channel in self._channels:
            channel.close()

    def session(self, shard: int) -> HandSession:
        """A new session with the node of the shard."""
        return HandSession(self._channels[shard], shard)

    def gid(self, home: int) -> Gid:
        """The id of a new distributed transaction."""
        return Gid.new(self.cluster_name, home)

    def install(self, schema_sql: str) -> None:
        """Installs a schema on all shards, one after another."""
        for shard, node in enumerate(self.maintenance):
            inspected = node.InspectSchema(maintenance_pb2.InspectSchemaRequest(shard=shard, sql=schema_sql))
            install = proto.InstallSchema(sql=schema_sql, description_json=inspected.description_json)
            self.execute(shard, proto.Command(install_schema=install), commit())

    def execute(
        self,
        shard: int,
        *commands: proto.Command,
        start: proto.RunRequest.Start.ValueType = START.START_ALONE,
    ) -> proto.RunResponse:
        """Runs one branch, and leaves it if it is not finished then. Raises what the node answers."""
        branch = next(self._branches)
        session = self.shared(shard)
        response = session.call(run=proto.RunRequest(branch=branch, commands=commands, start=start))
        assert isinstance(response, proto.RunResponse)
        if not response.finished:
            session.call(leave=proto.LeaveRequest(branch=branch))
        return response

    @contextmanager
    def branch(self, shard: int) -> Iterator[HandBranch]:
        """A branch that dies with the context."""
        branch = HandBranch(self.session(shard))
        try:
            yield branch
        finally:
            branch.die()

    def finish(self, gid: Gid, shard: int, *, commit: bool) -> None:
        """Commits or rolls back what is prepared on the shard. Raises Conflict if it is busy."""
        request = recovery_pb2.FinishPreparedRequest(gids=[gid.branch(shard)], commit=commit)
        self.shared(shard).call(finish_prepared=request)

    def decide(self, gid: Gid, *, peek: bool = False, patient: bool = False) -> str:
        """What home has decided, or decides now: COMMITTED, ABORTED, or UNDECIDED for a mere look.

        Who is patient is told UNDECIDED, too, while home is at work.
        """
        request = recovery_pb2.DecideRequest(gids=[str(gid)], peek=peek, patient=patient)
        response = self.shared(gid.home).call(decide=request)
        return recovery_pb2.DecideResponse.Outcome.Name(response.outcomes[0]).removeprefix("OUTCOME_")

    def forget(self, gid: Gid) -> None:
        """Has home forget a decision."""
        self.shared(gid.home).call(forget_decisions=recovery_pb2.ForgetDecisionsRequest(gids=[str(gid)]))

    def shared(self, shard: int) -> HandSession:
        """The session for what is no branch's; a new one if the node has ended the last."""
        session = self._sessions.get(shard)
        if session is None or session.has_ended:
            session = self._sessions[shard] = self.session(shard)
        return session


def insert(table: str, *rows: Key) -> proto.Command:
    """Inserts rows that have the same columns."""
    statement = proto.InsertRows(columns=list(rows[0]), rows_json=msgspec.json.encode(rows))
    return proto.Command(run=proto.Statement(table=f"public.{table}", insert=statement))


def load(table: str, *rows: Key) -> proto.Command:
    """Copies rows that have the same columns, and whose values need no escape."""
    lines = "".join("\t".join(map(str, row.values())) + "\n" for row in rows).encode()
    statement = proto.LoadRows(columns=list(rows[0]), lines=lines)
    return proto.Command(run=proto.Statement(table=f"public.{table}", load=statement))


def update(table: str, values: Key, **key: object) -> proto.Command:
    """Changes the rows with these values."""
    statement = proto.UpdateRows(where=_where(key), columns=list(values), set_json=msgspec.json.encode(values))
    return proto.Command(run=proto.Statement(table=f"public.{table}", update=statement))


def delete(table: str, **key: object) -> proto.Command:
    """Deletes the rows with these values."""
    statement = proto.DeleteRows(where=_where(key))
    return proto.Command(run=proto.Statement(table=f"public.{table}", delete=statement))


def _where(key: Key) -> list[reads_pb2.Condition]:
    return [reads_pb2.Condition(column=name, value_json=msgspec.json.encode(value)) for name, value in key.items()]


def apply(effect: Effect) -> proto.Command:
    """Applies an effect, on the shard that it names."""
    return proto.Command(apply=effect)


def pin(referenced_key: str, for_shard: int, *keys: Key) -> proto.Command:
    """Pins parents for a shard."""
    pins = effects_pb2.PinParents(referenced_key=referenced_key, keys_json=msgspec.json.encode(keys))
    return apply(Effect(origin=for_shard, pin_parents=pins))


def add_shadows(referenced_key: str, *keys: Key) -> proto.Command:
    """Adds shadows."""
    shadows = effects_pb2.AddShadows(referenced_key=referenced_key, keys_json=msgspec.json.encode(keys))
    return apply(Effect(add_shadows=shadows))


def claim_values(claim: str, for_shard: int, *values: Key) -> proto.Command:
    """Claims values for a shard."""
    claimed = effects_pb2.ClaimValues(claim=claim, values_json=msgspec.json.encode(values))
    return apply(Effect(origin=for_shard, claim_values=claimed))


def release_values(claim: str, for_shard: int, *values: Key) -> proto.Command:
    """Releases values that a shard claimed."""
    released = effects_pb2.ReleaseValues(claim=claim, values_json=msgspec.json.encode(values))
    return apply(Effect(origin=for_shard, release_values=released))


def expect_claims(claim: str, *values: Key) -> proto.Command:
    """Says what was claimed in advance."""
    expected = proto.ExpectClaims(claim=claim, values_json=msgspec.json.encode(values))
    return proto.Command(expect_claims=expected)


def savepoint(action: str, level: int = 1) -> proto.Command:
    """Does with a savepoint what the action says: SET, ROLL_BACK or RELEASE."""
    return proto.Command(
        savepoint=proto.Savepoint(action=proto.Savepoint.Action.Value(f"ACTION_{action}"), level=level)
    )


CHECK = proto.Command(check=proto.CheckConstraints())


def prepare(gid: Gid, shard: int) -> proto.Command:
    """Prepares the branch on the shard."""
    return proto.Command(prepare=proto.Prepare(gid=gid.branch(shard)))


def commit(gid: Gid | None = None) -> proto.Command:
    """Commits; with the decision of a distributed transaction, if one is given."""
    return proto.Command(commit=proto.Commit(decision_gid="" if gid is None else str(gid)))


def effects_by_shard(results: Sequence[proto.CommandResult]) -> dict[int, list[Effect]]:
    """The effects of commands, by the shard that they concern."""
    by_shard: dict[int, list[Effect]] = {}
    for result in results:
        for effect in result.effects:
            by_shard.setdefault(effect.shard, []).append(effect)
    return by_shard

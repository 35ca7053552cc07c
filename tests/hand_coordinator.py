"""A coordinator driven by hand: it takes a router's steps one at a time, and stops wherever a test wants it to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

import grpc
import msgspec

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from crosskey.v1.shard_node_pb2_grpc import ShardNodeStub
from crosskey_cli.cluster import LocalCluster
from router.committing.gids import Gid

CALL_SECONDS = 30.0
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]

Key = Mapping[str, object]


class HandParticipant:
    """One end of a Participate stream."""

    def __init__(self, stub: ShardNodeStub, shard: int) -> None:
        """Opens the stream; the transaction begins with the first command."""
        self._shard = shard
        self._requests: SimpleQueue[proto.ParticipateRequest | None] = SimpleQueue()
        self._responses = stub.Participate(iter(self._requests.get, None), timeout=CALL_SECONDS)

    def run(self, *commands: proto.Command) -> list[proto.CommandResult]:
        """Runs commands and answers their results. Raises what the node answers."""
        self._requests.put(proto.ParticipateRequest(shard=self._shard, commands=commands))
        with _errors_of_node():
            return list(next(self._responses).results)

    def leave(self) -> None:
        """Ends the stream in good order."""
        self._requests.put(None)
        with _errors_of_node():
            list(self._responses)

    def die(self) -> None:
        """Breaks the stream off, as a killed router would."""
        self._responses.cancel()
        self._requests.put(None)


class HandCoordinator:
    """Calls the nodes of a cluster directly."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Connects to every node."""
        self._channels = [grpc.insecure_channel(node.address, options=CHANNEL_OPTIONS) for node in cluster.nodes]
        self.stubs = [ShardNodeStub(channel) for channel in self._channels]
        self.cluster_name = self.stubs[0].DescribeShard(proto.DescribeShardRequest(shard=0)).cluster

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def gid(self, home: int) -> Gid:
        """The id of a new distributed transaction."""
        return Gid.new(self.cluster_name, home)

    def execute(self, shard: int, *commands: proto.Command) -> proto.ExecuteResponse:
        """Runs one local transaction. Raises what the node answers."""
        with _errors_of_node():
            return self.stubs[shard].Execute(proto.ExecuteRequest(shard=shard, commands=commands), timeout=CALL_SECONDS)

    @contextmanager
    def participate(self, shard: int) -> Iterator[HandParticipant]:
        """A participant that dies with the context."""
        participant = HandParticipant(self.stubs[shard], shard)
        try:
            yield participant
        finally:
            participant.die()

    def finish(self, gid: Gid, shard: int, *, commit: bool) -> None:
        """Commits or rolls back what is prepared on the shard. Raises Conflict if it is busy."""
        request = proto.FinishPreparedRequest(shard=shard, gids=[gid.participant(shard)], commit=commit)
        with _errors_of_node():
            self.stubs[shard].FinishPrepared(request, timeout=CALL_SECONDS)

    def decide(self, gid: Gid, *, peek: bool = False) -> str:
        """What home has decided, or decides now: COMMITTED, ABORTED, or UNDECIDED for a mere look."""
        request = proto.DecideRequest(shard=gid.home, gids=[str(gid)], peek=peek)
        with _errors_of_node():
            response = self.stubs[gid.home].Decide(request, timeout=CALL_SECONDS)
        return proto.DecideResponse.Outcome.Name(response.outcomes[0]).removeprefix("OUTCOME_")

    def forget(self, gid: Gid) -> None:
        """Has home forget a decision."""
        request = proto.ForgetDecisionsRequest(shard=gid.home, gids=[str(gid)])
        with _errors_of_node():
            self.stubs[gid.home].ForgetDecisions(request, timeout=CALL_SECONDS)


@contextmanager
def _errors_of_node() -> Iterator[None]:
    """Raises the node's own exception."""
    try:
        yield
    except grpc.RpcError as error:
        raise errors.from_rpc_error(error) from error


def insert(table: str, *rows: Key) -> proto.Command:
    """Inserts rows that have the same columns."""
    statement = proto.InsertRows(columns=list(rows[0]), rows_json=msgspec.json.encode(rows))
    return proto.Command(run=proto.RunStatement(table=f"public.{table}", insert=statement))


def load(table: str, *rows: Key) -> proto.Command:
    """Copies rows that have the same columns, and whose values need no escape."""
    lines = "".join("\t".join(map(str, row.values())) + "\n" for row in rows).encode()
    statement = proto.LoadRows(columns=list(rows[0]), lines=lines)
    return proto.Command(run=proto.RunStatement(table=f"public.{table}", load=statement))


def update(table: str, values: Key, **key: object) -> proto.Command:
    """Changes the rows with these values."""
    statement = proto.UpdateRows(where=_where(key), columns=list(values), set_json=msgspec.json.encode(values))
    return proto.Command(run=proto.RunStatement(table=f"public.{table}", update=statement))


def delete(table: str, **key: object) -> proto.Command:
    """Deletes the rows with these values."""
    statement = proto.DeleteRows(where=_where(key))
    return proto.Command(run=proto.RunStatement(table=f"public.{table}", delete=statement))


def _where(key: Key) -> list[proto.Condition]:
    return [proto.Condition(column=name, value_json=msgspec.json.encode(value)) for name, value in key.items()]


def pin(referenced_key: str, for_shard: int, *keys: Key) -> proto.Command:
    """Pins parents for a shard."""
    return proto.Command(
        pin=proto.PinParents(referenced_key=referenced_key, for_shard=for_shard, keys_json=msgspec.json.encode(keys))
    )


def add_shadows(referenced_key: str, *keys: Key) -> proto.Command:
    """Adds shadows."""
    return proto.Command(
        add_shadows=proto.AddShadows(referenced_key=referenced_key, keys_json=msgspec.json.encode(keys))
    )


def change_shadows(effect: proto.Effect) -> proto.Command:
    """Carries out an effect on the shard that it names."""
    return proto.Command(
        change_shadows=proto.ChangeShadows(
            referenced_key=effect.referenced_key,
            old_keys_json=effect.keys_json,
            new_keys_json=effect.new_keys_json,
        )
    )


CHECK = proto.Command(check=proto.CheckConstraints())


def prepare(gid: Gid, shard: int) -> proto.Command:
    """Prepares the participant on the shard."""
    return proto.Command(prepare=proto.Prepare(gid=gid.participant(shard)))


def commit(gid: Gid | None = None) -> proto.Command:
    """Commits; with the decision of a distributed transaction, if one is given."""
    return proto.Command(commit=proto.Commit(decision_gid="" if gid is None else str(gid)))


def effects_by_shard(results: Sequence[proto.CommandResult]) -> dict[int, list[proto.Effect]]:
    """The effects of commands, by the shard that they concern."""
    by_shard: dict[int, list[proto.Effect]] = {}
    for result in results:
        for effect in result.effects:
            by_shard.setdefault(effect.shard, []).append(effect)
    return by_shard

"""A running cluster as tests of single requests see it: its rows, and what each request costs it."""

from google.protobuf.message import Message

from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.router_service import CALLS_KEY
from tests.eventually import eventually
from tests.refusals import RawCalls
from tests.shard_sql import prepared


class RunningCluster:
    """A cluster, a client of its first router, and that router's services without the client between."""

    def __init__(self, cluster: LocalCluster, client: Client) -> None:
        """Connects to the first router once more."""
        self.cluster = cluster
        self.client = client
        self.calls = RawCalls(cluster.address)

    def node_calls(self, request: Message) -> list[str]:
        """The calls to nodes that a request takes before its answer, such as "s0 ShardNode.Execute"."""
        method = type(request).__name__.removesuffix("Request")
        _, call = getattr(self.calls.router, method).with_call(request)
        trailer: str = dict(call.trailing_metadata())[CALLS_KEY]
        return trailer.split(", ")

    def wait_until_none_in_doubt(self) -> None:
        """Waits until nothing is prepared any more."""
        eventually(lambda: not prepared(self.cluster), "nothing is prepared any more")

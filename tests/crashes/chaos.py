"""Servers that are killed and started again while clients write."""

import os
import random
import signal
from collections.abc import Callable
from functools import partial

import psycopg

from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from tests.eventually import eventually
from tests.shard_sql import query, query_all

_HELPERS = """
SELECT pid FROM pg_stat_activity WHERE backend_type IN ('background writer', 'checkpointer', 'walwriter') ORDER BY pid
"""
_BUSY = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND state <> 'idle'
"""

Kill = Callable[[LocalCluster, random.Random], None]
"""Kills something and returns once it is there again."""


def kill_node(cluster: LocalCluster, choices: random.Random) -> None:
    """Kills a shard's node; its connections to PostgreSQL break off in the middle of whatever they do."""
    node = choices.choice(cluster.nodes)
    node.kill()
    node.start_serving()


def kill_router(cluster: LocalCluster, choices: random.Random) -> None:
    """Kills a router, with all transactions that it coordinates."""
    router = choices.choice(cluster.routers)
    router.kill()
    router.start_serving()


def kill_part_of_postgres(cluster: LocalCluster, choices: random.Random) -> None:
    """Kills one process of a PostgreSQL server, which then throws everybody out and recovers from its log."""
    shard = choices.randrange(len(cluster.databases))
    helpers = [pid for (pid,) in query(cluster, shard, _HELPERS)]
    os.kill(choices.choice(helpers), signal.SIGKILL)
    _wait_for_postgres(cluster, shard)


def kill_postgres(cluster: LocalCluster, choices: random.Random) -> None:
    """Stops a PostgreSQL server at once, without a checkpoint, and starts it again."""
    shard = choices.randrange(len(cluster.databases))
    process = cluster.databases[shard].server.process
    process.stop(grace_seconds=10, with_signal=signal.SIGQUIT)
    process.start()
    _wait_for_postgres(cluster, shard)


def wait_until_quiet(cluster: LocalCluster) -> None:
    """Returns once no statement of a node, killed or not, runs any more, and each router has found all nodes again.

    A router looks for a node that died now and then only.
    """
    eventually(lambda: not query_all(cluster, _BUSY), "every statement has ended")
    for router in cluster.routers:
        eventually(partial(_reaches_all, router.address), f"{router.name} reaches all nodes")


def _reaches_all(router: str) -> bool:
    with Client(router) as client:
        return all(shard.serving for shard in client.describe_topology().shards)


def _wait_for_postgres(cluster: LocalCluster, shard: int) -> None:
    eventually(lambda: _answers(cluster, shard), f"the PostgreSQL of shard {shard} has recovered", seconds=60)


def _answers(cluster: LocalCluster, shard: int) -> bool:
    try:
        query(cluster, shard, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True

"""Loaded before anything imports gRPC.

Its handlers for fork crash a child that is made while calls are in flight, unless the child needs no fork at all. Tests
start PostgreSQL servers as another user, which does need one, at any time.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Tests connect by DSNs, which name all that matters.
for name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[name]

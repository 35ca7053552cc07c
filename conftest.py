"""Loaded before anything imports gRPC.

Its handlers for fork crash a child that is made while calls are in flight, unless the child needs no fork at all. Tests
start PostgreSQL servers as another user, which does need one, at any time.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

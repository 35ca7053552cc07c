"""Connections to the processes of a cluster on this machine."""

import grpc

# Nothing on this machine is reached through a web proxy that happens to be in the environment.
_OPTIONS = [("grpc.enable_http_proxy", 0)]


def local_channel(address: str) -> grpc.Channel:
    """Return a channel to HOST:PORT; close it, or use `with`."""
    return grpc.insecure_channel(address, options=_OPTIONS)

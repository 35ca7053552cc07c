"""What goes wrong with a cluster on this machine."""


class ClusterError(RuntimeError):
    """A part of the cluster could not be started or has ended; the message is meant for the user."""

"""Runs the command line of the shard node: `python -m crosskey.shard_node`."""

from crosskey.serving.missing_packages import end_where_packages_are_missing
from crosskey.shard_node.postgres.environment import forget_postgres_variables


def main() -> None:
    """Run the command line; where something is not installed, end with what to install."""
    forget_postgres_variables()
    with end_where_packages_are_missing("pip install 'crosskey[server]'"):
        from crosskey.shard_node.commands.command_line import shard_node

        shard_node(prog_name="python -m crosskey.shard_node")


if __name__ == "__main__":
    main()

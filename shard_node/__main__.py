"""The command line of the shard node: `python -m shard_node`."""

from serving.commands import LazyGroup
from shard_node.postgres.environment import forget_postgres_variables

main = LazyGroup(
    name="shard_node",
    help="Owns one shard: the only part of Crosskey that talks SQL.",
    lazy_commands={
        "serve": ("shard_node.serve:serve", "Serve one shard until SIGTERM."),
        "provision": ("shard_node.commands.provision:provision", "Make the role and the database of a shard."),
        "inspect": ("shard_node.commands.inspect:inspect", "Describe a schema as the planner sees it."),
        "unload": ("shard_node.commands.unload:unload", "Answer the rows of a database, for a load."),
        "survey": ("shard_node.commands.survey:survey", "Read what advice on placement is given from."),
        "accept": ("shard_node.commands.accept:accept", "Accept a shard's database after a restore or a failover."),
    },
)

if __name__ == "__main__":
    forget_postgres_variables()
    main(prog_name="python -m shard_node")

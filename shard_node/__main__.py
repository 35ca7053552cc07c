"""The command line of the shard node: `python -m crosskey.shard_node`."""

from crosskey.serving.commands import LazyGroup
from crosskey.shard_node.postgres.environment import forget_postgres_variables

main = LazyGroup(
    name="shard_node",
    help="Owns one shard: the only part of Crosskey that talks SQL.",
    lazy_commands={
        "serve": ("crosskey.shard_node.serve:serve", "Serve one shard until SIGTERM."),
        "provision": ("crosskey.shard_node.commands.provision:provision", "Make the role and the database of a shard."),
        "inspect": ("crosskey.shard_node.commands.inspect:inspect", "Describe a schema as the planner sees it."),
        "unload": ("crosskey.shard_node.commands.unload:unload", "Answer the rows of a database, for a load."),
        "survey": ("crosskey.shard_node.commands.survey:survey", "Read what advice on placement is given from."),
        "accept": (
            "crosskey.shard_node.commands.accept:accept",
            "Accept a shard's database after a restore or a failover.",
        ),
    },
)

if __name__ == "__main__":
    forget_postgres_variables()
    main(prog_name="python -m crosskey.shard_node")

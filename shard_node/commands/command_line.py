"""The subcommands of `python -m crosskey.shard_node`, each imported when it runs."""

from crosskey.serving.commands import LazyGroup

shard_node = LazyGroup(
    name="shard_node",
    help="Owns one shard: the only part of Crosskey that talks SQL.",
    lazy_commands={
        "serve": ("crosskey.shard_node.serve:serve", "Serve one shard until SIGTERM."),
        "provision": ("crosskey.shard_node.commands.provision:provision", "Make the role and the database of a shard."),
        "inspect": ("crosskey.shard_node.commands.inspect:inspect", "Describe a schema as the planner sees it."),
        "guards": ("crosskey.shard_node.commands.guards:guards", "Print the DDL that a shard adds to a schema's own."),
        "unload": ("crosskey.shard_node.commands.unload:unload", "Answer the rows of a database, for a load."),
        "survey": ("crosskey.shard_node.commands.survey:survey", "Read what advice on placement is given from."),
        "accept": (
            "crosskey.shard_node.commands.accept:accept",
            "Accept a shard's database after a restore or a failover.",
        ),
    },
)

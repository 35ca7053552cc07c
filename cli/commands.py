"""The subcommands of `crosskey`, each imported when it runs."""

import click

from crosskey.serving.commands import LazyGroup

crosskey = LazyGroup(
    name="crosskey",
    help="Shards an ordinary PostgreSQL schema and keeps every foreign key true, also across shards.",
    lazy_commands={
        "up": ("crosskey.cli.up:up", "Serve a cluster on this machine until Ctrl-C."),
        "demo": ("crosskey.cli.demo.command:demo", "Start a cluster with real data, tell the story, stop it."),
        "plan": ("crosskey.cli.plan:plan", "Show where the tables of a schema would live."),
        "advise": ("crosskey.cli.advise:advise", "Propose where the tables of a schema should live."),
        "apply": ("crosskey.cli.administration:apply", "Install a schema on every shard."),
        "migrate": ("crosskey.cli.migrate:migrate", "Change the schema in force, while clients go on."),
        "schema": ("crosskey.cli.administration:schema", "Print the schema in force."),
        "topology": ("crosskey.cli.administration:topology", "Print the shards and their state."),
        "audit": ("crosskey.cli.administration:audit", "Look for damage on every shard."),
        "in-doubt": ("crosskey.cli.administration:in_doubt", "Print transactions that are not finished everywhere."),
        "sweep": ("crosskey.cli.administration:sweep", "Drop shadows that no child references any more."),
        "cleanups": ("crosskey.cli.administration:cleanups", "Print what is being cleaned up after deletions."),
        "events": ("crosskey.cli.administration:events", "Print how many events the shards keep."),
        "watch": ("crosskey.cli.watch:watch", "Print committed changes as they come, until Ctrl-C."),
        "load": ("crosskey.cli.load.command:load", "Load the rows of a database or a file."),
        "insert": ("crosskey.cli.data:insert", "Insert rows."),
        "get": ("crosskey.cli.data:get", "Read one row by its key."),
        "update": ("crosskey.cli.data:update", "Change rows."),
        "associate": ("crosskey.cli.data:associate", "Say which rows a relation of a row has."),
        "delete": ("crosskey.cli.data:delete", "Delete rows."),
        "list": ("crosskey.cli.data:list_rows", "List rows."),
        "count": ("crosskey.cli.data:count", "Count rows."),
        "transact": ("crosskey.cli.transact:transact", "Run statements in one transaction."),
        "transaction": ("crosskey.cli.transaction:transaction", "Talk to a transaction, line by line."),
        "mint": ("crosskey.cli.mint:mint", "Make ids for rows of a shard key."),
        "explain": ("crosskey.cli.data:explain", "Say what a request would do."),
    },
)
click.version_option(package_name="crosskey")(crosskey)

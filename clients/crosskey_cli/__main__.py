"""The command `crosskey`."""

import click

from serving.commands import LazyGroup

main = LazyGroup(
    name="crosskey",
    help="Shards an ordinary PostgreSQL schema and keeps every foreign key true, also across shards.",
    lazy_commands={
        "up": ("crosskey_cli.up:up", "Serve a cluster on this machine until Ctrl-C."),
        "demo": ("crosskey_cli.demo:demo", "Start a cluster with real data, tell the story, stop it."),
        "plan": ("crosskey_cli.plan:plan", "Show where the tables of a schema would live."),
        "advise": ("crosskey_cli.advise:advise", "Propose where the tables of a schema should live."),
        "apply": ("crosskey_cli.administration:apply", "Install a schema on every shard."),
        "schema": ("crosskey_cli.administration:schema", "Print the schema in force."),
        "topology": ("crosskey_cli.administration:topology", "Print the shards and their state."),
        "audit": ("crosskey_cli.administration:audit", "Look for damage on every shard."),
        "in-doubt": ("crosskey_cli.administration:in_doubt", "Print transactions that are not finished everywhere."),
        "sweep": ("crosskey_cli.administration:sweep", "Drop shadows that no child references any more."),
        "load": ("crosskey_cli.load:load", "Load the rows of a database or a file."),
        "insert": ("crosskey_cli.data:insert", "Insert rows."),
        "get": ("crosskey_cli.data:get", "Read one row by its key."),
        "update": ("crosskey_cli.data:update", "Change rows."),
        "delete": ("crosskey_cli.data:delete", "Delete rows."),
        "list": ("crosskey_cli.data:list_rows", "List rows."),
        "count": ("crosskey_cli.data:count", "Count rows."),
        "transact": ("crosskey_cli.transact:transact", "Run statements in one transaction."),
        "explain": ("crosskey_cli.data:explain", "Say what a request would do."),
    },
)
click.version_option(package_name="crosskey")(main)

if __name__ == "__main__":
    main(prog_name="crosskey")

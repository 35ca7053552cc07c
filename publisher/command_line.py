"""The subcommands of `python -m crosskey.publisher`, each imported when it runs."""

from crosskey.serving.commands import LazyGroup

publisher = LazyGroup(
    name="publisher",
    help="Puts committed changes of tables with @events on a message bus, as CloudEvents.",
    lazy_commands={
        "nats": ("crosskey.publisher.commands:nats", "Publish to NATS JetStream until SIGTERM."),
        "redis": ("crosskey.publisher.commands:redis", "Publish to streams of Valkey or Redis until SIGTERM."),
    },
)

"""The subcommands of `python -m crosskey.router`, each imported when it runs."""

from crosskey.serving.commands import LazyGroup

router = LazyGroup(
    name="router",
    help="Serves the public API of a cluster.",
    lazy_commands={"serve": ("crosskey.router.serve:serve", "Serve the public API until SIGTERM.")},
)

"""The command line of the router: `python -m crosskey.router`."""

from crosskey.serving.commands import LazyGroup

main = LazyGroup(
    name="router",
    help="Serves the public API of a cluster.",
    lazy_commands={"serve": ("crosskey.router.serve:serve", "Serve the public API until SIGTERM.")},
)

if __name__ == "__main__":
    main(prog_name="python -m crosskey.router")

"""Runs the command line of the router: `python -m crosskey.router`."""

from crosskey.serving.missing_packages import end_where_packages_are_missing


def main() -> None:
    """Run the command line; where something is not installed, end with what to install."""
    with end_where_packages_are_missing("pip install 'crosskey[server]'"):
        from crosskey.router.command_line import router

        router(prog_name="python -m crosskey.router")


if __name__ == "__main__":
    main()

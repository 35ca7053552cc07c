"""Runs the command line of the publisher: `python -m crosskey.publisher`."""

from crosskey.serving.missing_packages import end_where_packages_are_missing


def main() -> None:
    """Run the command line; where something is not installed, end with what to install."""
    with end_where_packages_are_missing("pip install 'crosskey[publisher]'"):
        from crosskey.publisher.command_line import publisher

        publisher(prog_name="python -m crosskey.publisher")


if __name__ == "__main__":
    main()

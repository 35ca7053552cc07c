"""Runs the command `crosskey`."""

from crosskey.serving.missing_packages import end_where_packages_are_missing

REMEDY = "pip install 'crosskey[local]' for clusters on this machine, or 'crosskey[cli]' to talk to one elsewhere"


def main() -> None:
    """Run the command; where something is not installed, end with what to install."""
    with end_where_packages_are_missing(REMEDY):
        from crosskey.cli.commands import crosskey

        crosskey(prog_name="crosskey")


if __name__ == "__main__":
    main()

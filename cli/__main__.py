"""Runs the command `crosskey`."""

import sys


def main() -> None:
    """Run the command; where something is not installed, end with what to install."""
    try:
        from crosskey.cli.commands import crosskey

        crosskey(prog_name="crosskey")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] == "crosskey":
            raise
        sys.exit(
            f"Error: {missing.name} is not installed: pip install 'crosskey[local]' for clusters on this machine, "
            "or 'crosskey[cli]' to talk to one that runs elsewhere"
        )


if __name__ == "__main__":
    main()

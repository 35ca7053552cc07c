"""The subcommand that makes ids for rows of a shard key; it asks no router."""

import click

from crosskey.slots import ShardKeyType, mint_for

TYPES: list[ShardKeyType] = ["integer", "text", "uuid"]


@click.command()
@click.argument("shard_key")
@click.option(
    "--type",
    "column_type",
    type=click.Choice(TYPES),
    help="The shard key's type; by its form if absent: 42 is an integer.",
)
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many ids.")
def mint(shard_key: str, column_type: ShardKeyType | None, count: int) -> None:
    """Print ids for rows whose shard key is SHARD_KEY: uuids that carry its slot."""
    try:
        for _ in range(count):
            click.echo(mint_for(shard_key, column_type or _type_by_form(shard_key)))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _type_by_form(shard_key: str) -> ShardKeyType | None:
    return "integer" if shard_key.removeprefix("-").isdecimal() else None

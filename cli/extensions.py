"""The option of commands that start PostgreSQL servers: extensions that only a superuser may make."""

import click

extension_option = click.option(
    "--extension",
    "extensions",
    multiple=True,
    metavar="NAME",
    help="An extension that SCHEMA needs and only a superuser may make; several times for several.",
)

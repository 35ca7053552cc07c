"""Settings of the node that are checked before anything is done with them."""

import re

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

# As gids take it.
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class ClusterName(click.ParamType[str]):
    """A cluster's name, which becomes part of the id of every distributed transaction."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as given; click's BadParameter if it does not fit into an id."""
        if not _CLUSTER_NAME.fullmatch(value):
            self.fail(f"{value!r} is not 1 to 64 letters, digits, '_', '.' and '-'", param, ctx)
        return value


class ConnectionString(click.ParamType[str]):
    """How to connect to a PostgreSQL database."""

    name = "connection string"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the string as given; click's BadParameter, which does not repeat it, if PostgreSQL cannot read it."""
        try:
            conninfo_to_dict(value)
        except psycopg.ProgrammingError:
            self.fail("it is neither like 'host=db user=crosskey dbname=shard' nor a postgresql:// URI", param, ctx)
        return value


CLUSTER_NAME = ClusterName()
CONNECTION_STRING = ConnectionString()

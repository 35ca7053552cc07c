"""The role that schemas are planned as: it owns scratch databases and nothing else.

A schema's text is run before it is judged, so it runs as a role that can do no harm. The role logs in by itself: a
session that was only given it by SET ROLE could take its first role back. It is made by `provision`, with the password
of the node's role. For a superuser, who has no such role, one is made for each scratch database.
"""

from __future__ import annotations

from psycopg import sql

from crosskey import errors
from crosskey.shard_node.postgres.database import Connection

SUFFIX = "_planner"
CONNECTION_LIMIT = 30

_CAN_PLAN = """
SELECT
    NOT (p.rolsuper OR p.rolcreatedb OR p.rolcreaterole OR p.rolreplication OR p.rolbypassrls)
    AND NOT EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = p.oid)
    AND p.rolcanlogin AND pg_has_role(current_user, p.oid, 'USAGE')
FROM pg_roles AS p WHERE p.rolname = %s
"""
_SELF = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user"


def planner_name(role: str) -> str:
    """The name of the planner of a node's role."""
    return f"{role}{SUFFIX}"


def planner_statement(planner: str, password: str, *, exists: bool) -> sql.Composed:
    """What makes a planner, or takes from it whatever it should not have.

    It inherits: PostgreSQL 15 gives a database's owner the schema `public` by that alone.
    """
    return sql.SQL(
        "{verb} ROLE {planner} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
        " CONNECTION LIMIT {limit} PASSWORD {password}"
    ).format(
        verb=sql.SQL("ALTER" if exists else "CREATE"),
        planner=sql.Identifier(planner),
        limit=sql.Literal(CONNECTION_LIMIT),
        password=sql.Literal(password),
    )


async def find_planner(connection: Connection) -> str | None:
    """The planner of the session's role; None for a superuser. Raises NotSupported if no harmless one is there."""
    [(role, superuser)] = await (await connection.execute(_SELF)).fetchall()
    if superuser:
        return None
    planner = planner_name(role)
    row = await (await connection.execute(_CAN_PLAN, (planner,))).fetchone()
    if row is None or not row[0]:
        what = "there is no role" if row is None else "it may do too much, or too little, as the role"
        raise errors.NotSupported(
            f'a schema cannot be planned with the role "{role}": {what} "{planner}", which owns scratch databases only',
            hint=f"Run `python -m crosskey.shard_node provision` with --role {role}; "
            "it keeps what there is and adds the role.",
        )
    return planner

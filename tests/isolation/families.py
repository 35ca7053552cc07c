"""The tables of the scripts: parents, and children by each of the five actions, on delete and on update alike."""

import itertools

from tests.isolation.script import GATES_SQL
from tests.oracle.pair import shard_of

ACTIONS = ("no_action", "restrict", "cascade", "set_null", "set_default")
"""Each is the name of a table of children whose key has that action."""

DEFAULT_PARENT = next(number for number in itertools.count(10**9) if shard_of("int8", number) == 2)

# Values are the same whoever was first if each session only adds to them.
_PARENTS = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text, value bigint NOT NULL DEFAULT 0 CHECK (value >= 0));
COMMENT ON TABLE parents IS '@shard_by id';
"""

_CHILDREN = """
CREATE TABLE {table} (
    id bigint PRIMARY KEY,
    value bigint NOT NULL DEFAULT 0,
    parent bigint DEFAULT {default} REFERENCES parents ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE {table} IS '@shard_by id';
"""

# Children whose key is checked at the commit.
_DEFERRED = """
CREATE TABLE deferred (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE deferred IS '@shard_by id';
"""

# Children by a local key: they live with their parent and move with it.
_COMPANIONS = """
CREATE TABLE companions (id bigint PRIMARY KEY REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE);
COMMENT ON TABLE companions IS '@shard_by id';
"""

SOME_ACTIONS = ("no_action", "cascade")
"""Those of keys onto claimed values, onto reference tables and from reference tables."""

# Rows with a unique value that does not say where they live.
_MEMBERS = """
CREATE TABLE members (id bigint PRIMARY KEY, email text UNIQUE, value bigint NOT NULL DEFAULT 0);
COMMENT ON TABLE members IS '@shard_by id';
"""

_INVITATIONS = """
CREATE TABLE invitations_{table} (
    id bigint PRIMARY KEY,
    guest text REFERENCES members (email) ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE invitations_{table} IS '@shard_by id';
"""

# Rows that every shard has, and sharded children of them.
_CURRENCIES = """
CREATE TABLE currencies (code bigint PRIMARY KEY, value bigint NOT NULL DEFAULT 0);
COMMENT ON TABLE currencies IS '@reference';
"""

_ACCOUNTS = """
CREATE TABLE accounts_{table} (
    id bigint PRIMARY KEY,
    currency bigint REFERENCES currencies ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE accounts_{table} IS '@shard_by id';
"""

# Rows that every shard has, which reference a row of one shard.
_BANNERS = """
CREATE TABLE banners_{table} (
    id bigint PRIMARY KEY,
    parent bigint REFERENCES parents ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE banners_{table} IS '@reference';
"""

SCHEMA = "".join(
    [
        GATES_SQL,
        _PARENTS,
        *(
            _CHILDREN.format(table=action, action=action.replace("_", " ").upper(), default=DEFAULT_PARENT)
            for action in ACTIONS
        ),
        _DEFERRED,
        _COMPANIONS,
        _MEMBERS,
        _CURRENCIES,
        *(
            table.format(table=action, action=action.replace("_", " ").upper())
            for table in (_INVITATIONS, _ACCOUNTS, _BANNERS)
            for action in SOME_ACTIONS
        ),
    ]
)

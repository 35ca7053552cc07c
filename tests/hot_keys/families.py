"""Tables for tests of what happens between parents and children on different shards: one pair for each action."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from tests.numbers_on_shards import SHARDS, numbers_on

ACTIONS = ("CASCADE", "RESTRICT", "NO ACTION", "SET NULL", "SET DEFAULT")

HOT_KEYS_PER_SHARD = 2

DEFAULT_PARENT = next(islice(numbers_on(0), HOT_KEYS_PER_SHARD, None))
"""The parent that children get by ON DELETE SET DEFAULT; no hot key."""

HOT_KEYS = tuple(key for shard in range(SHARDS) for key in islice(numbers_on(shard), HOT_KEYS_PER_SHARD))
"""Parents on every shard that everybody wants at once."""

_SCHEMA = """
CREATE TABLE {family}_parents (id bigint PRIMARY KEY, label text);
COMMENT ON TABLE {family}_parents IS '@shard_by id';

CREATE TABLE {family}_children (
    place bigint NOT NULL,
    id bigint NOT NULL,
    parent bigint DEFAULT {default} REFERENCES {family}_parents ON DELETE {action},
    PRIMARY KEY (place, id)
);
CREATE INDEX ON {family}_children (parent);
COMMENT ON TABLE {family}_children IS '@shard_by place';
"""


@dataclass(frozen=True)
class Family:
    """A parent table, and a child table that references it from other shards with one ON DELETE action."""

    action: str

    @property
    def name(self) -> str:
        """What the names of its tables begin with."""
        return self.action.lower().replace(" ", "_")

    @property
    def parents(self) -> str:
        """The parent table: `id` tells the shard; `label` says nothing."""
        return f"{self.name}_parents"

    @property
    def children(self) -> str:
        """The child table: `place` tells the shard, `parent` references a parent."""
        return f"{self.name}_children"

    @property
    def constraint(self) -> str:
        """The name of the foreign key."""
        return f"{self.children}_parent_fkey"

    @property
    def referenced_key(self) -> str:
        """The ReferencedKey.id of the parents' key."""
        return f"public.{self.parents}(id)"

    @property
    def shadows(self) -> str:
        """The shadow table."""
        return f"crosskey_shadow_public.{self.parents}"

    @property
    def pins(self) -> str:
        """The pin table."""
        return f"crosskey.pin_public_{self.parents}_id"


FAMILIES = tuple(Family(action) for action in ACTIONS)


def schema_of(families: Iterable[Family]) -> str:
    """The DDL of the families' tables."""
    return "".join(
        _SCHEMA.format(family=family.name, action=family.action, default=DEFAULT_PARENT) for family in families
    )

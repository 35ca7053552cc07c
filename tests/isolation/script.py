"""What is played on both sides: sessions, and gates that hold a session in the middle of its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from crosskey import requests
from crosskey.requests import Write

# The wait at a gate is the script's own doing: no time-out of the server ends it.
GATES_SQL = """
CREATE TABLE gates (id bigint PRIMARY KEY);
COMMENT ON TABLE gates IS '@shard_by id';
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(NEW.id);
    RETURN NEW;
END
$$;
CREATE TRIGGER wait_at_gate BEFORE INSERT ON gates FOR EACH ROW EXECUTE FUNCTION wait_at_gate();
"""


@dataclass(frozen=True)
class Gate:
    """A statement that waits on its shard until the gate is opened; as a step of a script, the opening."""

    id: int
    shard: int

    @property
    def write(self) -> Write:
        """The statement that waits."""
        return requests.insert("gates", {"id": self.id})


class Session:
    """One transaction, sent as one request; as a step of a script, its start."""

    def __init__(self, name: str, *statements: Write | Gate) -> None:
        """The statements in order; the name is for messages."""
        self.name = name
        self.writes = [one.write if isinstance(one, Gate) else one for one in statements]
        self.gates = {one.id for one in statements if isinstance(one, Gate)}


Step: TypeAlias = Session | Gate

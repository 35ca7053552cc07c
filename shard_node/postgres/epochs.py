"""Which schema a call was planned by: each flip of a migration begins another epoch.

PostgreSQL is told by a setting of the session, so that a table which has changed since refuses to be written by an
older plan, whatever the node that sends it knows (crosskey.refuse_old_plan in sql/bootstrap.sql).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

FIRST_EPOCH: Final = 1
"""That of the schema which `apply` installed."""

call_epoch: ContextVar[int] = ContextVar("call_epoch", default=0)
"""By which schema the call was planned that the current task works for; 0 if it was planned by none."""

EPOCH_OPTION: Final = f"-c crosskey.epoch={FIRST_EPOCH}"
"""What sessions begin with: where no migration ever was, none has to be told anything."""

TELL_EPOCH: Final = b"SELECT set_config('crosskey.epoch', %s::bigint::text, false)"

FENCE: Final = "!crosskey_epoch"
"""The trigger of a changed table that refuses older plans."""

"""Events as CloudEvents 1.0, in their JSON format: https://github.com/cloudevents/spec."""

from __future__ import annotations

from typing import Any

from crosskey.exact_json import encode
from crosskey.watching import Event


def cloud_event(event: Event, source: str) -> dict[str, Any]:
    """The event with the attributes of the standard, and those of Crosskey as extensions."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": f"crosskey.row.{event.type}",
        "subject": event.key,
        "time": event.time.isoformat(),
        "datacontenttype": "application/json",
        # Names of extensions have small letters and digits only.
        "table": event.table,
        "shard": event.shard,
        "position": str(event.position),
        "transaction": str(event.transaction),
        "requestid": event.request_id,
        "data": {"before": event.before, "after": event.after},
    }


def as_json(event: Event, source: str) -> bytes:
    """The same as JSON, with numbers exactly as PostgreSQL wrote them."""
    return encode(cloud_event(event, source))

"""What a claim refuses, in the words of the index that it stands for.

PostgreSQL names the columns of the claims table, whereas it would name the expressions of the index, as in
`Key (lower(email))=(ada@x.org) already exists.`
"""

from __future__ import annotations

import re

from crosskey import errors
from crosskey.catalog.plan import Claim
from crosskey.shard_node.schema.shard_schema import ShardSchema

_KEY = re.compile(r"^Key \((.*?)\)=\(")


def in_words_of_index(schema: ShardSchema, error: Exception) -> Exception:
    """The same error; one of a computed claim has the detail that the index itself would have."""
    if isinstance(error, errors.UniqueViolation):
        table, constraint = error.metadata.get("table"), error.metadata.get("constraint")
        for claim in schema.computed_claims:
            if (claim.table.name, claim.constraint) == (table, constraint):
                error.metadata["detail"] = _reworded(claim, error.metadata.get("detail", ""))
    return error


def _reworded(claim: Claim, detail: str) -> str:
    found = _KEY.match(detail)
    if found is None or claim.computed is None or found[1].replace('"', "") != ", ".join(claim.columns):
        return detail
    return f"Key ({claim.computed.shown})=({detail[found.end() :]}"

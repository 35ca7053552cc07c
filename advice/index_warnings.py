"""Foreign keys whose children PostgreSQL can only find by reading the whole table."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.advice.report import Warned
from crosskey.advice.sql_text import index_statement
from crosskey.advice.survey import Survey
from crosskey.catalog.model import ForeignKey


def warn_of_missing_indexes(survey: Survey) -> Iterator[Warned]:
    """Every foreign key whose columns begin no index of the child, in whatever order."""
    for key in survey.database.foreign_keys:
        indexes = survey.facts(key.table).indexes
        if not any(set(index[: len(key.columns)]) == set(key.columns) for index in indexes):
            yield _warning(key, survey)


def _warning(key: ForeignKey, survey: Survey) -> Warned:
    columns = ", ".join(key.columns)
    return Warned(
        "no-index",
        str(key.table),
        f"no index begins with ({columns}): each delete or re-key of a row of {key.parent} reads all of {key.table}, on"
        " every shard that references it, and holds locks on other shards meanwhile",
        "add an index",
        constraint=key.name,
        column=key.columns[0],
        paste=index_statement(key, survey.quoted),
    )

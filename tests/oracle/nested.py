"""Transactions with groups and constraint modes on both sides of a pair, down to the statement that an error names."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from crosskey import CrosskeyError
from crosskey.requests import Statement
from crosskey.v1 import router_pb2
from crosskey.v1.rows_pb2 import SetConstraints
from tests.oracle.outcome import Refusal, news_of, refusal_by_crosskey, refusal_by_postgres
from tests.oracle.pair import DisagreementError, Pair

Failure: TypeAlias = tuple[Refusal, str]
"""A refusal and the place of the statement that it names; the place is empty for an error of the commit."""


Outcome: TypeAlias = Sequence[Any] | Failure
"""The answer of each statement, None of a change of modes and an Outcome of a group; or why all of it was refused."""

Before: TypeAlias = Callable[[str], None]
"""Is told the place of each statement, but not those of groups, just before PostgreSQL runs it."""

Check: TypeAlias = Callable[[Sequence[Statement], Outcome, Outcome], None]
"""Raises DisagreementError if Crosskey's outcome of statements is not that of PostgreSQL, which comes after it."""


def check_sameness(statements: Sequence[Statement], found: Outcome, expected: Outcome) -> None:
    """Both must say the same, in the same words."""
    if not same(found, expected):
        raise DisagreementError(f"{statements}\nCrosskey:   {found}\nPostgreSQL: {expected}")


def transact(pair: Pair, *statements: Statement, check: Check = check_sameness) -> list[Any]:
    """Runs a transaction on both sides and answers what the client does; raises what the check does."""
    try:
        answers = pair.client.transact(statements)
    except CrosskeyError as error:
        check(statements, _failure(error), _on_postgres(pair, statements, None))
        raise
    found = [_comparable(answer) for answer in answers]
    expected = _on_postgres(pair, statements, answers, is_kept=partial(same, found))
    check(statements, found, expected)
    if not same(found, expected):
        kept = _on_postgres(pair, statements, answers)
        if not same(expected, kept):
            check(statements, found, kept)
    return answers


def _on_postgres(
    pair: Pair,
    statements: Sequence[Statement],
    answers: Sequence[Any] | None,
    is_kept: Callable[[Outcome], bool] = lambda _: True,
) -> Outcome:
    """The outcome. What was not to be kept is rolled back: checks that try the statements again find all as before."""
    places: list[str] = []
    outcome: Outcome = []
    try:
        with pair.plain.connection.transaction() as transaction:
            outcome = run_all(pair, statements, places, answers)
            if not is_kept(outcome):
                raise psycopg.Rollback(transaction)
    except psycopg.Error as error:
        outcome = refusal_by_postgres(error), "".join(places)
    return outcome


def run_all(
    pair: Pair,
    statements: Iterable[Statement],
    places: list[str],
    answers: Any = None,
    *,
    within: str = "",
    before: Before = lambda _: None,
) -> list[Any]:
    """Runs statements in the transaction that is open on the plain side. Raises psycopg.Error.

    The place of the one that fails, after `within`, is left in `places`. `answers` are Crosskey's, unless it failed.
    """
    known = answers if isinstance(answers, list) else itertools.repeat(None)
    each = enumerate(zip(statements, known, strict=False))
    return [_run(pair, statement, places, answer, f"{within}{place}", before) for place, (statement, answer) in each]


def _run(pair: Pair, statement: Statement, places: list[str], answer: Any, place: str, before: Before) -> Any:
    if isinstance(statement, router_pb2.Group):
        return _run_group(pair, statement, answer, place, before)
    before(place)
    places.append(place)
    pair.before_postgres(statement, answer)
    expected = _execute(pair, statement)
    places.pop()
    return expected


def _run_group(pair: Pair, group: router_pb2.Group, answers: Any, place: str, before: Before) -> Outcome:
    places: list[str] = []
    statements = [getattr(each, each.WhichOneof("statement") or "") for each in group.statements]
    try:
        with pair.plain.connection.transaction():
            return run_all(pair, statements, places, answers, within=f"{place}.", before=before)
    except psycopg.Error as error:
        return refusal_by_postgres(error), "".join(places)


def _execute(pair: Pair, statement: Any) -> Any:
    if not isinstance(statement, SetConstraints):
        return _comparable(pair.plain.execute(statement))
    names = [sql.Identifier(*name.split(".")) for name in statement.constraints]
    change = sql.SQL("SET CONSTRAINTS {} {}").format(
        sql.SQL(", ").join(names) if names else sql.SQL("ALL"),
        sql.SQL("DEFERRED" if statement.deferred else "IMMEDIATE"),
    )
    pair.plain.connection.execute(change)
    return None


def _comparable(answer: Any) -> Any:
    """Rows without their order, and errors as failures."""
    if isinstance(answer, CrosskeyError):
        return _failure(answer)
    if not isinstance(answer, list):
        return answer
    if all(isinstance(row, dict) for row in answer):
        news: list[bool | None] = [*news_of(answer)] or [None] * len(answer)
        return sorted(json.dumps([row, is_new], sort_keys=True) for row, is_new in zip(answer, news, strict=True))
    return [_comparable(each) for each in answer]


def _failure(error: CrosskeyError) -> Failure:
    return refusal_by_crosskey(error), error.metadata.get("statement", "")


def same(found: Any, expected: Any) -> bool:
    """Whether two outcomes, or parts of them, are the same."""
    match found, expected:
        case (Refusal() as refusal, str(place)), (Refusal() as judged, str(judged_place)):
            # Crosskey names the table also where PostgreSQL does not.
            named = refusal if judged.table else replace(refusal, table="")
            return (named, place) == (judged, judged_place)
        case list(), list():
            return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)

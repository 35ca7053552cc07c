"""The accounts that the races are judged by complain about every kind of wrong, and about nothing else."""

import pytest

from crosskey import errors
from tests.hot_keys.accounts import complaints
from tests.hot_keys.families import DEFAULT_PARENT, FAMILIES, HOT_KEYS, Family
from tests.hot_keys.history import Attempt, Kind, Outcome
from tests.hot_keys.stored_rows import StoredRows

CASCADE, RESTRICT, NO_ACTION, SET_NULL, SET_DEFAULT = FAMILIES
PARENT, *OTHERS = HOT_KEYS
PARENTS = frozenset({*HOT_KEYS, DEFAULT_PARENT})

ARRIVALS = [Attempt("insert parent", parent, (), 0, 1, "acknowledged") for parent in HOT_KEYS]


def attempt(
    kind: Kind,
    started: float,
    ended: float,
    *children: int,
    outcome: Outcome = "acknowledged",
    error: errors.CrosskeyError | None = None,
) -> Attempt:
    deleted = outcome == "acknowledged" and kind not in ("insert children", "insert parent")
    return Attempt(kind, PARENT, children, started, ended, outcome, deleted, error)


INSERTED = attempt("insert children", 2, 3, 7)
DELETED_LATER = attempt("delete parent", 4, 5)
DELETED_MEANWHILE = attempt("delete parent", 2.5, 5)
SWEPT = attempt("delete children", 4, 5)
GONE = PARENTS - {PARENT}
REFUSAL = errors.ForeignKeyViolation("not present")


@pytest.mark.parametrize(
    ("family", "attempts", "parents", "children"),
    [
        (CASCADE, [INSERTED], PARENTS, {7: PARENT}),
        (CASCADE, [INSERTED, DELETED_LATER], GONE, {}),
        (CASCADE, [INSERTED, DELETED_MEANWHILE, attempt("insert parent", 6, 7)], PARENTS, {7: PARENT}),
        (SET_NULL, [INSERTED, DELETED_LATER], GONE, {7: None}),
        (SET_DEFAULT, [INSERTED, DELETED_LATER], GONE, {7: DEFAULT_PARENT}),
        (RESTRICT, [INSERTED, SWEPT, attempt("delete parent", 6, 7)], GONE, {}),
        (CASCADE, [attempt("insert children", 2, 3, 7, 8, outcome="unknown")], PARENTS, {7: PARENT, 8: PARENT}),
        (CASCADE, [attempt("insert children", 2, 3, 7, 8, outcome="unknown")], PARENTS, {}),
        (CASCADE, [attempt("insert children", 2, 6, 7, 8), SWEPT], PARENTS, {7: PARENT}),
    ],
)
def test_nothing_to_complain_about(
    family: Family, attempts: list[Attempt], parents: frozenset[int], children: dict[int, int | None]
) -> None:
    assert list(complaints(family, ARRIVALS + attempts, StoredRows(parents, children))) == []


@pytest.mark.parametrize(
    ("family", "attempts", "parents", "children", "complaint"),
    [
        (CASCADE, [INSERTED, DELETED_MEANWHILE], GONE, {7: PARENT}, "is an orphan"),
        (CASCADE, [], PARENTS, {7: PARENT}, "comes from nowhere"),
        (CASCADE, [INSERTED], PARENTS, {}, "are lost"),
        (SET_NULL, [INSERTED, DELETED_LATER], GONE, {}, "are lost"),
        (CASCADE, [], GONE, {}, "is lost"),
        (CASCADE, [DELETED_LATER], PARENTS, {}, "exists although it was deleted"),
        (CASCADE, [INSERTED, attempt("replace parent", 4, 5)], PARENTS, {7: PARENT}, "has survived"),
        (SET_NULL, [INSERTED], PARENTS, {7: None}, "for no reason"),
        (SET_NULL, [INSERTED, DELETED_LATER], GONE, {7: DEFAULT_PARENT}, "has got the parent"),
        (RESTRICT, [INSERTED], PARENTS, {7: None}, "has got the parent"),
        (NO_ACTION, [INSERTED, DELETED_LATER, attempt("delete children", 6, 7)], GONE, {}, "has deleted the parent"),
        (CASCADE, [attempt("insert children", 2, 3, 7, 8)], PARENTS, {7: PARENT}, "by halves"),
        (CASCADE, [attempt("insert children", 2, 3, 7, outcome="refused")], PARENTS, {7: PARENT}, "were refused"),
        (
            CASCADE,
            [attempt("insert children", 2, 3, 7, outcome="refused", error=REFUSAL)],
            PARENTS,
            {},
            "never deleted",
        ),
        (
            CASCADE,
            [attempt("delete parent", 2, 3, outcome="refused", error=errors.InternalError(""))],
            PARENTS,
            {},
            "nobody",
        ),
        (SET_NULL, [attempt("delete parent", 2, 3, outcome="refused", error=REFUSAL)], PARENTS, {}, "refuses nothing"),
    ],
)
def test_complaints(
    family: Family,
    attempts: list[Attempt],
    parents: frozenset[int],
    children: dict[int, int | None],
    complaint: str,
) -> None:
    found = list(complaints(family, ARRIVALS + attempts, StoredRows(parents, children)))
    assert any(complaint in one for one in found), found

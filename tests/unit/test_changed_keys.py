"""Rows whose key changed more than once."""

import pytest

from crosskey.catalog.changed_keys import compose


@pytest.mark.parametrize(
    ("changes", "composed"),
    [
        ("", ""),
        ("ab cd", "ab cd"),
        # One row changes twice, and back.
        ("ab bc", "ac"),
        ("ab bc ca", "aa"),
        # Each goes to where another one was, and left before.
        ("bc ab", "bc ab"),
        # A row goes by a key that another had first, and a third one takes the first row's.
        ("bx ab bc da", "bx ac da"),
        # Two rows end alike, as with NULL.
        ("an bn", "an bn"),
    ],
)
def test_each_row_changes_once(changes: str, composed: str) -> None:
    assert compose((pair[0], pair[1]) for pair in changes.split()) == [(pair[0], pair[1]) for pair in composed.split()]

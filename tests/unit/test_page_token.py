"""Page tokens come back as they were, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosskey.errors import InvalidPageToken
from crosskey.router.planning import page_token
from crosskey.router.planning.page_token import query_digest

KEY = b"a secret"
QUERY = query_digest(b"messages", b"by time")

places = st.dictionaries(
    st.integers(0, 7), st.none() | st.lists(st.none() | st.text(), min_size=1, max_size=4), min_size=1
)


@given(places)
def test_a_token_comes_back_as_it_was(before: dict[int, list[str | None] | None]) -> None:
    assert page_token.decode(KEY, page_token.encode(KEY, QUERY, before), QUERY) == before


def test_nothing_to_go_on_with_has_no_token() -> None:
    assert page_token.encode(KEY, QUERY, {}) == ""


def test_a_token_of_another_query_is_refused() -> None:
    token = page_token.encode(KEY, QUERY, {0: ["1"]})
    with pytest.raises(InvalidPageToken, match="another query"):
        page_token.decode(KEY, token, query_digest(b"messages", b"by name"))


def test_the_parts_of_a_query_do_not_run_together() -> None:
    assert query_digest(b"ab", b"c") != query_digest(b"a", b"bc")


@given(st.data())
def test_a_damaged_token_is_refused(data: st.DataObject) -> None:
    token = page_token.encode(KEY, QUERY, {0: ["1", None], 2: None})
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("ABCabc019-_*é ").filter(lambda character: character != token[place]))
    with pytest.raises(InvalidPageToken):
        page_token.decode(KEY, token[:place] + other + token[place + 1 :], QUERY)


@given(st.text(min_size=1))
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(InvalidPageToken, match="damaged"):
        page_token.decode(KEY, junk, QUERY)


@pytest.mark.parametrize("length", [1, 5, 20, 30])
def test_a_cut_token_is_refused(length: int) -> None:
    with pytest.raises(InvalidPageToken):
        page_token.decode(KEY, page_token.encode(KEY, QUERY, {0: ["1"]})[:length], QUERY)


@given(places)
def test_a_forged_token_is_refused(forged: dict[int, list[str | None] | None]) -> None:
    token = page_token.encode(b"another secret", QUERY, forged)
    with pytest.raises(InvalidPageToken, match="damaged"):
        page_token.decode(KEY, token, QUERY)

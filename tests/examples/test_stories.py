"""Each example's story on a real cluster: it prints what its README says, and leaves what it should."""

import pytest

from tests.examples.telling import told
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes


def test_discord(fresh_cluster: FreshClusters) -> None:
    story = told("discord", fresh_cluster)
    assert story.printed == story.in_readme
    # Bob's two messages are left, without an author.
    assert [story.client.count("messages", where) for where in (None, {"author_id": None})] == [7, 2]
    assert story.client.audit() == []

"""Each example's story on a real cluster: it prints what its README says, and leaves what it should."""

import pytest

from examples.followers.race import count_orphans
from examples.followers.story import RACES
from tests.examples.telling import told
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes


def test_discord(fresh_cluster: FreshClusters) -> None:
    story = told("discord", fresh_cluster)
    assert story.printed == story.in_readme
    # Bob's two messages are left, without an author.
    assert [story.client.count("messages", where) for where in (None, {"author_id": None})] == [7, 2]
    assert story.client.audit() == []


def test_followers(fresh_cluster: FreshClusters) -> None:
    story = told("followers", fresh_cluster)
    assert story.printed == story.in_readme
    # Ada still follows Dee; the race left nothing but what the application had checked.
    assert list(story.client.list("follows")) == [{"follower_id": "1", "followee_id": "5"}]
    assert [count_orphans(story.client, table) for table in ("follows", "unchecked_follows")] == [0, RACES]
    assert story.client.audit() == []

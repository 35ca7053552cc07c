"""Each example's story on a real cluster: it prints what its README says, and leaves what it should."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from crosskey.cli.advise import advise
from examples.facebook.story import BOB, DEE
from examples.followers.race import count_orphans
from examples.followers.story import RACES
from examples.orders.story import LAPTOP
from tests.docs.examples import fences
from tests.examples.telling import EXAMPLES, told
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes


def test_discord(fresh_cluster: FreshClusters) -> None:
    story = told("discord", fresh_cluster)
    assert story.printed == story.in_readme
    # Bob's two messages are left, without an author.
    assert [story.client.count("messages", where) for where in (None, {"author_id": None})] == [7, 2]
    assert story.client.audit() == []


def test_facebook(fresh_cluster: FreshClusters) -> None:
    story = told("facebook", fresh_cluster)
    assert story.printed == story.in_readme
    # Of the friendships of Cy, who is gone, and of the one that was ended, no half is left.
    edges = {(edge["user_id"], edge["friend_id"]) for edge in story.client.list("friends")}
    assert edges == {(str(DEE), str(BOB)), (str(BOB), str(DEE))}
    assert story.client.audit() == []


def test_followers(fresh_cluster: FreshClusters) -> None:
    story = told("followers", fresh_cluster)
    assert story.printed == story.in_readme
    # Ada still follows Dee; the race left nothing but what the application had checked.
    assert list(story.client.list("follows")) == [{"follower_id": "1", "followee_id": "5"}]
    assert [count_orphans(story.client, table) for table in ("follows", "unchecked_follows")] == [0, RACES]
    assert story.client.audit() == []


def test_instagram(fresh_cluster: FreshClusters) -> None:
    story = told("instagram", fresh_cluster)
    assert story.printed == story.in_readme
    # Of Bob's there is nothing left: no photo, no comment, no like, no follow of him.
    [photo] = story.client.list("media", include={"owner": {}, "comments": {"include": ["author"]}, "likers": {}})
    assert photo["owner"]["username"] == "cy"
    assert {comment["author"]["username"] for comment in photo["comments"]} == {"ada", "cy"}
    assert [[liker["username"] for liker in photo["likers"]], story.client.count("follows")] == [["ada"], 1]
    assert story.client.audit() == []


def test_messenger(fresh_cluster: FreshClusters) -> None:
    story = told("messenger", fresh_cluster)
    assert story.printed == story.in_readme
    # Cosette is gone with her inbox, and from the account that she shared.
    users = story.client.list("users", order_by="name", include={"accounts": {"order_by": "username"}})
    accounts = {user["name"]: [account["username"] for account in user["accounts"]] for user in users}
    assert accounts == {"Marius": [], "Valjean": ["fauchelevent", "madeleine"]}
    assert story.client.count("messages") == 0
    assert story.client.audit() == []


def test_orders(fresh_cluster: FreshClusters) -> None:
    story = told("orders", fresh_cluster)
    assert story.printed == story.in_readme
    # What was paid is still known, of products whose price has changed and of those that are gone.
    paid = story.client.list("items", order_by=["customer_id", "line"], columns=["product_id", "amount"])
    assert [tuple(row.values()) for row in paid] == [(str(LAPTOP), "999.00"), (None, "39.00"), (None, "19.50")]
    assert story.client.audit() == []


def test_what_advise_says_of_orders(tmp_path: Path) -> None:
    untagged = tmp_path / "untagged.sql"
    schema = (EXAMPLES / "orders" / "schema.sql").read_text(encoding="utf-8")
    untagged.write_text(re.sub(r"^COMMENT.*\n", "", schema, flags=re.MULTILINE))
    advice = CliRunner().invoke(advise, [str(untagged)]).stdout
    [in_readme, _] = [code for language, code in fences(EXAMPLES / "orders" / "README.md") if language == "text"]
    assert "\n".join(line.rstrip() for line in advice.splitlines()).strip("\n") == in_readme.strip("\n")


def test_tenants(fresh_cluster: FreshClusters) -> None:
    story = told("tenants", fresh_cluster)
    assert story.printed == story.in_readme
    # The bookshop is gone with all that was of it; the teashop has its order.
    assert [shop["name"] for shop in story.client.list("shops", order_by="id")] == ["Tea", "Bikes"]
    assert [story.client.count(table) for table in ("referrals", "customers", "order_items")] == [0, 1, 1]
    assert story.client.audit() == []

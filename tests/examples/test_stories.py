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
from tests.eventually import eventually
from tests.examples.conftest import Tell
from tests.examples.telling import EXAMPLES

pytestmark = pytest.mark.processes


def test_discord(tell: Tell) -> None:
    client = tell("discord")
    # Bob's two messages are left, without an author.
    assert [client.count("messages", where) for where in (None, {"author_id": None})] == [7, 2]


def test_facebook(tell: Tell) -> None:
    client = tell("facebook")
    # Of the friendships of Cy, who is gone, and of the one that was ended, no half is left.
    edges = {(edge["user_id"], edge["friend_id"]) for edge in client.list("friends")}
    assert edges == {(str(DEE), str(BOB)), (str(BOB), str(DEE))}


def test_followers(tell: Tell) -> None:
    client = tell("followers")
    # Ada still follows Dee; the race left nothing but what the application had checked.
    assert list(client.list("follows")) == [{"follower_id": "1", "followee_id": "5"}]
    assert [count_orphans(client, table) for table in ("follows", "unchecked_follows")] == [0, RACES]


def test_instagram(tell: Tell) -> None:
    client = tell("instagram")
    # Of Bob's there is nothing left: no photo, no comment, no like, no follow of him.
    [photo] = client.list("media", include={"owner": {}, "comments": {"include": ["author"]}, "likers": {}})
    assert photo["owner"]["username"] == "cy"
    assert {comment["author"]["username"] for comment in photo["comments"]} == {"ada", "cy"}
    assert [[liker["username"] for liker in photo["likers"]], client.count("follows")] == [["ada"], 1]


def test_messenger(tell: Tell) -> None:
    client = tell("messenger")
    # Cosette is gone with her inbox, and from the account that she shared.
    users = client.list("users", order_by="name", include={"accounts": {"order_by": "username"}})
    accounts = {user["name"]: [account["username"] for account in user["accounts"]] for user in users}
    assert accounts == {"Marius": [], "Valjean": ["fauchelevent", "madeleine"]}
    assert client.count("messages") == 0


def test_orders(tell: Tell) -> None:
    client = tell("orders")
    # What was paid is still known, of products whose price has changed and of those that are gone.
    paid = client.list("items", order_by=["customer_id", "line"], columns=["product_id", "amount"])
    assert [tuple(row.values()) for row in paid] == [(str(LAPTOP), "999.00"), (None, "39.00"), (None, "19.50")]


def test_what_advise_says_of_orders(tmp_path: Path) -> None:
    untagged = tmp_path / "untagged.sql"
    schema = (EXAMPLES / "orders" / "schema.sql").read_text(encoding="utf-8")
    untagged.write_text(re.sub(r"^COMMENT.*\n", "", schema, flags=re.MULTILINE))
    advice = CliRunner().invoke(advise, [str(untagged)]).stdout
    [in_readme, _] = [code for language, code in fences(EXAMPLES / "orders" / "README.md") if language == "text"]
    assert "\n".join(line.rstrip() for line in advice.splitlines()).strip("\n") == in_readme.strip("\n")


def test_search(tell: Tell) -> None:
    client = tell("search")
    assert [article["title"] for article in client.list("articles")] == ["Sharding for cats"]


def test_tenants(tell: Tell) -> None:
    client = tell("tenants")
    # The bookshop is gone with all that was of it; the teashop has its order.
    assert [shop["name"] for shop in client.list("shops", order_by="id")] == ["Tea", "Bikes"]
    assert [client.count(table) for table in ("referrals", "customers", "order_items")] == [0, 1, 1]


def test_uber(tell: Tell) -> None:
    client = tell("uber")
    # Ria is gone with her trips; Sam's is left, without a driver, for the fare that was agreed.
    eventually(lambda: not client.list_cleanups().cleanups, "all is cleaned up")
    [trip] = client.list("trips")
    assert (trip["id"], trip["driver_id"], trip["driver_name"], trip["fare_per_km"]) == ("104", None, None, "1.20")

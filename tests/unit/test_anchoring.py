"""Tables whose rows live with a parent that only a claim finds."""

import msgspec
import pytest

from crosskey.catalog.model import Exclusion, ForeignKey, Table, TableName, UniqueKey
from crosskey.catalog.plan import Plan, TablePlan
from tests.schema_builders import USERS, column, foreign_key, plan_of, refusal_of, refusals_of, table

MEDIA = table("media", "@shard_with owner", column("id"), column("owner"))
COMMENTS = table("comments", "@shard_with media", column("id"), column("media"))
LIKES = table("likes", "@shard_with comment", column("comment"), column("user"), key=("comment", "user"))
OWNED = foreign_key("media", "owner", "users")
ABOVE = (USERS, MEDIA, OWNED, COMMENTS, foreign_key("comments", "media", "media"))


def placed(plan: Plan, name: str) -> TablePlan:
    """The plan of a table."""
    found = plan.table(TableName("public", name))
    assert found is not None
    return found


def with_unique(one: Table, *columns: str) -> Table:
    """The table with another unique key."""
    return msgspec.structs.replace(one, unique_keys=(*one.unique_keys, UniqueKey("_".join(columns), columns)))


def test_rows_live_with_a_parent_that_has_a_claim_and_so_on() -> None:
    plan = plan_of(*ABOVE, LIKES, foreign_key("likes", "comment", "comments"))
    assert {claim.id for claim in plan.claims} == {"public.media_pkey", "public.comments_pkey"}
    comments, likes = placed(plan, "comments"), placed(plan, "likes")
    assert comments.anchor is not None
    assert (str(comments.anchor.table), comments.anchor.claim) == ("media", "public.media_pkey")
    assert likes.anchor is not None
    assert (str(likes.anchor.table), likes.anchor.claim) == ("comments", "public.comments_pkey")
    assert (comments.locators, comments.colocating) == ((), ("media",))
    assert {key.kind for key in plan.keys} == {"local"}
    assert placed(plan, "media").anchor is None


def test_one_row_for_one_leads_by_the_claim_of_its_own_parent() -> None:
    details = table("details", "@shard_with media", column("media"), key=("media",))
    tags = table("tags", "@shard_with media", column("media"), column("tag", "text"), key=("media", "tag"))
    keys = foreign_key("details", "media", "media"), foreign_key("tags", "media", "details", "media")
    plan = plan_of(USERS, MEDIA, OWNED, details, tags, *keys)
    anchor = placed(plan, "tags").anchor
    assert anchor is not None
    assert (str(anchor.table), anchor.column) == ("details", "media")
    assert (str(anchor.root_table), anchor.root_column, anchor.claim) == ("media", "id", "public.media_pkey")


def test_a_uuid_of_an_anchored_table_is_claimed() -> None:
    comments = table("comments", "@shard_with media", column("id", "uuid"), column("media"))
    plan = plan_of(USERS, MEDIA, OWNED, comments, foreign_key("comments", "media", "media"))
    assert placed(plan, "comments").slot_column is None
    assert "public.comments_pkey" in {claim.id for claim in plan.claims}


def test_what_tells_the_slot_comes_before_a_claim() -> None:
    profiles = table("profiles", "@shard_with user", column("user"), key=("user",))
    things = table("things", "@shard_by other", column("id"), column("other"))
    keys = foreign_key("profiles", "user", "things"), foreign_key("profiles", "user", "users")
    plan = plan_of(USERS, profiles, things, *keys)
    assert placed(plan, "profiles").anchor is None
    assert sorted(key.kind for key in plan.keys) == ["cross-shard", "local"]


def test_a_key_between_rows_that_live_with_one_parent_is_local() -> None:
    comments = with_unique(COMMENTS, "media", "id")
    replies = table("replies", "@shard_with media", column("media"), column("comment"), column("id"))
    keys = foreign_key("replies", "media", "media"), foreign_key("replies", "media comment", "comments", "media id")
    plan = plan_of(*ABOVE[:3], comments, ABOVE[4], replies, *keys)
    assert {key.kind for key in plan.keys} == {"local"}


def test_a_key_from_elsewhere_is_found_by_a_claim() -> None:
    mentions = table("mentions", "@shard_by id", column("id"), column("comment"))
    [referenced] = plan_of(*ABOVE, mentions, foreign_key("mentions", "comment", "comments")).referenced_keys
    assert referenced.claim is not None
    assert referenced.locator is None


def test_a_key_from_elsewhere_that_only_colocates() -> None:
    mentions = table("mentions", "@shard_by id", column("id"), column("media"), column("comment"))
    comments = with_unique(COMMENTS, "media", "id")
    key = foreign_key("mentions", "media comment", "comments", "media id")
    message = refusal_of(*ABOVE[:3], comments, ABOVE[4], mentions, key)
    assert "equal values of comments.media are on one shard, but they do not tell which" in message


@pytest.mark.parametrize("parent_column", ["id", "other"])
def test_a_table_that_would_lead_itself(parent_column: str) -> None:
    own = with_unique(table("nodes", "@shard_with above", column("id"), column("above"), column("other")), "other")
    assert "no foreign key leads" in refusal_of(own, foreign_key("nodes", "above", "nodes", parent_column))


def test_tables_that_lead_each_other() -> None:
    one = table("one", "@shard_with two", column("id"), column("two"))
    two = table("two", "@shard_with one", column("id"), column("one"))
    messages = refusals_of(one, two, foreign_key("one", "two", "two"), foreign_key("two", "one", "one"))
    assert len(messages) == 2
    assert all("not in a circle" in message for message in messages)


@pytest.mark.parametrize(
    "key",
    [
        foreign_key("comments", "media note", "media", "id owner"),
        foreign_key("comments", "id", "media", "id"),
    ],
)
def test_keys_that_lead_nowhere(key: ForeignKey) -> None:
    media = with_unique(MEDIA, "id", "owner")
    comments = table("comments", "@shard_with media", column("id"), column("media"), column("note"))
    assert any("no foreign key leads" in one for one in refusals_of(USERS, media, OWNED, comments, key))


def test_a_parent_column_of_another_type() -> None:
    media = table("media", "@shard_by owner", column("id", "text"), column("owner"))
    comments = table("comments", "@shard_with media", column("id"), column("media", "uuid"))
    assert "equal values may hash to different slots" in refusal_of(media, comments, ABOVE[4])


def test_what_must_hold_the_column_that_colocates() -> None:
    bare = msgspec.structs.replace(COMMENTS, exclusions=(Exclusion("apart", ("id",)),))
    assert "compare media with =" in refusal_of(*ABOVE[:3], bare, ABOVE[4])
    held = msgspec.structs.replace(COMMENTS, exclusions=(Exclusion("apart", ("media",)),))
    assert placed(plan_of(*ABOVE[:3], held, ABOVE[4]), "comments").anchor is not None

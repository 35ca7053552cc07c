"""A small messenger on three shards, as the router's planning sees it."""

from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.router.planning.schema_view import SchemaView
from tests.schema_builders import column, foreign_key, plan_of, table

SHARDS = 3

COUNTRIES = table("countries", "@reference", column("code", "text"), column("name", "text"), key=("code",))
USERS = table(
    "users",
    "@shard_by id",
    column("id", "uuid", default="gen_random_uuid()"),
    column("name", "text", not_null=False),
    column("country", "text", not_null=False),
    column("invited_by", "uuid", not_null=False),
    column("score", "float8", not_null=False),
    column("profile", "jsonb", not_null=False),
    column("state", "text", default="'new'::text"),
)
MESSAGES = table(
    "messages",
    "@shard_by sender_id",
    column("id", "uuid"),
    column("sender_id", "uuid"),
    column("receiver_id", "uuid", not_null=False),
    column("reply_to", "uuid", not_null=False),
    column("body", "text", not_null=False),
)
FOLLOWS = table(
    "follows",
    "@shard_by follower_id",
    column("follower_id", "uuid"),
    column("followee_id", "uuid"),
    key=("follower_id", "followee_id"),
)
ACCOUNTS = table("accounts", "@shard_by id", column("id"), column("balance", not_null=False))
FAVOURITES = table(
    "favourites",
    "@reference",
    column("place", "integer"),
    column("user_id", "uuid", not_null=False),
    key=("place",),
)

KEYS = (
    foreign_key("users", "country", "countries", "code", on_delete="RESTRICT"),
    foreign_key("users", "invited_by", "users", on_delete="SET NULL"),
    foreign_key("messages", "sender_id", "users", on_delete="CASCADE"),
    foreign_key("messages", "receiver_id", "users", on_delete="CASCADE"),
    foreign_key("messages", "reply_to", "messages", on_delete="CASCADE"),
    foreign_key("follows", "follower_id", "users", on_delete="CASCADE"),
    foreign_key("follows", "followee_id", "users"),
    foreign_key("favourites", "user_id", "users", on_delete="SET DEFAULT"),
)

VIEW = SchemaView(plan_of(COUNTRIES, USERS, MESSAGES, FOLLOWS, ACCOUNTS, FAVOURITES, *KEYS), SHARDS, "a fingerprint")


def user_on(shard: int, number: int = 0) -> str:
    """The number-th of the user ids that live on a shard, always the same."""
    ids = (f"00000000-0000-4000-8000-{place:012x}" for place in range(10_000))
    on_shard = (one for one in ids if shard_of_slot(slot_of_value("uuid", one), SHARDS) == shard)
    return next(one for place, one in enumerate(on_shard) if place == number)

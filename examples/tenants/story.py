"""Shopify's tenants: each shop is all on one shard, and what is between shops crosses on purpose.

make up SCHEMA=examples/tenants/schema.sql DATA=.crosskey-tenants
.venv/bin/python -m examples.tenants.story
"""

from crosskey import ForeignKeyViolation, UniqueViolation, insert
from examples.showing_client import ShowingClient, start_over, tell

# On shards 0, 1 and 2.
TEA, BOOKS, BIKES = 1, 8, 5
CUSTOMER, OTHERS_CUSTOMER, PRODUCT, ORDER = 1, 2, 1, 1
TWO_ITEMS = {"shop_id": TEA, "order_id": ORDER, "product_id": PRODUCT, "quantity": 2}


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    order(client)
    read_an_order(client)
    keep_tenants_apart(client)
    change_a_plan(client)
    refer(client)
    count_over_tenants(client)
    close_a_shop(client)


def begin(client: ShowingClient) -> None:
    """Open three shops, of which two have a customer."""
    start_over(client, shops="id", plans="code")
    plans = (("basic", "Basic", "29.00"), ("plus", "Plus", "79.00"))
    client.quiet.insert("plans", [{"code": code, "name": name, "monthly_fee": fee} for code, name, fee in plans])
    shops = ((TEA, "Tea", "basic"), (BOOKS, "Books", "basic"), (BIKES, "Bikes", "plus"))
    client.quiet.insert("shops", [{"id": shop, "name": name, "plan_code": plan} for shop, name, plan in shops])
    client.quiet.insert("products", {"shop_id": TEA, "id": PRODUCT, "name": "Green tea", "price": "5.00"})
    client.quiet.insert(
        "customers",
        [
            {"shop_id": TEA, "id": CUSTOMER, "email": "ada@ex.org"},
            {"shop_id": BOOKS, "id": OTHERS_CUSTOMER, "email": "bob@ex.org"},
        ],
    )


def order(client: ShowingClient) -> None:
    """A transaction within a tenant."""
    client.scene("An order", "All tables of a shop are on its shard: a transaction over two of them is one call.")
    client.transact(
        [
            insert("orders", {"shop_id": TEA, "id": ORDER, "customer_id": CUSTOMER}, count_only=True),
            insert("order_items", TWO_ITEMS, count_only=True),
        ]
    )


def read_an_order(client: ShowingClient) -> None:
    """An include within a tenant."""
    client.scene("The page of an order", "So is everything that is read with it: no other shard is asked.")
    client.get(
        "orders",
        shop_id=TEA,
        id=ORDER,
        columns=["id"],
        include={
            "customer": {"columns": ["email"]},
            "items": {"columns": ["quantity"], "include": {"product": {"columns": ["name", "price"]}}},
        },
    )


def keep_tenants_apart(client: ShowingClient) -> None:
    """Foreign keys that begin with the tenant."""
    client.scene(
        "Tenants are kept apart",
        "Customer 2 is one of the bookshop's. The foreign key is (shop_id, customer_id), so the teashop cannot have an"
        " order of that customer, whatever the application gets wrong.",
    )
    with client.refused(ForeignKeyViolation):
        client.insert("orders", {"shop_id": TEA, "id": ORDER + 1, "customer_id": OTHERS_CUSTOMER})


def change_a_plan(client: ShowingClient) -> None:
    """A reference table."""
    client.scene(
        "A plan that all share",
        "Plans are few, and every shop has one: a reference table. A write goes to all shards, in one transaction. A"
        " read takes the copy that is where the shop is.",
    )
    client.update("plans", {"monthly_fee": "31.00"}, key={"code": "basic"})
    client.get("shops", id=BOOKS, include={"plan": {"columns": ["name", "monthly_fee"]}})


def refer(client: ShowingClient) -> None:
    """References between tenants."""
    client.scene(
        "Referrals between shops",
        "The teashop has referred the bookshop. The row is with the teashop; its key onto the bookshop crosses shards.",
    )
    client.insert("referrals", {"referrer_id": TEA, "referred_id": BOOKS})
    client.say("A shop is referred once at most. Another referrer, on another shard, comes too late:")
    with client.refused(UniqueViolation):
        client.insert("referrals", {"referrer_id": BIKES, "referred_id": BOOKS})
    client.scene("Who referred whom", "From either shop, through the referral.")
    client.get("shops", id=TEA, columns=["name"], include={"referred": {"columns": ["name"]}})
    client.get("shops", id=BOOKS, columns=["name"], include={"referral": {"include": {"referrer": {}}}})


def count_over_tenants(client: ShowingClient) -> None:
    """What the operator asks of all shops."""
    client.scene("All tenants", "The operator may ask across all shops; each shard works out its part.")
    client.aggregate("shops", {"shops": "count"}, group_by="plan_code", order_by="plan_code")


def close_a_shop(client: ShowingClient) -> None:
    """A tenant goes, with all that is of it and all that names it."""
    client.scene(
        "A shop closes",
        "All its rows go, on its shard, and so does the referral that names it, which is with the teashop. What other"
        " shops have is not touched.",
    )
    client.delete("shops", key={"id": BOOKS})
    client.count("referrals")
    client.list_page("customers", columns=["shop_id", "email"])


if __name__ == "__main__":
    tell(story)

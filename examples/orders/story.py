"""Orders in two ways: over-normalised, where an order only refers, and denormalised, where it says what was bought.

make up SCHEMA=examples/orders/schema.sql DATA=.crosskey-orders
.venv/bin/python -m examples.orders.story
"""

from typing import Any

from crosskey import ForeignKeyViolation, desc, insert
from examples.showing_client import ShowingClient, start_over, tell

# Ada lives on shard 0, Bob on shard 1. The laptop is on shard 1, the mouse on shard 0, and the bare order on shard 2.
ADA, BOB = 1, 8
LAPTOP, MOUSE = 12, 10
BARE_ORDER = 9
PRODUCTS = {LAPTOP: {"name": "Laptop", "price": "999.00"}, MOUSE: {"name": "Mouse", "price": "19.50"}}


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    order(client)
    read_an_order(client)
    change_a_price(client)
    sum_up(client)
    stop_selling(client)


def begin(client: ShowingClient) -> None:
    """Insert customers and products, and an order of Bob's."""
    start_over(client, bare_orders="id", orders="number", customers="id", products="id")
    client.quiet.insert("customers", [{"id": ADA, "email": "ada@ex.org"}, {"id": BOB, "email": "bob@ex.org"}])
    client.quiet.insert("products", [{"id": number, **product} for number, product in PRODUCTS.items()])
    client.quiet.transact(
        [insert("orders", {"customer_id": BOB, "number": 1}), insert("items", item(BOB, 1, MOUSE, 1))]
    )


def item(customer: int, line: int, product: int, quantity: int) -> dict[str, Any]:
    """A line of a customer's first order, with what is true of the product now."""
    name, price = PRODUCTS[product]["name"], PRODUCTS[product]["price"]
    return {
        "customer_id": customer,
        "order_number": 1,
        "line": line,
        "product_id": product,
        "product_name": name,
        "unit_price": price,
        "quantity": quantity,
    }


def order(client: ShowingClient) -> None:
    """The same order in both ways, each in one transaction."""
    client.scene(
        "An order that only refers",
        "The order and its items live by the order's id. The customer and the products are elsewhere, and each is"
        " pinned: nothing can be ordered that is not there.",
    )
    client.transact(
        [
            insert("bare_orders", {"id": BARE_ORDER, "customer_id": ADA}),
            insert(
                "bare_items",
                [
                    {"order_id": BARE_ORDER, "line": 1, "product_id": LAPTOP, "quantity": 1},
                    {"order_id": BARE_ORDER, "line": 2, "product_id": MOUSE, "quantity": 2},
                ],
            ),
        ]
    )
    client.scene(
        "An order that says what was bought",
        "It lives with its customer. Each item has the product's name and price as they are now, and still a foreign"
        " key onto the product: a copy does not have to give that up.",
    )
    client.transact(
        [
            insert("orders", {"customer_id": ADA, "number": 1}),
            insert("items", [item(ADA, 1, LAPTOP, 1), item(ADA, 2, MOUSE, 2)], count_only=True),
        ]
    )


def read_an_order(client: ShowingClient) -> None:
    """The page of an order, both ways."""
    client.scene(
        "The page of an order",
        "Of the order that only refers, three levels of tables are read, on all shards that have something of it:",
    )
    client.get(
        "bare_orders",
        id=BARE_ORDER,
        include={
            "customer": {"columns": ["email"]},
            "items": {"columns": ["quantity"], "include": {"product": {"columns": ["name", "price"]}}},
        },
    )
    client.say(
        "Of the order that says what was bought, all is on the shard of the customer. The e-mail address is not copied:"
        " the customer is right there, and has the one that is true now."
    )
    client.get(
        "orders",
        customer_id=ADA,
        number=1,
        include={
            "customer": {"columns": ["email"]},
            "items": {"columns": ["product_name", "unit_price", "quantity"]},
        },
    )


def change_a_price(client: ShowingClient) -> None:
    """What was paid does not change."""
    client.scene("A price changes", "Ada has paid 999. Only one of the two orders still knows.")
    client.update("products", {"price": "899.00"}, key={"id": LAPTOP})
    client.get("bare_items", order_id=BARE_ORDER, line=1, columns=["quantity"], include={"product": {}})
    client.get("items", customer_id=ADA, order_number=1, line=1, columns=["quantity", "unit_price", "amount"])


def sum_up(client: ShowingClient) -> None:
    """A sum over all shards, of columns that are in the row."""
    client.scene(
        "The turnover",
        "Each shard adds up the items that it has, and one node the sums. Prices that are elsewhere could not be added"
        " up so.",
    )
    client.aggregate(
        "items",
        {"turnover": ("sum", "amount"), "sold": ("sum", "quantity")},
        group_by="product_name",
        order_by=desc("turnover"),
    )


def stop_selling(client: ShowingClient) -> None:
    """NO ACTION and SET NULL, across shards."""
    client.scene(
        "A product goes",
        "An order that needs the product to be understood forbids its deletion, on whichever shard it is:",
    )
    with client.refused(ForeignKeyViolation):
        client.delete("products", key={"id": MOUSE})
    client.quiet.delete("bare_orders", key={"id": BARE_ORDER})
    client.quiet.drop_unused_shadows()
    client.scene("Once more", "Without that order the product may go. ON DELETE SET NULL: what was sold, was sold.")
    client.delete("products", key={"id": MOUSE})
    client.list_page(
        "items",
        {"product_id": None},
        order_by="customer_id",
        columns=["customer_id", "product_name", "amount"],
        include="product",
    )


if __name__ == "__main__":
    tell(story)

"""Riders, drivers and their trips: copies that follow or stay, and deletions that do not wait.

make up SCHEMA=examples/uber/schema.sql DATA=.crosskey-uber
.venv/bin/python -m examples.uber.story
"""

import time

from crosskey import Client
from examples.showing_client import POLL_SECONDS, ShowingClient, start_over, tell

RIA, SAM = 1, 5
DORA, EVE = 21, 24


def story(client: ShowingClient) -> None:
    """Tell it all."""
    begin(client)
    book_a_trip(client)
    change_a_driver(client)
    delete_a_driver(client)
    delete_a_rider(client)


def begin(client: ShowingClient) -> None:
    """Write two riders and two drivers."""
    start_over(client, trips="id", riders="id", drivers="id")
    wait_until_hidden(client.quiet, until_done=True)
    client.quiet.insert("riders", [{"id": RIA, "name": "Ria"}, {"id": SAM, "name": "Sam"}])
    client.quiet.insert(
        "drivers",
        [{"id": DORA, "name": "Dora", "fare_per_km": "1.20"}, {"id": EVE, "name": "Eve", "fare_per_km": "1.50"}],
    )


def book_a_trip(client: ShowingClient) -> None:
    """The copies come by themselves."""
    client.scene(
        "A trip",
        "The trip lives with its rider; the driver is on another shard. What is copied of the driver comes with the"
        " first reference, and is on the trip's own shard for later ones.",
    )
    client.insert("trips", {"rider_id": RIA, "id": 101, "driver_id": DORA, "kilometres": "7.5"})
    client.insert("trips", {"rider_id": RIA, "id": 102, "driver_id": DORA, "kilometres": "2.0"})
    client.quiet.insert("trips", {"rider_id": RIA, "id": 103, "driver_id": EVE, "kilometres": "11.0"})
    client.quiet.insert("trips", {"rider_id": SAM, "id": 104, "driver_id": DORA, "kilometres": "4.0"})


def change_a_driver(client: ShowingClient) -> None:
    """A live copy and a snapshot."""
    client.scene(
        "Another name, another fare",
        "The name follows at once, in the same transaction, on each shard with trips of the driver's. What was agreed"
        " for a trip stays.",
    )
    client.update("drivers", {"name": "Dora Diaz", "fare_per_km": "2.00"}, key={"id": DORA})
    client.list_page("trips", {"rider_id": RIA}, order_by="id", columns=["id", "driver_name", "fare_per_km"])


def delete_a_driver(client: ShowingClient) -> None:
    """SET NULL, later, and seen at once."""
    client.scene(
        "A driver leaves",
        "The deletion is one call to the driver's own shard, however many trips there are, and would go through if"
        " another shard were down. A moment later the shards with trips know, and show them without a driver; the rows"
        " themselves are changed after that, a batch at a time.",
    )
    client.delete("drivers", key={"id": DORA})
    wait_until_hidden(client.quiet)
    client.list_page(
        "trips", {"rider_id": RIA}, order_by="id", columns=["id", "driver_id", "driver_name", "fare_per_km"]
    )


def delete_a_rider(client: ShowingClient) -> None:
    """CASCADE, later, and seen at once."""
    client.scene(
        "A rider leaves",
        "The same with ON DELETE CASCADE: the trips cannot be seen any more, and are deleted when there is time.",
    )
    client.delete("riders", key={"id": RIA})
    wait_until_hidden(client.quiet)
    client.list_page("trips", order_by="id", columns=["rider_id", "id"])


def wait_until_hidden(client: Client, *, until_done: bool = False) -> None:
    """Returns once every shard knows of all deletions, or has even done all that follows."""
    while any(until_done or cleanup.HasField("waits_on") for cleanup in client.list_cleanups().cleanups):
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    tell(story)

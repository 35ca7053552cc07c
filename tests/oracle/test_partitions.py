"""Partitioned tables: each shard has all partitions, and the same answers come as of one PostgreSQL."""

from typing import Any

import pytest

import crosskey
from crosskey import (
    CheckViolation,
    CrosskeyError,
    ForeignKeyViolation,
    NotSupported,
    UniqueViolation,
    delete,
    insert,
    requests,
)
from tests.oracle.nested import transact
from tests.oracle.outcome import Refusal
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE tenants (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE tenants IS '@shard_by id';
CREATE TABLE authors (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE authors IS '@shard_by id';

-- By time, as logs are: a key that crosses shards, a local one, a claimed key, and a default partition.
CREATE TABLE entries (
    id bigserial,
    day date NOT NULL,
    tenant bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    author bigint REFERENCES authors ON DELETE CASCADE ON UPDATE CASCADE,
    note text CHECK (note <> ''),
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE entries_2024 PARTITION OF entries FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE entries_2025 PARTITION OF entries FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    PARTITION BY HASH (day);
CREATE TABLE entries_2025_a PARTITION OF entries_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE entries_2025_b PARTITION OF entries_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE entries_other PARTITION OF entries DEFAULT;
CREATE UNIQUE INDEX entries_note ON entries (note, day) WHERE note IS NOT NULL;
COMMENT ON TABLE entries IS '@shard_by tenant';

-- By its own shard key, and referenced over shards.
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric) PARTITION BY HASH (id);
CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1);
COMMENT ON TABLE orders IS '@shard_by id';
CREATE TABLE refunds (
    id bigint PRIMARY KEY,
    order_id bigint REFERENCES orders ON DELETE SET NULL
);
COMMENT ON TABLE refunds IS '@shard_by id';
CREATE TABLE shipments (id bigint, order_id bigint REFERENCES orders ON DELETE CASCADE, PRIMARY KEY (order_id, id))
    PARTITION BY RANGE (order_id);
CREATE TABLE shipments_all PARTITION OF shipments DEFAULT;
COMMENT ON TABLE shipments IS '@shard_with order_id';

-- Not referenced: its shard key may change, and its partition with it.
CREATE TABLE parts (id bigint PRIMARY KEY, label text) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
COMMENT ON TABLE parts IS '@shard_by id';

-- Rows in partitions that live with rows in partitions, which only a claim finds.
CREATE TABLE albums (id bigint PRIMARY KEY, owner bigint NOT NULL) PARTITION BY HASH (id);
CREATE TABLE albums_0 PARTITION OF albums FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE albums_1 PARTITION OF albums FOR VALUES WITH (MODULUS 2, REMAINDER 1);
COMMENT ON TABLE albums IS '@shard_by owner';
CREATE TABLE pictures (
    album bigint NOT NULL REFERENCES albums ON DELETE CASCADE,
    id bigint,
    day date,
    PRIMARY KEY (album, id, day)
) PARTITION BY RANGE (day);
CREATE TABLE pictures_2024 PARTITION OF pictures FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE pictures_other PARTITION OF pictures DEFAULT;
COMMENT ON TABLE pictures IS '@shard_with album';

CREATE TABLE holidays (country text, day date, PRIMARY KEY (country, day)) PARTITION BY LIST (country);
CREATE TABLE holidays_fr PARTITION OF holidays FOR VALUES IN ('fr');
CREATE TABLE holidays_other PARTITION OF holidays DEFAULT;
COMMENT ON TABLE holidays IS '@reference';
"""

DAYS = ("2024-05-01", "2025-05-01", "2030-05-01")
APART = pytest.mark.parametrize("other_shard", [0, 1])


def tenant(pair: Pair, shard: int) -> int:
    """A new tenant on that shard."""
    number = pair.number(shard)
    pair.insert("tenants", {"id": number})
    return number


def author(pair: Pair, shard: int) -> int:
    """A new author on that shard."""
    number = pair.number(shard)
    pair.insert("authors", {"id": number})
    return number


def entry(pair: Pair, tenant: int, day: str = DAYS[0], **columns: Any) -> dict[str, Any]:
    """A new entry of that tenant."""
    [stored] = pair.insert("entries", {"id": pair.number(0), "tenant": tenant, "day": day, **columns})
    return stored


def key_of(row: dict[str, Any]) -> dict[str, Any]:
    """The primary key of a stored entry."""
    return {"id": row["id"], "day": row["day"]}


def check_taken(pair: Pair, row: dict[str, Any]) -> None:
    """Both refuse the entry's primary key; PostgreSQL names the key of the partition, a claim that of the table."""
    with pytest.raises(UniqueViolation) as refused:
        pair.client.insert("entries", row)
    expected = pair.plain.run([requests.insert("entries", [row])])
    assert isinstance(expected, Refusal)
    assert (expected.sqlstate, expected.detail) == ("23505", refused.value.metadata["detail"])


@APART
def test_rows_of_all_partitions(pair: Pair, other_shard: int) -> None:
    tenants = tenant(pair, 0), tenant(pair, other_shard)
    rows = [
        {"id": pair.number(0), "tenant": one, "day": day, "note": f"{one} {day}"} for one in tenants for day in DAYS
    ]
    assert len(pair.insert("entries", *rows)) == len(rows)
    pair.update("entries", {"note": None}, where={"tenant": tenants[1]})
    assert len(pair.rows("entries", crosskey.in_("tenant", tenants))) == len(rows)
    assert pair.delete("entries", where={"tenant": tenants[1]}) == len(DAYS)


@APART
@pytest.mark.parametrize("day", DAYS)
def test_the_primary_key_holds_over_all_shards(pair: Pair, other_shard: int, day: str) -> None:
    """It does not hold what places its rows, so it is claimed."""
    first = entry(pair, tenant(pair, 0), day)
    other = tenant(pair, other_shard)
    check_taken(pair, {"id": first["id"], "tenant": other, "day": day})


@APART
def test_an_update_takes_a_row_to_another_partition_with_its_claims(pair: Pair, other_shard: int) -> None:
    first, second = (entry(pair, tenant(pair, shard)) for shard in (0, other_shard))
    [moved] = pair.update("entries", {"day": DAYS[1], "note": f"n{first['id']}"}, key=key_of(first))
    pair.insert("entries", {"id": first["id"], "tenant": second["tenant"], "day": DAYS[0]})
    check_taken(pair, {"id": moved["id"], "tenant": second["tenant"], "day": DAYS[1]})
    pair.update("entries", {"day": DAYS[2]}, key=key_of(moved))
    pair.insert("entries", {"id": moved["id"], "tenant": second["tenant"], "day": DAYS[1], "note": moved["note"]})


@APART
def test_parents_over_shards_of_rows_in_partitions(pair: Pair, other_shard: int) -> None:
    owner, writer = tenant(pair, 0), author(pair, other_shard)
    for day in DAYS:
        entry(pair, owner, day, author=writer)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("entries", {"id": pair.number(0), "tenant": owner, "day": DAYS[1], "author": pair.number(1)})
    [renamed] = pair.update("authors", {"id": pair.number(2)}, key={"id": writer})
    assert len(pair.rows("entries", {"author": renamed["id"]})) == len(DAYS)
    pair.delete("authors", key={"id": renamed["id"]})
    assert not pair.rows("entries", {"tenant": owner})


@APART
def test_a_row_moves_to_another_shard_whatever_its_partition(pair: Pair, other_shard: int) -> None:
    old, new, writer = tenant(pair, 0), tenant(pair, other_shard), author(pair, 2)
    rows = [entry(pair, old, day, author=writer, note=f"{old} {day}") for day in DAYS]
    pair.update("entries", {"tenant": new}, where={"tenant": old})
    pair.delete("authors", key={"id": writer})
    assert not pair.rows("entries", {"id": rows[0]["id"]})


def test_a_local_cascade_reaches_all_partitions(pair: Pair) -> None:
    owner = tenant(pair, 0)
    for day in DAYS:
        entry(pair, owner, day, note=f"{owner} {day}")
    pair.delete("tenants", key={"id": owner})
    other = tenant(pair, 1)
    for day in DAYS:
        entry(pair, other, day, note=f"{owner} {day}")


@APART
def test_children_over_shards_of_rows_in_partitions(pair: Pair, other_shard: int) -> None:
    orders = [pair.number(0) for _ in range(4)]
    pair.insert("orders", *({"id": one} for one in orders))
    refunds = [{"id": pair.number(other_shard), "order_id": one} for one in orders]
    pair.insert("refunds", *refunds)
    pair.delete("orders", where=crosskey.in_("id", orders[:2]))
    assert len(pair.rows("refunds", crosskey.in_("id", [refund["id"] for refund in refunds]))) == len(refunds)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("refunds", {"id": pair.number(other_shard), "order_id": orders[0]})
    transact(pair, delete("orders", key={"id": orders[2]}), insert("orders", {"id": orders[2], "total": 1}))


def test_local_children_of_rows_in_partitions(pair: Pair) -> None:
    orders = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("orders", *({"id": one} for one in orders))
    pair.insert("shipments", *({"id": number, "order_id": one} for one in orders for number in range(2)))
    with pytest.raises(ForeignKeyViolation):
        pair.insert("shipments", {"id": 1, "order_id": pair.number(0)})
    pair.delete("orders", where=crosskey.in_("id", orders))
    assert not pair.rows("shipments", crosskey.in_("order_id", orders))


def test_a_row_that_others_may_reference_stays_in_its_partition(pair: Pair) -> None:
    [order] = pair.insert("orders", {"id": pair.number(0)})
    with pytest.raises(NotSupported, match='"id" of "orders" tell the partition'):
        pair.client.update("orders", {"id": pair.number(0)}, key={"id": order["id"]})


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_row_that_nobody_references_goes_to_any_partition_and_shard(pair: Pair, shard: int) -> None:
    pair.insert("parts", *({"id": pair.number(0), "label": f"p{shard}"} for _ in range(3)))
    for part in pair.rows("parts", {"label": f"p{shard}"}):
        pair.update("parts", {"id": pair.number(shard)}, key={"id": part["id"]})
    assert len(pair.rows("parts", {"label": f"p{shard}"})) == 3


@APART
def test_rows_in_partitions_live_with_rows_in_partitions(pair: Pair, other_shard: int) -> None:
    albums = [pair.number(2) for _ in range(4)]
    owners = pair.number(0), pair.number(other_shard)
    pair.insert("albums", *({"id": album, "owner": owners[0]} for album in albums))
    pair.insert("pictures", *({"album": album, "id": 1, "day": day} for album in albums for day in DAYS))
    pair.update("albums", {"owner": owners[1]}, where=crosskey.in_("id", albums[:3]))
    pair.update(
        "pictures", {"album": albums[3], "id": 2}, where=[crosskey.eq("album", albums[0]), crosskey.eq("day", DAYS[0])]
    )
    with pytest.raises(ForeignKeyViolation):
        pair.insert("pictures", {"album": pair.number(2), "id": 1, "day": DAYS[0]})
    pair.delete("albums", where=crosskey.in_("id", albums[1:]))
    assert len(pair.rows("pictures", crosskey.in_("album", albums))) == len(DAYS) - 1


def test_other_faults_of_a_row(pair: Pair) -> None:
    with pytest.raises(CheckViolation):
        entry(pair, tenant(pair, 0), note="")
    with pytest.raises(CrosskeyError):
        pair.insert("entries", {"id": pair.number(0), "tenant": pair.number(0), "day": None})


@APART
def test_upserts(pair: Pair, other_shard: int) -> None:
    owners = tenant(pair, 0), tenant(pair, other_shard)
    first = entry(pair, owners[0], DAYS[1])
    again = {"id": first["id"], "day": DAYS[1], "tenant": owners[1], "note": f"again {first['id']}"}
    update, nothing = crosskey.do_update("note", on=["id", "day"]), crosskey.do_nothing(["id", "day"])
    [updated] = pair.client.insert("entries", again, on_conflict=update)
    assert (updated["tenant"], updated["note"]) == (first["tenant"], again["note"])
    pair.plain.run([requests.update("entries", {"note": again["note"]}, key=key_of(first))])
    assert pair.client.insert("entries", {**again, "day": DAYS[2]}, on_conflict=nothing).outcomes == ["INSERTED"]
    pair.plain.run([requests.insert("entries", [{**again, "day": DAYS[2]}])])


def test_a_reference_table_in_partitions(pair: Pair) -> None:
    pair.insert("holidays", {"country": "fr", "day": DAYS[0]}, {"country": "se", "day": DAYS[0]})
    pair.update("holidays", {"country": "no"}, key={"country": "fr", "day": DAYS[0]})
    assert pair.delete("holidays", where={"day": DAYS[0]}) == 2


def test_pages(pair: Pair) -> None:
    owner = tenant(pair, 0)
    rows = [entry(pair, owner, day) for day in DAYS for _ in range(3)]
    listed = list(pair.client.list("entries", {"tenant": owner}, page_size=2))
    assert sorted(row["id"] for row in listed) == sorted(row["id"] for row in rows)

"""What writes answer: the rows, or only how many; and never more than can be sent once they are committed."""

from collections.abc import Iterator, Sequence
from itertools import count, cycle, islice
from typing import Any

import grpc
import pytest

import crosskey
from crosskey import AnswerTooLarge, Client
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on

SHARDS = 2
SCHEMA = """
CREATE TABLE notes (id bigint PRIMARY KEY, code text UNIQUE, state text NOT NULL DEFAULT 'new', body text);
COMMENT ON TABLE notes IS '@shard_by id';
CREATE TABLE labels (id bigint PRIMARY KEY, state text NOT NULL DEFAULT 'new', body text);
COMMENT ON TABLE labels IS '@reference';
"""
MEBIBYTE = "x" * 2**20
ROWS = 12

_numbers = [numbers_on(shard, SHARDS) for shard in range(SHARDS)]
_labels = count(1)


@pytest.fixture(scope="module")
def client(fresh_cluster: FreshClusters) -> Iterator[Client]:
    with Client(fresh_cluster(SCHEMA, shards=SHARDS).address) as client:
        yield client


def new_notes(*shards: int, body: str = "") -> list[dict[str, Any]]:
    """A note for each of the shards, not inserted yet."""
    return [{"id": next(_numbers[shard]), "body": body} for shard in shards]


def large_notes(client: Client, shards: Sequence[int]) -> list[int]:
    """The ids of notes that are stored on these shards in turn, a mebibyte each: too many to be answered together."""
    notes = new_notes(*islice(cycle(shards), ROWS), body=MEBIBYTE)
    for note in notes:
        client.insert("notes", note, count_only=True)
    return [note["id"] for note in notes]


def states(client: Client, table: str, ids: Sequence[int]) -> set[str]:
    """The states of rows."""
    return {client.get(table, {"id": one})["state"] for one in ids}


@pytest.mark.parametrize("shards", [(0, 0, 0), (0, 1, 0)], ids=["together", "apart"])
def test_the_number_alone_is_answered_if_asked_for(client: Client, shards: tuple[int, ...]) -> None:
    notes = new_notes(*shards)
    ids = [note["id"] for note in notes]
    inserted = client.insert("notes", notes, count_only=True)
    updated = client.update("notes", {"state": "old"}, where=[crosskey.in_("id", ids)], count_only=True)
    assert [(list(answer), answer.affected) for answer in (inserted, updated)] == [([], 3)] * 2
    assert states(client, "notes", ids) == {"old"}


def test_rows_are_answered_with_their_number_otherwise(client: Client) -> None:
    notes = new_notes(0, 1)
    inserted = client.insert("notes", notes)
    updated = client.update("notes", {"state": "old"}, where=[crosskey.in_("id", [note["id"] for note in notes])])
    assert [(len(answer), answer.affected) for answer in (inserted, updated)] == [(2, 2)] * 2


@pytest.mark.parametrize("by", ["id", "code"])
def test_an_upsert_tells_outcomes_without_rows(client: Client, by: str) -> None:
    notes = [note | {"code": f"{by} {note['id']}"} for note in new_notes(0, 1, 0)]
    client.insert("notes", notes[0])
    answer = client.insert("notes", notes, on_conflict=crosskey.do_update("body", on=by), count_only=True)
    assert (list(answer), answer.affected, answer.outcomes) == ([], 3, ["UPDATED", "INSERTED", "INSERTED"])


def test_reference_tables_and_transactions_take_it_too(client: Client) -> None:
    labels = [{"id": one} for one in islice(_labels, 2)]
    inserted, updated = client.transact(
        [
            crosskey.insert("labels", labels, count_only=True),
            crosskey.update("labels", {"state": "old"}, key=labels[0], count_only=True),
        ]
    )
    assert [(list(answer), answer.affected) for answer in (inserted, updated)] == [([], 2), ([], 1)]
    assert states(client, "labels", [label["id"] for label in labels]) == {"new", "old"}
    assert client.audit() == []


@pytest.mark.parametrize("shards", [[0], [0, 1]], ids=["together", "apart"])
def test_what_cannot_be_answered_is_not_written(client: Client, shards: list[int]) -> None:
    ids = large_notes(client, shards)
    where = [crosskey.in_("id", ids)]
    with pytest.raises(AnswerTooLarge) as refused:
        client.update("notes", {"state": "old"}, where=where)
    error = refused.value
    assert (error.code, error.retryable, error.metadata["table"]) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        False,
        "notes",
    )
    assert states(client, "notes", ids) == {"new"}
    assert client.update("notes", {"state": "old"}, where=where, count_only=True).affected == ROWS
    assert states(client, "notes", ids) == {"old"}


@pytest.mark.parametrize("shards", [[0], [0, 1]], ids=["together", "apart"])
def test_all_statements_of_a_transaction_share_the_answer(client: Client, shards: list[int]) -> None:
    ids = large_notes(client, shards)
    statements = [crosskey.update("notes", {"state": "old"}, key={"id": one}) for one in ids]
    with pytest.raises(AnswerTooLarge):
        client.transact(statements)
    assert states(client, "notes", ids) == {"new"}
    client.transact(statements[: ROWS // 2])
    assert states(client, "notes", ids[: ROWS // 2]) == {"old"}


def test_a_reference_table_refuses_too(client: Client) -> None:
    ids = list(islice(_labels, ROWS))
    for one in ids:
        client.insert("labels", {"id": one, "body": MEBIBYTE}, count_only=True)
    with pytest.raises(AnswerTooLarge):
        client.update("labels", {"state": "old"}, where=[crosskey.in_("id", ids)])
    assert states(client, "labels", ids) == {"new"}

"""Scripts of nested writes: what is made, found and written, in which order. No PostgreSQL takes part."""

from __future__ import annotations

from typing import Any

import pytest

import crosskey
from crosskey import errors
from crosskey.router.planning.generated_values import GeneratedValues, stand_ins
from crosskey.router.planning.nesting.actions import (
    KEY_SHARE,
    NO_KEY_UPDATE,
    Find,
    Found,
    Generate,
    WaitForPrepared,
    Write,
)
from crosskey.router.planning.nesting.keys import any_of
from crosskey.router.planning.nesting.scripts import Request, association_step, nested_step
from crosskey.router.planning.predicates import CheckedPredicate, JoinedPredicates
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import rows_pb2
from tests.schema_builders import column, foreign_key, plan_of, table

USERS = table("users", "@shard_by id", column("id"), column("name", "text"))
PROFILES = table("profiles", "@shard_with user_id", column("user_id"), column("bio", "text"), key=("user_id",))
POSTS = table(
    "posts", "@shard_by id", column("id"), column("author_id", not_null=False), column("editor_id", not_null=False)
)
TAGS = table("tags", "@shard_by id", column("id"))
POSTS_TAGS = table("posts_tags", "@shard_with post_id", column("post_id"), column("tag_id"), key=("post_id", "tag_id"))
VIEW = SchemaView(
    plan_of(
        USERS,
        PROFILES,
        POSTS,
        TAGS,
        POSTS_TAGS,
        foreign_key("profiles", "user_id", "users"),
        foreign_key("posts", "author_id", "users"),
        foreign_key("posts", "editor_id", "users", comment="@inverse edited"),
        foreign_key("posts_tags", "post_id", "posts"),
        foreign_key("posts_tags", "tag_id", "tags"),
    ),
    3,
    "",
)

Row = dict[str, Any]


def done(request: Request, *found: Row | None) -> list[str]:
    """The actions of a request, such as "insert users 2"; `found` are the rows that are there, in order."""
    rows = list(found)
    step = (
        association_step(VIEW, request)
        if isinstance(request, crosskey.v1.router_pb2.AssociateRequest)
        else nested_step(VIEW, request)
    )
    assert step is not None
    script = step.begin()
    answer: Any = None
    actions: list[str] = []
    while True:
        try:
            action = script.send(answer)
        except StopIteration:
            return actions
        match action:
            case Generate():
                answer = GeneratedValues({one.name: stand_ins(one, count) for one, count in action.need.columns})
            case Find():
                locks = {KEY_SHARE: "share", NO_KEY_UPDATE: "lock"}
                actions += [f"{locks[one.lock]} {one.table.table.name}" for one in action.rows]
                answer = [_found(rows.pop(0)) for _ in action.rows]
            case WaitForPrepared():
                actions.append(f"wait for {len(action.shards)} shards")
                answer = None
            case Write():
                actions.append(f"{action.kind} {action.table.table.name} {len(action.rows)}")
                answer = max(1, len(action.rows))


def _found(row: Row | None) -> Found | None:
    return None if row is None else Found(b"{}", {name: str(value) for name, value in row.items()}, 0)


def test_parents_come_first_and_children_last_by_one_statement_a_table() -> None:
    post: Row = {"id": 1, "author": {"create": {"id": 5, "name": "a", "profiles": {"create": {"bio": "b"}}}}}
    tags = {"create": [{"id": 7}, {"id": 8}], "connect": {"id": 9}}
    assert done(crosskey.insert("posts", [{**post, "tags": tags}, {"id": 2, "tags": {"connect": {"id": 9}}}])) == [
        "insert users 1",
        "insert profiles 1",
        "insert posts 2",
        "insert tags 2",
        "insert posts_tags 4",
    ]


def test_only_what_may_be_there_is_looked_up() -> None:
    author = {"connect_or_create": {"where": {"id": 5}, "create": {"id": 5, "name": "a"}}}
    request = crosskey.insert("posts", {"id": 1, "author": author})
    assert done(request, None) == ["share users", "insert users 1", "insert posts 1"]
    assert done(request, {"id": 5}) == ["share users", "insert posts 1"]


def test_children_are_locked_before_they_get_another_parent() -> None:
    request = crosskey.update("users", {"posts": {"connect": [{"id": 1}, {"id": 2}]}}, key={"id": 5})
    mine, other = {"author_id": 5}, {"author_id": 6}
    assert done(request, {"id": 5}, mine, other) == ["lock users", "lock posts", "lock posts", "update posts 1"]
    assert done(request, {"id": 5}, mine, mine) == ["lock users", "lock posts", "lock posts"]
    assert done(request, None) == ["lock users"]


def test_what_goes_makes_room_for_what_comes() -> None:
    change = {"create": {"id": 3}, "delete": {"id": 1}, "disconnect": {"id": 2}}
    assert done(crosskey.update("users", {"edited": change}, key={"id": 5}), {"id": 5}) == [
        "lock users",
        "update posts 1",
        "delete posts 0",
        "insert posts 1",
    ]


def test_before_all_others_go_what_is_prepared_where_they_may_be_is_waited_for() -> None:
    mine = {"author_id": 5}
    waited = ["lock users", "wait for 3 shards", "update posts 1"]
    request = crosskey.associate("users", {"id": 5}, "posts", "replace", [{"id": 1}])
    assert done(request, {"id": 5}, mine) == [*waited, "lock posts"]
    assert done(crosskey.associate("users", {"id": 5}, "posts", "clear"), {"id": 5}) == waited
    assert done(crosskey.update("users", {"posts": {"set": []}}, key={"id": 5}), {"id": 5}) == waited
    request = crosskey.associate("tags", {"id": 7}, "posts", "replace", [{"id": 1}])
    assert done(request, {"id": 7}) == ["lock tags", "wait for 3 shards", "delete posts_tags 0", "insert posts_tags 1"]
    request = crosskey.associate("tags", {"id": 7}, "posts", "clear")
    assert done(request, {"id": 7}) == ["lock tags", "wait for 3 shards", "delete posts_tags 0"]


def test_an_association_locks_its_row_first() -> None:
    request = crosskey.associate("posts", {"id": 1}, "tags", "replace", [{"id": 7}, {"id": 8}])
    assert done(request, {"id": 1}) == ["lock posts", "delete posts_tags 0", "insert posts_tags 2"]
    request = crosskey.associate("posts", {"id": 1}, "author", "clear")
    assert done(request, {"author_id": 5}) == ["lock posts", "update posts 1"]


def test_rows_that_differ_in_one_column_are_one_list() -> None:
    post, tag = POSTS_TAGS.columns
    equal = rows_pb2.Predicate.EQ

    def key(post_id: int, tag_id: int) -> tuple[CheckedPredicate, ...]:
        return CheckedPredicate(post, equal, post_id), CheckedPredicate(tag, equal, tag_id)

    of_one = any_of([key(1, number) for number in range(1000)])
    assert of_one == (key(1, 0)[0], CheckedPredicate(tag, rows_pb2.Predicate.IN, [*range(1000)]))
    [joined] = any_of([key(1, 7), key(2, 7), key(3, 8)])
    assert isinstance(joined, JoinedPredicates)
    in_two = (CheckedPredicate(post, rows_pb2.Predicate.IN, [1, 2]), key(1, 7)[1])
    assert [part.parts for part in joined.parts if isinstance(part, JoinedPredicates)] == [in_two, key(3, 8)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"profiles": {"set": []}}, 'takes create, connect, .*, delete; "set" is for relations to many rows'),
        ({"posts": {"set": {"id": 1}}}, "takes an array for set"),
        ({"posts": {"update": {"id": 1}}}, "takes an object with the objects where, data for update"),
        ({"posts": {"upsert": {"where": {"id": 1}, "create": {}}}}, "where, create, update for upsert"),
        ({"posts": {"create": 3}}, "takes an object for create"),
        ({"posts": {"set": [], "delete_detached": 1}}, "takes true or false for delete_detached"),
        ({"profiles": {"delete": False}}, "takes true for delete"),
        ({"posts": {"connect": {"author_id": 1}}}, r"the key of a row of \"posts\" is \(id\), not \(author_id\)"),
        ({"profiles": {"disconnect": True}}, "cannot be detached"),
    ],
)
def test_what_is_refused(values: Row, says: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=says):
        done(crosskey.update("users", values, key={"id": 5}), {"id": 5})

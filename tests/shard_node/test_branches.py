"""Branches of single nodes, without any router: how they begin, go on and end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg
import pytest

from crosskey import errors
from crosskey.internal.v1 import effects_pb2, reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.local_cluster.cluster import LocalCluster
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import (
    CHECK,
    START,
    Effect,
    HandCoordinator,
    add_shadows,
    apply,
    claim_values,
    commit,
    delete,
    effects_by_shard,
    expect_claims,
    insert,
    pin,
    prepare,
    savepoint,
    update,
)
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import as_superuser, prepared, query, wait_for_waiters, wait_until_quiet

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, label text);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (
    id bigint PRIMARY KEY,
    parent bigint REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE children IS '@shard_by id';
CREATE TABLE media (id bigint PRIMARY KEY, owner_id bigint NOT NULL);
COMMENT ON TABLE media IS '@shard_by owner_id';
CREATE TABLE comments (id bigint PRIMARY KEY, media_id bigint NOT NULL REFERENCES media);
COMMENT ON TABLE comments IS '@shard_with media_id';
CREATE TABLE accounts (id bigint PRIMARY KEY, username text UNIQUE);
COMMENT ON TABLE accounts IS '@shard_by id';

-- Counts the statements that delete parents, also those that are rolled back.
CREATE SEQUENCE deletes;
CREATE FUNCTION count_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.deletes');
    RETURN NULL;
END
$$;
CREATE TRIGGER count_delete AFTER DELETE ON parents FOR EACH STATEMENT EXECUTE FUNCTION count_delete();
"""

KEY = "public.parents(id)"
MEDIA_CLAIM = "public.media_pkey"
CLAIM = "public.accounts_username_key"
HERE, THERE, _ = range(SHARDS)

_numbers = [numbers_on(shard) for shard in range(SHARDS)]


def new(shard: int) -> int:
    """A key that no test has used."""
    return next(_numbers[shard])


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Nodes, and nobody who calls them."""
    return fresh_cluster(routers=0, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "1000"})


@pytest.fixture(scope="module")
def hand(cluster: LocalCluster) -> Iterator[HandCoordinator]:
    hand = HandCoordinator(cluster)
    hand.install(SCHEMA)
    yield hand
    hand.close()
    assert prepared(cluster) == []
    for shard in range(SHARDS):
        wait_until_quiet(cluster, shard)
        assert query(cluster, shard, "SELECT kind FROM crosskey.effect") == []


def stored(cluster: LocalCluster, shard: int, table: str, number: int) -> bool:
    """Whether a row is there."""
    return query(cluster, shard, f"SELECT id FROM {table} WHERE id = %s", number) != []


def parent_with_child(hand: HandCoordinator) -> tuple[int, int]:
    """A parent on HERE that is pinned for THERE, and its child."""
    parent, child, gid = new(HERE), new(THERE), hand.gid(home=THERE)
    hand.execute(HERE, insert("parents", {"id": parent}), commit())
    hand.execute(HERE, pin(KEY, THERE, {"id": parent}), prepare(gid, HERE))
    row = {"id": child, "parent": parent}
    assert hand.execute(THERE, add_shadows(KEY, {"id": parent}), insert("children", row), CHECK, commit(gid)).finished
    hand.finish(gid, HERE, commit=True)
    return parent, child


def kinds(results: list[proto.CommandResult]) -> list[str]:
    """The kinds of all effects."""
    return [effect.WhichOneof("effect") or "" for result in results for effect in result.effects]


def tagged(tag: str, command: proto.Command) -> proto.Command:
    """The command with a tag."""
    copy = proto.Command(tag=tag)
    copy.MergeFrom(command)
    return copy


# Beginning.


@pytest.mark.parametrize("start", [START.START_PLAIN, START.START_ALONE])
def test_statements_that_concern_one_shard_are_committed_at_once(
    cluster: LocalCluster, hand: HandCoordinator, start: START.Start.ValueType
) -> None:
    first, second = new(HERE), new(HERE)
    commands = [tagged("a", insert("parents", {"id": first})), CHECK, tagged("b", insert("parents", {"id": second}))]
    response = hand.execute(HERE, *commands, CHECK, commit(), start=start)
    assert response.finished
    assert [(result.tag, result.count) for result in response.results] == [("a", 1), ("b", 1)]
    assert msgspec.json.decode(response.results[0].rows_json) == [{"id": str(first), "label": None}]
    assert stored(cluster, HERE, "parents", first)
    assert stored(cluster, HERE, "parents", second)


def test_what_a_plain_branch_cannot_tell_is_run_with_effects(hand: HandCoordinator) -> None:
    parent, _ = parent_with_child(hand)
    response = hand.execute(HERE, delete("parents", id=parent), CHECK, commit(), start=START.START_PLAIN)
    assert not response.finished
    assert kinds(list(response.results)) == ["delete_shadows"]


def test_a_plain_branch_takes_nothing_else(cluster: LocalCluster, hand: HandCoordinator) -> None:
    number = new(HERE)
    for commands in (
        [insert("parents", {"id": number})],
        [pin(KEY, THERE, {"id": number}), commit()],
        [insert("parents", {"id": number}), commit(hand.gid(home=HERE))],
        [],
    ):
        with pytest.raises(errors.InvalidRequest):
            hand.execute(HERE, *commands, start=START.START_PLAIN)
    assert not stored(cluster, HERE, "parents", number)


def test_a_branch_that_is_alone_applies_what_is_here(cluster: LocalCluster, hand: HandCoordinator) -> None:
    parent, children, other = new(HERE), [new(HERE) for _ in range(2)], new(HERE)
    hand.execute(HERE, insert("parents", {"id": parent}), commit())
    rows = [{"id": child, "parent": parent} for child in children]
    assert hand.execute(HERE, insert("children", *rows), CHECK, commit()).finished
    assert hand.execute(HERE, update("parents", {"id": other}, id=parent), CHECK, commit()).finished
    statement = "SELECT DISTINCT parent FROM children WHERE id = ANY(%s)"
    assert query(cluster, HERE, statement, children) == [(other,)]
    assert hand.execute(HERE, delete("parents", id=other), CHECK, commit()).finished
    assert query(cluster, HERE, statement, children) == []


def test_new_keys_of_one_of_several_are_answered_for_its_own_shard_too(hand: HandCoordinator) -> None:
    parent = new(HERE)
    hand.execute(
        HERE, insert("parents", {"id": parent}), insert("children", {"id": new(HERE), "parent": parent}), commit()
    )
    change = update("parents", {"id": new(HERE)}, id=parent)
    with hand.branch(HERE) as branch:
        assert list(effects_by_shard(branch.run(change))) == [HERE]
    assert hand.execute(HERE, change, CHECK, commit()).finished


def test_alone_new_keys_are_applied_here_although_others_have_some_too(hand: HandCoordinator) -> None:
    """So whoever is at work on a child here is waited for first, as on one PostgreSQL."""
    parent, _ = parent_with_child(hand)
    hand.execute(HERE, insert("children", {"id": new(HERE), "parent": parent}), commit())
    response = hand.execute(HERE, update("parents", {"id": new(HERE)}, id=parent), CHECK, commit())
    effects = effects_by_shard(response.results)
    assert {shard: [effect.WhichOneof("effect") for effect in some] for shard, some in effects.items()} == {
        THERE: ["rekey_shadows"]
    }


# Going on.


def test_a_delete_with_children_elsewhere_stays_open_and_runs_once(
    cluster: LocalCluster, hand: HandCoordinator
) -> None:
    parent, child = parent_with_child(hand)
    counted = "SELECT nextval('deletes')"
    [(before,)] = query(cluster, HERE, counted)
    gid = hand.gid(home=HERE)
    with hand.branch(HERE) as home, hand.branch(THERE) as other:
        answer = home.answer(tagged("d", delete("parents", id=parent)), CHECK, commit(), start=START.START_ALONE)
        assert not answer.finished
        [result] = answer.results
        assert (result.tag, result.count) == ("d", 1)
        [effect] = result.effects
        assert (effect.shard, effect.origin, effect.WhichOneof("effect")) == (THERE, HERE, "delete_shadows")
        assert other.run(apply(effect)) == []
        assert other.answer(CHECK, prepare(gid, THERE)).finished
        assert home.answer(CHECK, commit(gid)).finished
    hand.finish(gid, THERE, commit=True)
    hand.forget(gid)
    assert not stored(cluster, HERE, "parents", parent)
    assert not stored(cluster, THERE, "children", child)
    # One by the statement, one by the look.
    assert query(cluster, HERE, counted) == [(before + 2,)]


def test_the_rest_of_a_statement_is_run_and_what_checks_it_is_not(hand: HandCoordinator) -> None:
    (first, _), (second, _) = parent_with_child(hand), parent_with_child(hand)
    taken = new(HERE)
    with hand.branch(HERE) as home:
        commands = [delete("parents", id=first), delete("parents", id=second), CHECK, insert("parents", {"id": taken})]
        answer = home.answer(*commands, commit(), start=START.START_ALONE)
        assert kinds(list(answer.results)) == ["delete_shadows", "delete_shadows"]
        assert [result.count for result in home.run(insert("parents", {"id": taken}))] == [1]


def test_a_pin_for_another_shard_answers_its_shadows_and_is_prepared(hand: HandCoordinator) -> None:
    parent, absent, gid = new(HERE), new(HERE), hand.gid(home=THERE)
    hand.execute(HERE, insert("parents", {"id": parent}), commit())
    command = tagged("p", pin(KEY, THERE, {"id": parent}, {"id": absent}))
    response = hand.execute(HERE, command, prepare(gid, HERE))
    assert response.finished
    [result] = response.results
    assert result.tag == "p"
    assert result.parents_absent
    [effect] = result.effects
    assert (effect.shard, effect.origin) == (THERE, HERE)
    assert msgspec.json.decode(effect.add_shadows.keys_json) == [{"id": parent}]
    hand.finish(gid, HERE, commit=False)


def test_parents_that_come_later_in_the_same_branch_are_found(hand: HandCoordinator) -> None:
    parent = new(HERE)
    rows = insert("children", {"id": new(HERE), "parent": parent}), insert("parents", {"id": parent})
    assert hand.execute(HERE, *rows, CHECK, commit()).finished


def test_a_claim_that_was_expected_is_no_effect(hand: HandCoordinator) -> None:
    username, gid = "expected", hand.gid(home=HERE)
    row = insert("accounts", {"id": new(HERE), "username": username})
    [claim] = [effect for result in hand.execute(HERE, row, CHECK, commit()).results for effect in result.effects] or [
        Effect(shard=HERE)
    ]
    if claim.shard == HERE:
        pytest.skip("the value is claimed on its own shard")
    values = {"username": username}
    hand.execute(claim.shard, claim_values(CLAIM, HERE, values), prepare(gid, claim.shard))
    unmet = hand.execute(
        HERE, expect_claims(CLAIM, values, {"username": "other"}), row, CHECK, tagged("c", commit(gid))
    )
    assert not unmet.finished
    assert [(result.tag, len(result.effects)) for result in unmet.results] == [("", 0), ("c", 0)]
    assert hand.execute(HERE, expect_claims(CLAIM, values), row, CHECK, commit(gid)).finished
    hand.finish(gid, claim.shard, commit=True)
    hand.forget(gid)


def test_rows_that_belong_elsewhere_are_taken_out_when_they_are_asked_for(hand: HandCoordinator) -> None:
    here, there = new(HERE), new(THERE)
    hand.execute(HERE, insert("parents", {"id": here, "label": "moves"}), commit())
    with hand.branch(HERE) as home:
        [result] = home.run(update("parents", {"id": there}, id=here), CHECK, commit(), start=START.START_ALONE)
        [displaced] = [effect for effect in result.effects if effect.HasField("take_out_displaced")]
        assert (displaced.shard, displaced.origin) == (HERE, HERE)
        [taken_out] = home.run(apply(displaced))
    [place] = [effect for effect in taken_out.effects if effect.HasField("place_rows")]
    assert place.shard == THERE
    assert msgspec.json.decode(place.place_rows.rows_json) == [{"id": str(there), "label": "moves"}]
    assert hand.execute(THERE, apply(place), CHECK, commit()).finished


def test_rows_follow_their_anchors_as_the_claims_say(hand: HandCoordinator) -> None:
    """Of two, one is claimed nowhere."""
    media, comment, absent = new(HERE), new(HERE), new(HERE)
    with hand.branch(THERE) as anchors, hand.branch(HERE) as home:
        anchors.run(insert("media", {"id": media, "owner_id": new(THERE)}))
        rows = {"id": comment, "media_id": media}, {"id": new(HERE), "media_id": absent}
        [inserted] = home.run(insert("comments", *rows), CHECK, commit(), start=START.START_ALONE)
        found = [one for effect in inserted.effects for one in _found_on(hand, effect, media)]
        follow = [effect for effect in found if effect.HasField("follow_anchors")]
        [again] = [effect for effect in found if effect.HasField("find_anchors")]
        assert (again.origin, msgspec.json.decode(again.find_anchors.values_json)) == (HERE, [{"id": absent}])
        [one] = follow
        assert (one.shard, list(one.follow_anchors.shards)) == (HERE, [THERE])
        [taken_out] = home.run(apply(one))
        [place] = [effect for effect in taken_out.effects if effect.HasField("place_rows")]
        assert place.shard == THERE
        anchors.run(apply(place))
        anchored = anchors.run(update("comments", {"media_id": media}, id=comment))
        assert [result.count for result in anchored] == [1]


def _found_on(hand: HandCoordinator, effect: Effect, media: int) -> list[Effect]:
    """What comes of an effect on the shard of the claims, where the media is claimed for THERE."""
    keys = {key["id"] for key in msgspec.json.decode(effect.find_anchors.values_json)}
    with hand.branch(effect.shard) as claims:
        if media in keys:
            claims.run(claim_values(MEDIA_CLAIM, THERE, {"id": media}))
        [result] = claims.run(apply(effect))
        assert result.parents_absent == (keys != {media})
        return list(result.effects)


def test_an_effect_that_cannot_be_applied(hand: HandCoordinator) -> None:
    for effect in (Effect(), Effect(locked_too_late=effects_pb2.LockedTooLate())):
        with pytest.raises(errors.InvalidRequest, match="cannot be applied"):
            hand.execute(HERE, apply(effect), commit())


# Failing.


@pytest.mark.parametrize("start", [START.START_PLAIN, START.START_ALONE, START.START_UNSPECIFIED])
def test_an_error_brings_the_tag_of_its_command_back(hand: HandCoordinator, start: START.Start.ValueType) -> None:
    taken = new(HERE)
    hand.execute(HERE, insert("parents", {"id": taken}), commit())
    fresh, failing = insert("parents", {"id": new(HERE)}), insert("parents", {"id": taken})
    with pytest.raises(errors.UniqueViolation) as caught:
        hand.execute(HERE, tagged("0", fresh), CHECK, tagged("1", failing), CHECK, commit(), start=start)
    assert caught.value.metadata["tag"] == "1"
    assert caught.value.metadata["table"] == "parents"
    with pytest.raises(errors.UniqueViolation) as caught:
        hand.execute(HERE, failing, commit(), start=start)
    assert "tag" not in caught.value.metadata


def test_an_error_of_a_check_has_the_checks_tag(hand: HandCoordinator) -> None:
    orphan = insert("children", {"id": new(HERE), "parent": new(HERE)})
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        hand.execute(HERE, tagged("0", orphan), tagged("checked", CHECK), tagged("1", commit()))
    assert caught.value.metadata["tag"] == "checked"


def test_a_branch_that_failed_is_forgotten(cluster: LocalCluster, hand: HandCoordinator) -> None:
    taken, rolled_back = new(HERE), new(HERE)
    hand.execute(HERE, insert("parents", {"id": taken}), commit())
    with hand.branch(HERE) as branch:
        branch.run(insert("parents", {"id": rolled_back}))
        with pytest.raises(errors.UniqueViolation):
            branch.run(insert("parents", {"id": taken}))
        wait_until_quiet(cluster, HERE)
        branch.session.call(leave=proto.LeaveRequest(branch=1))
    assert not stored(cluster, HERE, "parents", rolled_back)


def test_a_branch_that_is_gone_is_not_begun_again_halfway(cluster: LocalCluster, hand: HandCoordinator) -> None:
    first, second = new(HERE), new(HERE)
    with hand.branch(HERE) as branch:
        branch.run(insert("parents", {"id": first}))
        branch.session.call(leave=proto.LeaveRequest(branch=1))
        with pytest.raises(errors.Conflict, match="gone with the connection"):
            branch.answer(insert("parents", {"id": second}), commit(), start=START.START_GO_ON)
    assert not stored(cluster, HERE, "parents", first)
    assert not stored(cluster, HERE, "parents", second)


def test_behind_a_savepoint_an_error_is_answered_and_the_branch_goes_on(hand: HandCoordinator) -> None:
    taken, kept = new(HERE), new(HERE)
    hand.execute(HERE, insert("parents", {"id": taken}), commit())
    fresh, failing = insert("parents", {"id": kept}), insert("parents", {"id": taken})
    with hand.branch(HERE) as branch:
        answer = branch.answer(
            savepoint("SET"), tagged("fresh", fresh), tagged("failing", failing), tagged("not", fresh)
        )
        assert [result.tag for result in answer.results] == ["fresh"]
        assert answer.failure.metadata["tag"] == "failing"
        answer = branch.answer(savepoint("ROLL_BACK"), tagged("again", fresh), commit())
        assert answer.finished
        assert [result.tag for result in answer.results] == ["again"]


def test_a_finished_branch_makes_room_for_another_of_its_number(hand: HandCoordinator) -> None:
    with hand.branch(HERE) as branch:
        assert branch.answer(insert("parents", {"id": new(HERE)}), commit()).finished
        branch.session.call(leave=proto.LeaveRequest(branch=1))
        assert branch.answer(insert("parents", {"id": new(HERE)}), commit()).finished


# Ending.


@pytest.mark.parametrize("end", ["leave", "die", "leave branch"])
def test_a_branch_is_rolled_back_when_it_is_left_or_its_session_ends(
    cluster: LocalCluster, hand: HandCoordinator, end: str
) -> None:
    number = new(HERE)
    with hand.branch(HERE) as branch:
        branch.run(insert("parents", {"id": number}))
        match end:
            case "leave":
                branch.leave()
            case "die":
                branch.die()
            case _:
                branch.session.call(leave=proto.LeaveRequest(branch=1))
        wait_until_quiet(cluster, HERE)
    assert not stored(cluster, HERE, "parents", number)


def test_a_session_that_breaks_off_stops_what_waits(cluster: LocalCluster, hand: HandCoordinator) -> None:
    number = new(HERE)
    hand.execute(HERE, insert("parents", {"id": number}), commit())
    with as_superuser(cluster, HERE) as other, other.transaction(), ThreadPoolExecutor() as background:
        other.execute("SELECT FROM parents WHERE id = %s FOR UPDATE", (number,))
        with hand.branch(HERE) as branch:
            waiting = background.submit(branch.run, delete("parents", id=number))
            wait_for_waiters(cluster, HERE)
            branch.die()
            wait_until_quiet_but_for(other)
        with pytest.raises(errors.CrosskeyError):
            waiting.result()


def wait_until_quiet_but_for(other: psycopg.Connection) -> None:
    """No node's statement waits any more."""
    statement = "SELECT pid FROM pg_stat_activity WHERE application_name = 'crosskey' AND wait_event_type = 'Lock'"
    eventually(lambda: not other.execute(statement).fetchall(), "nothing waits")


def test_a_cancelled_run_rolls_its_branch_back(cluster: LocalCluster, hand: HandCoordinator) -> None:
    number, locked = new(HERE), new(HERE)
    hand.execute(HERE, insert("parents", {"id": locked}), commit())
    with as_superuser(cluster, HERE) as other, other.transaction(), hand.branch(HERE) as branch:
        other.execute("SELECT FROM parents WHERE id = %s FOR UPDATE", (locked,))
        branch.run(insert("parents", {"id": number}))
        call, _ = branch.session.begin(run=proto.RunRequest(branch=1, commands=[delete("parents", id=locked)]))
        wait_for_waiters(cluster, HERE)
        branch.session.cancel(call)
        branch.session.call(leave=proto.LeaveRequest(branch=1))
        # Nobody holds its key any more.
        assert hand.execute(HERE, insert("parents", {"id": number}), commit()).finished


def test_other_calls_go_on_beside_one_that_waits(cluster: LocalCluster, hand: HandCoordinator) -> None:
    locked = new(HERE)
    hand.execute(HERE, insert("parents", {"id": locked}), commit())
    with as_superuser(cluster, HERE) as other, other.transaction(), hand.branch(HERE) as branch:
        other.execute("SELECT FROM parents WHERE id = %s FOR UPDATE", (locked,))
        _, waiting = branch.session.begin(run=proto.RunRequest(branch=7, commands=[delete("parents", id=locked)]))
        wait_for_waiters(cluster, HERE)
        assert branch.session.call(count_rows=reads_pb2.CountRowsRequest(table="public.parents")).count > 0
        assert branch.answer(insert("parents", {"id": new(HERE)}), commit()).finished
        assert not waiting.done()


def test_calls_for_another_shard_are_refused(hand: HandCoordinator) -> None:
    session = hand.session(HERE)
    session.shard = THERE
    with pytest.raises(errors.WrongShard):
        session.call(count_rows=reads_pb2.CountRowsRequest(table="public.parents"))
    session.die()


def test_reads_name_the_table_of_their_errors(hand: HandCoordinator) -> None:
    session = hand.session(HERE)
    wrong = reads_pb2.CountRowsRequest(table="public.parents")
    wrong.where.add(column="id", value_json=b'"x"')
    with pytest.raises(errors.InvalidValue) as caught:
        session.call(count_rows=wrong)
    assert caught.value.metadata["table"] == "parents"
    with pytest.raises(errors.UnknownTable):
        session.call(count_rows=reads_pb2.CountRowsRequest(table="public.none"))
    session.leave()

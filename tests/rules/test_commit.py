"""The commit of a distributed transaction: who decides, who finishes, and what stays out of it."""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from crosskey import errors, requests
from crosskey.catalog.slots import mint_uuid
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.gids import Gid
from crosskey.router.committing.resolver import Resolver
from tests.eventually import eventually
from tests.hand_coordinator import add_shadows, commit, insert, pin, prepare
from tests.rules.setting import CASCADE, Setting
from tests.shard_sql import as_superuser, prepared, query, wait_for_waiters

RACING_FINISHERS = 8
TOO_OLD_MS = 3_600_000

_SYNCHRONOUS = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'COMMIT PREPARED%%'
"""
_HELD_UP = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%%held_up'"
_NOTE_DECISIONS = """
CREATE TABLE decided_with (gid text, synchronous_commit text);
CREATE FUNCTION note_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.decided_with VALUES (NEW.gid, current_setting('synchronous_commit'));
    RETURN NEW;
END
$$;
GRANT INSERT ON decided_with TO PUBLIC;
CREATE TRIGGER note_decision BEFORE INSERT ON crosskey.decision FOR EACH ROW EXECUTE FUNCTION note_decision();
"""


class FirstReference:
    """A child on shard 1 of a parent on shard 0, as far as the pin."""

    def __init__(self, setting: Setting, gid: Gid | None = None) -> None:
        self._setting = setting
        self.gid = gid or setting.hand.gid(home=1)
        self.parent = setting.parent_on(0)
        self.child = setting.child(1, self.parent)

    def prepare_pin(self) -> None:
        """The first step."""
        self._setting.hand.execute(0, pin(CASCADE.referenced_key, 1, {"id": self.parent}), prepare(self.gid, 0))

    def commit_at_home(self) -> None:
        """The second step, and the commit point."""
        shadow = add_shadows(CASCADE.referenced_key, {"id": self.parent})
        self._setting.hand.execute(1, shadow, insert(CASCADE.children, self.child), commit(self.gid))

    def finish(self, *, as_commit: bool = True) -> None:
        """The third step."""
        self._setting.hand.finish(self.gid, 0, commit=as_commit)

    def left_no_trace(self) -> bool:
        """Whether no child, shadow or pin is there."""
        setting, parent = self._setting, self.parent
        return not (setting.children_of(parent) or setting.shadowed_on(parent) or setting.pinned_for(parent))


@pytest.fixture
def reference(setting: Setting) -> Iterator[FirstReference]:
    yield FirstReference(setting)
    eventually(lambda: not prepared(setting.cluster), "everything is finished")


def test_a_coordinator_that_was_paused_finds_its_transaction_aborted_for_good(
    setting: Setting, reference: FirstReference
) -> None:
    reference.prepare_pin()
    assert setting.hand.decide(reference.gid) == "ABORTED"
    reference.finish(as_commit=False)
    setting.hand.forget(reference.gid)
    for _ in range(2):
        with pytest.raises(errors.Conflict):
            reference.commit_at_home()
    assert setting.hand.decide(reference.gid, peek=True) == "ABORTED"
    assert reference.left_no_trace()


def test_a_transaction_older_than_any_kept_decision_cannot_commit(setting: Setting) -> None:
    milliseconds = (mint_uuid(0).int >> 80) - TOO_OLD_MS
    identifier = uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62).hex
    reference = FirstReference(setting, Gid(setting.hand.cluster_name, 1, identifier))
    with pytest.raises(errors.Conflict, match="too old"):
        reference.commit_at_home()
    assert setting.hand.decide(reference.gid, peek=True) == "UNDECIDED"
    assert reference.left_no_trace()


@pytest.mark.parametrize("aborted", [False, True])
def test_a_commit_waits_for_a_resolver_that_is_deciding(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor, aborted: bool
) -> None:
    reference.prepare_pin()
    with as_superuser(setting.cluster, 1) as resolver:
        with resolver.transaction(force_rollback=not aborted):
            resolver.execute("INSERT INTO crosskey.decision VALUES (%s, false)", (str(reference.gid),))
            deciding = background.submit(reference.commit_at_home)
            wait_for_waiters(setting.cluster, 1)
        assert isinstance(deciding.exception(), errors.Conflict) == aborted
    reference.finish(as_commit=not aborted)
    assert reference.left_no_trace() == aborted


def test_a_resolver_waits_for_a_commit_that_is_under_way(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor
) -> None:
    with as_superuser(setting.cluster, 1) as home:
        with home.transaction():
            home.execute("INSERT INTO crosskey.decision VALUES (%s, true)", (str(reference.gid),))
            asking = background.submit(setting.hand.decide, reference.gid)
            wait_for_waiters(setting.cluster, 1)
        assert asking.result() == "COMMITTED"


def test_a_patient_resolver_aborts_nothing_that_home_is_at_work_on(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor
) -> None:
    """However long its statements take: what is prepared elsewhere may be older than a resolver waits by then."""
    reference.prepare_pin()
    with as_superuser(setting.cluster, 1) as other:
        with other.transaction():
            other.execute(f"LOCK TABLE {CASCADE.children} IN EXCLUSIVE MODE")
            committing = background.submit(reference.commit_at_home)
            wait_for_waiters(setting.cluster, 1)
            assert setting.hand.decide(reference.gid, patient=True) == "UNDECIDED"
        committing.result()
    assert setting.hand.decide(reference.gid, patient=True) == "COMMITTED"
    reference.finish()


def test_a_patient_resolver_aborts_what_nobody_is_at_work_on(setting: Setting, reference: FirstReference) -> None:
    reference.prepare_pin()
    assert setting.hand.decide(reference.gid, patient=True) == "ABORTED"
    reference.finish(as_commit=False)


def test_a_resolver_leaves_what_home_is_at_work_on(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor
) -> None:
    async def resolve() -> None:
        nodes = Nodes.behind([node.address for node in setting.cluster.nodes])
        await Resolver(nodes, interval_ms=1, min_age_ms=0).resolve_once()
        await nodes.close()

    reference.prepare_pin()
    with as_superuser(setting.cluster, 1) as other:
        with other.transaction():
            other.execute(f"LOCK TABLE {CASCADE.children} IN EXCLUSIVE MODE")
            committing = background.submit(reference.commit_at_home)
            wait_for_waiters(setting.cluster, 1)
            asyncio.run(resolve())
            assert reference.gid.branch(0) in prepared(setting.cluster)
        committing.result()
    asyncio.run(resolve())
    assert not reference.left_no_trace()


def test_a_commit_decision_is_forgotten_when_it_is_told_to_be(setting: Setting, reference: FirstReference) -> None:
    reference.prepare_pin()
    reference.commit_at_home()
    reference.finish()
    assert setting.hand.decide(reference.gid, peek=True) == "COMMITTED"
    setting.hand.forget(reference.gid)
    assert setting.hand.decide(reference.gid, peek=True) == "UNDECIDED"


def test_of_racing_finishers_each_succeeds_or_is_told_to_try_again(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor
) -> None:
    reference.prepare_pin()
    reference.commit_at_home()
    racing = [background.submit(reference.finish) for _ in range(RACING_FINISHERS)]
    ends = [finisher.exception() for finisher in racing]
    assert None in ends
    assert all(end is None or isinstance(end, errors.Conflict) for end in ends)
    assert setting.pinned_for(reference.parent) == {1}


def test_what_is_finished_stays_as_it_is(setting: Setting, reference: FirstReference) -> None:
    reference.prepare_pin()
    reference.commit_at_home()
    reference.finish()
    reference.finish()
    reference.finish(as_commit=False)
    assert setting.pinned_for(reference.parent) == {1}


def test_a_finisher_is_told_when_another_one_is_at_work(
    setting: Setting, reference: FirstReference, background: ThreadPoolExecutor
) -> None:
    """COMMIT PREPARED is held up by a standby that does not exist."""
    reference.prepare_pin()
    reference.commit_at_home()
    with as_superuser(setting.cluster, 0) as server:
        _wait_for_standby(server, "nobody")
        try:
            # Commits wait once the checkpointer has read the configuration, which nobody else can tell.
            _commit_until_one_waits(setting, background)
            first = background.submit(reference.finish)
            eventually(lambda: query(setting.cluster, 0, _SYNCHRONOUS) == [(1,)], "the first finisher is at work")
            with pytest.raises(errors.Conflict, match="being finished by someone else"):
                reference.finish()
        finally:
            _wait_for_standby(server, "")
        assert first.result() is None


def _wait_for_standby(server: psycopg.Connection, standby: str) -> None:
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
    server.execute("SELECT pg_reload_conf()")
    setting_text = "SELECT current_setting('synchronous_standby_names')"
    eventually(lambda: server.execute(setting_text).fetchone() == (standby,), "the configuration is reloaded")


def _commit_until_one_waits(setting: Setting, background: ThreadPoolExecutor) -> None:
    def commit() -> None:
        with as_superuser(setting.cluster, 0) as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'probe', '') AS held_up")

    def one_waits() -> bool:
        if probes[-1].done():
            probes.append(background.submit(commit))
        return query(setting.cluster, 0, _HELD_UP) == [(1,)]

    probes = [background.submit(commit)]
    eventually(one_waits, "a commit is held up")


def test_a_decision_is_flushed_even_if_the_user_commits_in_haste(setting: Setting) -> None:
    with as_superuser(setting.cluster, 0) as home:
        home.execute(_NOTE_DECISIONS)
    setting.client.insert("hasty", [{"id": setting.number_on(shard)} for shard in (0, 1)])
    with as_superuser(setting.cluster, 0) as home:
        assert {how for _, how in home.execute("SELECT * FROM decided_with")} == {"on"}
        home.execute("DROP FUNCTION note_decision CASCADE")
        home.execute("DROP TABLE decided_with")


def test_a_deadlock_over_shards_ends(setting: Setting, background: ThreadPoolExecutor) -> None:
    """No PostgreSQL sees it: each request holds what the other one waits for on another shard."""
    first, second = (setting.number_on(shard) for shard in (0, 1))
    setting.client.insert("counters", [{"id": first}, {"id": second}])

    def write(value: int, *counters: int) -> None:
        changes: list[requests.Write] = [
            requests.update("counters", {"value": value}, key={"id": counter}) for counter in counters
        ]
        setting.client.transact(changes)

    with as_superuser(setting.cluster, 0) as zero, as_superuser(setting.cluster, 1) as one:
        with zero.transaction(), one.transaction():
            zero.execute(f"SELECT FROM counters WHERE id = {first} FOR UPDATE")
            one.execute(f"SELECT FROM counters WHERE id = {second} FOR UPDATE")
            forwards = background.submit(write, 1, first, second)
            backwards = background.submit(write, 2, second, first)
            wait_for_waiters(setting.cluster, 0)
            wait_for_waiters(setting.cluster, 1)
        ends = [request.exception() for request in (forwards, backwards)]
    assert None in ends
    assert all(end is None or (isinstance(end, errors.Conflict) and end.retryable) for end in ends)
    values = {setting.client.get("counters", id=counter)["value"] for counter in (first, second)}
    assert len(values) == 1
    assert values <= {str(value) for value, end in zip((1, 2), ends, strict=True) if end is None}


def test_a_lock_that_is_never_given_up_ends_in_a_conflict_to_try_again_later(setting: Setting) -> None:
    counter = setting.number_on(0)
    setting.client.insert("counters", {"id": counter})
    with as_superuser(setting.cluster, 0) as holder, holder.transaction():
        holder.execute(f"SELECT FROM counters WHERE id = {counter} FOR UPDATE")
        with pytest.raises(errors.Conflict) as lost:
            setting.client.update("counters", {"value": 1}, key={"id": counter})
    assert lost.value.retryable
    assert lost.value.metadata["sqlstate"] == "55P03"


def test_what_cannot_be_prepared_is_refused_on_all_shards(setting: Setting) -> None:
    setting.client.insert("announced", {"id": setting.number_on(1)})
    rows = [{"id": setting.number_on(shard)} for shard in (0, 1, 2)]
    with pytest.raises(errors.NotSupported, match="NOTIFY"):
        setting.client.insert("announced", rows)
    assert _stored(setting, "announced", rows) == 0
    eventually(lambda: not prepared(setting.cluster), "everything is rolled back")


@pytest.mark.parametrize("late", [0, 1])
def test_a_check_that_the_user_deferred_refuses_on_all_shards(setting: Setting, late: int) -> None:
    rows = [{"id": setting.number_on(shard), "accepted": shard != late} for shard in (0, 1, 2)]
    with pytest.raises(errors.RaisedByDatabase, match="not accepted"):
        setting.client.insert("checked_late", rows)
    assert _stored(setting, "checked_late", rows) == 0
    eventually(lambda: not prepared(setting.cluster), "everything is rolled back")


@pytest.mark.parametrize("shards", [(0,), (0, 1), (1, 0)])
def test_a_deferred_trigger_has_its_effects_on_other_shards(setting: Setting, shards: tuple[int, ...]) -> None:
    """It is run before anything is prepared: at home, or on another shard."""
    doomed = setting.parent_on(0)
    setting.child_on(2, doomed)
    rows = [{"id": doomed if shard == 0 else setting.number_on(shard)} for shard in shards]
    setting.client.insert("dooms", rows)
    assert _stored(setting, "dooms", rows) == len(rows)
    assert not setting.parent_exists(doomed)
    assert setting.children_of(doomed) == 0


def _stored(setting: Setting, table: str, rows: list[dict[str, int]] | list[dict[str, object]]) -> int:
    return sum(setting.client.count(table, {"id": row["id"]}) for row in rows)

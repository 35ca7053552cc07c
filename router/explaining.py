"""What a request would do, said without doing it: pure, from the plans that would be carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from crosskey import errors
from crosskey.catalog.plan import KeyPlan, TablePlan
from crosskey.router.planning.acting_keys import ActingKey, Change, acting_keys
from crosskey.router.planning.aggregates import plan_aggregate
from crosskey.router.planning.claimed_values import ClaimedValue
from crosskey.router.planning.generated_values import NONE_GENERATED, NOTHING, AllGenerated, GeneratedValues
from crosskey.router.planning.include_notes import condition_notes, include_notes
from crosskey.router.planning.includes import plan_includes
from crosskey.router.planning.nesting.foreseeing import foreseen_writes
from crosskey.router.planning.nesting.scripts import NestedStep
from crosskey.router.planning.parent_references import references
from crosskey.router.planning.reads import ListPlan, ReadPlan, plan_count, plan_get, plan_list
from crosskey.router.planning.routes import Distributed, Local, Reserve, Route, new_shards, plan_route
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.transactions import (
    AnsweredStep,
    GroupPlan,
    ModeChange,
    ReadRequest,
    ReadStep,
    Step,
    TakingStep,
    all_reads,
    all_steps,
    all_writes,
    plan_transact,
    raise_refusals,
)
from crosskey.router.planning.wanted_claims import surely_claims_elsewhere
from crosskey.router.planning.writes import WritePlan
from crosskey.router.reading.locating import claim_to_follow
from crosskey.router.reading.merging import rank
from crosskey.router.writing.upserting import computes_values, look_up_shards
from crosskey.v1 import router_pb2

Explanation = router_pb2.ExplainResponse

NEW_PARENT_NOTE = (
    "If a parent turns out to have no shadow where the row lives, its shard takes part in the transaction too."
)
PINNED_NOTE = (
    "If other shards hold pins on a row that goes or changes its key, exactly these shards and those that the cascades"
    " there reach take part in the transaction too."
)
MORE_PARTICIPANTS_NOTE = (
    "Shards of parents that have no shadow yet where the row lives, and shards that hold pins on a row that goes or"
    " changes its key, take part in the same transaction."
)
MOVING_NOTE = "If a row belongs to another shard by its new {}, that shard takes part in the transaction too."
AFTER_ANSWER_NOTE = "ShardNode.FinishPrepared is called after the answer: it only makes pins and claims visible."
FORGET_NOTE = "Later, in the background, s{home} forgets the decision by ShardNode.ForgetDecisions."
MODES_NOTE = "Shards that join after a change of constraint modes are told of it with their first command."
GROUPS_NOTE = (
    "Savepoints are set and released along with other commands on each shard that the group touches; undoing a group"
    " that fails is one more command on each."
)
READS_NOTE = (
    "Reads run within the transaction, on its own connection to each shard; a shard that is only read prepares nothing."
)
NESTED_NOTE = (
    "Rows that exist are looked up and locked first, on the shards that their keys or the claims on these tell; what"
    " is written then depends on what they are."
)
ANSWERED_NOTE = "Before the commit, the rows are read by their keys, with rows of their relations."
TAKES_NOTE = "A statement that takes values of earlier answers is planned when these are there."
COPIES_NOTE = "Copies of a reference table are read in turn, so another shard may be asked instead."
MOVED_VALUES_NOTE = "Each shard answers all of its different values, since others may have them; one counts them."
TOGETHER_NOTE = "Each shard aggregates its own rows; the first one then puts the groups of all together."
SORT_NOTE = "ShardNode.Sort is called on the first shard that has rows, and only if more than one has any."


CLAIM_NOTE = (
    "If a value turns out to be claimed, or another one than the request tells is to be claimed, all is rolled back and"
    " run again as a distributed transaction, in which PostgreSQL says what is wrong."
)
RELEASE_NOTE = "Shards that hold claims on values that rows lose or get take part in the same transaction."
LOOK_UP_NOTE = (
    "Who has claimed a value of {} is looked up first. A row whose value is claimed goes to the shard that has claimed"
    " it, which then takes part: the conflict is there. If others claim a value meanwhile, all is run again."
)
COMPUTE_NOTE = (
    "What an index computes of the rows, home is asked for before that; the shards named here that are asked who has"
    " claimed it are foreseen, as far as they can be."
)
FOLLOW_PARENT_NOTE = (
    "The claim on the parent tells which shard has the rows that live with it: it alone is asked then, and all shards"
    " only if none is there."
)
FOLLOW_NOTE = (
    "The claim on the value tells which shard has the row: it alone is asked then, and all shards only if the row is"
    " not there."
)


def explain(
    view: SchemaView,
    hints: ShadowHints,
    request: router_pb2.ExplainRequest,
    all_generated: AllGenerated = NONE_GENERATED,
) -> Explanation:
    """The explanation of a request; the values generated for an insert alone has the place "".

    Raises InvalidRequest if there is none, and what planning it raises.
    """
    match request.WhichOneof("request"):
        case "insert":
            alone = router_pb2.Statement(insert=request.insert)
            return _explain_alone(view, hints, alone, all_generated.get("", NOTHING))
        case "update":
            return _explain_alone(view, hints, router_pb2.Statement(update=request.update))
        case "delete":
            return _explain_alone(view, hints, router_pb2.Statement(delete=request.delete))
        case "transact":
            return _explain_transact(view, hints, plan_transact(view, request.transact, all_generated))
        case "get" | "count" | "aggregate" | "list" as kind:
            return _explain_any_read(view, getattr(request, kind))
    raise errors.InvalidRequest("there is no request to explain")


def _explain_any_read(view: SchemaView, request: ReadRequest) -> Explanation:
    match request:
        case router_pb2.GetRequest():
            get = plan_get(view, request)
            return _with_relations(view, get, _explain_read(view, get, "Read"))
        case router_pb2.CountRequest():
            count = plan_count(view, request)
            return _with_relations(view, count, _explain_read(view, count, "CountRows"))
        case router_pb2.AggregateRequest():
            return _explain_aggregate(view, request)
        case router_pb2.ListRequest():
            page = plan_list(view, request)
            return _with_relations(view, page, _explain_list(view, page))


def _explain_read(view: SchemaView, plan: ReadPlan, method: str) -> Explanation:
    claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
    if claimed is not None:
        return _following(plan.table, claimed)
    notes = [COPIES_NOTE] if plan.table.placement == "reference" else []
    return Explanation(shards=plan.shards, rpcs=_rpcs(plan.shards, method), notes=notes)


def _following(table: TablePlan, claimed: ClaimedValue) -> Explanation:
    shards = [claimed.claim_shard]
    note = FOLLOW_NOTE if claimed.claim.table == table.table.name else FOLLOW_PARENT_NOTE
    return Explanation(shards=shards, rpcs=_rpcs(shards, "FindClaims"), notes=[note])


def _explain_aggregate(view: SchemaView, request: router_pb2.AggregateRequest) -> Explanation:
    plan = plan_aggregate(view, request)
    rpcs = _rpcs(plan.shards, "Aggregate")
    notes = [*condition_notes(plan.predicates), *([COPIES_NOTE] if plan.table.placement == "reference" else [])]
    if len(plan.shards) == 1:
        return Explanation(shards=plan.shards, rpcs=rpcs, notes=notes)
    notes += [TOGETHER_NOTE, *([MOVED_VALUES_NOTE] if plan.request.moves_values else [])]
    return Explanation(shards=plan.shards, rpcs=[*rpcs, *_rpcs(plan.shards[:1], "Aggregate")], notes=notes)


def _with_relations(view: SchemaView, plan: ReadPlan | ListPlan, explanation: Explanation) -> Explanation:
    """The explanation, with what conditions over relations and includes add."""
    explanation.notes[:] = [
        *condition_notes(plan.predicates),
        *explanation.notes,
        *include_notes(view, plan.includes),
    ]
    return explanation


def _explain_list(view: SchemaView, plan: ListPlan) -> Explanation:
    claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
    if claimed is not None:
        return _following(plan.table, claimed)
    explanation = Explanation(shards=plan.shards, rpcs=_rpcs(plan.shards, "Read"))
    if plan.table.placement == "reference":
        explanation.notes.append(COPIES_NOTE)
    if len(plan.shards) > 1 and rank(plan.order, []) is None:
        explanation.rpcs.extend(_rpcs(plan.shards[:1], "Sort"))
        explanation.notes.append(SORT_NOTE)
    return explanation


def _explain_alone(
    view: SchemaView, hints: ShadowHints, statement: router_pb2.Statement, generated: GeneratedValues = NOTHING
) -> Explanation:
    """A write that is a transaction by itself; errors name no statement."""
    try:
        steps = plan_transact(view, router_pb2.TransactRequest(statements=[statement]), {"0": generated})
        return _explain_transact(view, hints, steps)
    except errors.CrosskeyError as error:
        error.metadata.pop("statement", None)
        raise


def _foreseen(view: SchemaView, steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, nested writes as the writes that they consist of, as far as these are known before."""
    for step in steps:
        nested = step.write if isinstance(step, AnsweredStep) else step
        if isinstance(nested, NestedStep):
            plans, complete = foreseen_writes(view, nested)
            yield from plans if nested is step or not complete else plans[1:]
            if not complete:
                yield step
            elif isinstance(step, AnsweredStep):
                yield replace(step, write=plans[0])
        else:
            yield step


def _explain_transact(view: SchemaView, hints: ShadowHints, planned: Sequence[Step]) -> Explanation:
    raise_refusals(planned)
    steps = list(_foreseen(view, planned))
    kinds = {type(step) for step in all_steps(steps)}
    if kinds == {ReadStep}:
        explanation = Explanation(route="distributed", reason=plan_route(view, hints, steps).reason)
    else:
        explanation = _explain_writes(view, hints, steps)
    _add_reads(view, explanation, list(all_reads(steps)))
    explanation.notes.extend([TAKES_NOTE] if TakingStep in kinds else [])
    explanation.notes.extend([MODES_NOTE] if ModeChange in kinds else [])
    explanation.notes.extend([GROUPS_NOTE] if GroupPlan in kinds else [])
    explanation.notes.extend([NESTED_NOTE] if NestedStep in kinds else [])
    answered = [step.request for step in steps if isinstance(step, AnsweredStep)]
    notes = [
        note
        for one in answered
        for note in include_notes(view, plan_includes(view, view.table(one.table), one.include))
    ]
    explanation.notes.extend([ANSWERED_NOTE, *dict.fromkeys(notes)] if answered else [])
    return explanation


def _add_reads(view: SchemaView, explanation: Explanation, requests: Sequence[ReadRequest]) -> None:
    """What the reads of a transaction ask, on each shard within its branch."""
    if not requests:
        return
    reads = [_explain_any_read(view, request) for request in requests]
    asked = sorted({shard for read in reads for shard in read.shards})
    rpcs = [rpc for rpc in _rpcs(asked, "Run") if rpc not in explanation.rpcs]
    explanation.rpcs[:] = [*rpcs, *explanation.rpcs]
    explanation.shards[:] = sorted({*explanation.shards, *asked})
    notes = [READS_NOTE, *(note for read in reads for note in read.notes if note != COPIES_NOTE)]
    explanation.notes.extend(note for note in dict.fromkeys(notes) if note not in explanation.notes)


def _explain_writes(view: SchemaView, hints: ShadowHints, steps: Sequence[Step]) -> Explanation:
    plans = list(all_writes(steps))
    route = plan_route(view, hints, steps)
    explanation = _explain_route(view, route, plans)
    seekers = [plan for plan in plans if plan.arbiters]
    _add_look_ups(view, explanation, seekers)
    keys = [key for plan in plans for key in _keys(view, hints, plan)]
    explanation.keys.extend(key for place, key in enumerate(keys) if key not in keys[:place])
    explanation.notes.extend(_notes_on_pins(view, plans, alone=not isinstance(route, Distributed)))
    explanation.notes.extend(_notes_on_moves(view, plans))
    releases = surely_claims_elsewhere(view, plans)
    explanation.notes.extend([RELEASE_NOTE] if releases else [CLAIM_NOTE] if _claims(view, plans) else [])
    return explanation


def _explain_route(view: SchemaView, route: Route, plans: Sequence[WritePlan]) -> Explanation:
    """The shards, the calls and why."""
    match route:
        case Local():
            calls = _rpcs([route.shard], "Run")
            return Explanation(shards=[route.shard], rpcs=calls, route="local", reason=route.reason)
        case Reserve():
            others = sorted({one.parent_shard for one in route.parents} | {one.claim_shard for one in route.claims})
            calls = [*_rpcs([*others, route.home], "Run"), *_rpcs(others, "FinishPrepared")]
            notes = [AFTER_ANSWER_NOTE, FORGET_NOTE.format(home=route.home)]
            shards = sorted({route.home, *others})
            return Explanation(shards=shards, rpcs=calls, notes=notes, route="reserve", reason=route.reason)
        case Distributed():
            shards = sorted({shard for plan in plans for shard in _written_shards(view, plan)} | {route.home})
            others = [shard for shard in shards if shard != route.home]
            calls = [*_rpcs(shards, "Run"), *_rpcs(others, "FinishPrepared")]
            notes = [FORGET_NOTE.format(home=route.home)] if others else []
            return Explanation(shards=shards, rpcs=calls, notes=notes, route="distributed", reason=route.reason)


def _add_look_ups(view: SchemaView, explanation: Explanation, seekers: Sequence[WritePlan]) -> None:
    """What comes first where rows may conflict with rows of any shard."""
    asked = sorted({shard for plan in seekers for shard in look_up_shards(view, plan)})
    rpcs = [rpc for rpc in _rpcs(asked, "Run") if rpc not in explanation.rpcs]
    explanation.rpcs[:] = [*rpcs, *explanation.rpcs]
    explanation.shards[:] = sorted({*explanation.shards, *asked})
    constraints = sorted({claim.constraint for plan in seekers for claim in plan.arbiters})
    explanation.notes.extend([LOOK_UP_NOTE.format(", ".join(constraints))] if constraints else [])
    explanation.notes.extend([COMPUTE_NOTE] if any(computes_values(plan) for plan in seekers) else [])


def _written_shards(view: SchemaView, plan: WritePlan) -> Sequence[int]:
    return view.all_shards if plan.reference else [*plan.shards, *new_shards(view, plan)]


def _claims(view: SchemaView, plans: Iterable[WritePlan]) -> bool:
    """Whether plans insert rows with values that must be unique over all shards, and that nobody looks up first."""
    return any(plan.kind == "insert" and not plan.arbiters and view.claims_of(plan.table.table.name) for plan in plans)


def _notes_on_pins(view: SchemaView, plans: Sequence[WritePlan], *, alone: bool) -> Iterable[str]:
    """What may come on top where keys cross shards."""
    new_parents = any(references(view, plan) for plan in plans)
    pinned = any(_crosses(acting.key) for plan in plans for acting in _acting_keys(view, plan))
    if not alone:
        return [MORE_PARTICIPANTS_NOTE] if new_parents or pinned else []
    return [*([NEW_PARENT_NOTE] if new_parents else []), *([PINNED_NOTE] if pinned else [])]


def _notes_on_moves(view: SchemaView, plans: Sequence[WritePlan]) -> Iterable[str]:
    """Where only PostgreSQL or a claim tells the shard by a new shard key."""
    changing = (plan for plan in plans if plan.table.shard_key in (plan.changed_columns or ()))
    unforeseen = {plan.table.shard_key for plan in changing if not new_shards(view, plan)}
    return [MOVING_NOTE.format(column) for column in sorted(filter(None, unforeseen))]


def _keys(view: SchemaView, hints: ShadowHints, plan: WritePlan) -> list[Explanation.Key]:
    """The keys that the rows themselves must meet, then those that act on rows that reference them."""
    checked = [_key(key, _check_note(view, hints, plan, key)) for key in _checked_keys(view, plan)]
    return checked + [_key(acting.key, _action_note(acting)) for acting in _acting_keys(view, plan)]


def _checked_keys(view: SchemaView, plan: WritePlan) -> list[KeyPlan]:
    own = [key for key in view.plan.keys if key.foreign_key.table == plan.table.table.name]
    if plan.kind == "insert":
        return own
    changed = plan.changed_columns
    return [key for key in own if changed is not None and not changed.isdisjoint(key.foreign_key.columns)]


def _acting_keys(view: SchemaView, plan: WritePlan) -> list[ActingKey]:
    if plan.kind == "insert" and not plan.changed_columns:
        return []
    return acting_keys(view.plan.keys, Change(plan.table.table.name, plan.changed_columns))


def _check_note(view: SchemaView, hints: ShadowHints, plan: WritePlan, key: KeyPlan) -> str:
    if key.referenced_key is None:
        return "PostgreSQL checks it on the row's own shard."
    referencing = [one for one in references(view, plan) if one.key == key]
    if not referencing:
        return "The request names no parent: there is nothing to check."
    parents = sum(len(one.parents) for one in referencing)
    unknown = sum(len(hints.unknown(key.referenced_key, one.shard, one.parents)) for one in referencing)
    where = ", ".join(f"s{one.shard}" for one in referencing)
    if not unknown:
        return f"PostgreSQL checks it against shadows on {where}, all seen before: no other shard is asked."
    return (
        f"PostgreSQL checks it against shadows on {where}; of {parents} needed, {unknown} not seen before:"
        f" their parents are pinned on {_where_pinned(view, key.referenced_key)}."
    )


def _where_pinned(view: SchemaView, referenced_key: str) -> str:
    claimed = view.plan.referenced_key(referenced_key).claim is not None
    return "the shards with the claims on them" if claimed else "their own shards"


def _action_note(acting: ActingKey) -> str:
    """What happens to the children, and where."""
    child = acting.key.foreign_key.table
    lost = "is deleted" if acting.parent_deleted else "gets another key"
    where = "on every shard that holds a pin for it" if _crosses(acting.key) else "on the same shard"
    match acting.action:
        case "CASCADE":
            does = "are deleted too" if acting.parent_deleted else "follow it"
            return f'Rows of "{child}" whose parent {lost} {does}, {where}.'
        case "SET NULL" | "SET DEFAULT":
            becomes = "NULL" if acting.action == "SET NULL" else "its default"
            return f'Rows of "{child}" whose parent {lost} have the key set to {becomes}, {where}.'
    return f'Refused if a row of "{child}" has a parent that {lost}; looked for {where}.'


def _crosses(key: KeyPlan) -> bool:
    return key.referenced_key is not None


def _key(key: KeyPlan, note: str) -> Explanation.Key:
    foreign_key = key.foreign_key
    return Explanation.Key(
        constraint=foreign_key.name,
        table=str(foreign_key.table),
        parent=str(foreign_key.parent),
        kind=key.kind,
        note=note,
    )


def _rpcs(shards: Iterable[int], method: str) -> list[str]:
    return [f"s{shard} ShardNode.{method}" for shard in shards]

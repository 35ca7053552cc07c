"""Choosing a placement for every table: parents first, then each table again until no change makes anything better.

What is worth how much is told by the constants; the unit is a foreign key that becomes local.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from crosskey.advice.belonging import is_named_after
from crosskey.advice.lookup_tables import is_written_by_triggers, why_lookup
from crosskey.advice.options import (
    Barred,
    Option,
    barred_options,
    is_placed,
    reference_option,
    sharded_options,
)
from crosskey.advice.shard_key_faults import is_hopeless, shard_key_faults
from crosskey.advice.statement_share import ReadStatements, names_claim, names_locator
from crosskey.advice.survey import Survey
from crosskey.catalog.claim_rules import claimed_key, claimed_keys
from crosskey.catalog.key_rules import plan_key, same_text
from crosskey.catalog.model import ForeignKey, Table, TableName
from crosskey.catalog.placement import place_table
from crosskey.catalog.plan import KeyPlan, TablePlan
from crosskey.catalog.tags import parse_tags

REFUSED_KEY: Final = -100.0
PLACED_IN_A_CIRCLE: Final = -10.0
"""Rows that live with rows that live with them: all that hang together would be on one shard."""
ALL_STATEMENTS: Final = 2.0
"""For a table all of whose statements name what places its rows."""
BY_CLAIM: Final = 0.75
"""Of that, for statements that name a unique value: one call more."""
CLAIM: Final = -0.1
CLAIMED_PRIMARY_KEY: Final = -0.25
NO_KEY_COLUMN: Final = -0.3
UNIQUE_BUT_NO_ID: Final = -1.0
"""A name or an address, which its owner may want to change: the row, and all that lives with it, would have to move."""
FIRST_OF_KEY: Final = 0.2
GOES_ALONG: Final = 0.3
NAMED_AFTER: Final = 0.6
"""For a parent that the table is named after: the lines of an order are called so, whatever else they name."""
WRITTEN_ALONG: Final = 0.5
"""For a parent that a trigger of the table writes: it writes nothing of what is on another shard."""
ANCHORED: Final = 0.9
"""A key that is local because rows live with a parent that a claim finds: each insert asks for the claim."""
DEPTH: Final = 0.12
"""For each parent above the parent: an item belongs to its order, which belongs to a customer, not to its product."""

MAX_DEPTH: Final = 4
"""Deeper, it makes no difference; and in a schema of many keys there are very many ways up."""

MAX_ROUNDS: Final = 20

Placements = dict[TableName, TablePlan]


class Chooser:
    """The options of every table without a placement, and what each is worth."""

    def __init__(self, survey: Survey, statements: ReadStatements) -> None:
        self._survey = survey
        self._statements = statements
        self._tables = {table.name: table for table in survey.database.tables}
        self._keys: dict[TableName, list[ForeignKey]] = {name: [] for name in self._tables}
        for key in survey.database.foreign_keys:
            for name in {key.table, key.parent}:
                self._keys[name].append(key)
        self._lookups = {
            name for name, table in self._tables.items() if _is_reference(table) or why_lookup(table, survey)
        }
        self._depths = {name: self._depth(name, frozenset()) for name in self._tables}
        self.options = {table.name: self._options(table) for table in self._tables.values() if not is_placed(table)}
        self._worths = {
            (name, option.tag): self._own_worth(option.plan)
            for name, options in self.options.items()
            for option in options
        }

    def choose(self) -> dict[TableName, Option]:
        """The best option of each table; a table that planning refuses anyway has none."""
        placed: Placements = {}
        for table in self._tables.values():
            plan = place_table(table) if is_placed(table) else None
            if isinstance(plan, TablePlan):
                placed[table.name] = plan
        order = sorted(self.options, key=lambda name: (self._depths[name], name))
        chosen: dict[TableName, Option] = {}
        for _ in range(MAX_ROUNDS):
            before = dict(chosen)
            for name in order:
                ranked = self.rank(name, placed)
                if ranked:
                    chosen[name] = ranked[0][0]
                    placed[name] = ranked[0][0].plan
            if chosen == before:
                break
        return chosen

    def rank(self, name: TableName, placed: Mapping[TableName, TablePlan]) -> list[tuple[Option, float]]:
        """A table's options and what each is worth beside the placements of the others, the best first."""
        worths = [
            (option, self._worths[name, option.tag] + self._worth_of_keys(option.plan, placed))
            for option in self.options[name]
        ]
        # Stable: of equals, the column that comes first.
        return sorted(worths, key=lambda ranked: -round(ranked[1], 6))

    def barred(self, name: TableName, placed: Mapping[TableName, TablePlan]) -> Barred | None:
        """What would be better than a table's proposed placement, were it not for constraints; None if nothing is."""
        own, table = placed.get(name), self._tables[name]
        if own is None or name in self._lookups:
            return None
        barred = self._barred(table)
        best = max(barred, key=lambda one: self._worth(one.option.plan, placed), default=None)
        if best is None or own.placement == "reference":
            return best
        return best if self._worth(best.option.plan, placed) > self._worth(own, placed) else None

    def _barred(self, table: Table) -> list[Barred]:
        barred = barred_options(table, self._survey, self._statements, self._lookups)
        return [one for one in barred if not is_hopeless(one.option.plan, self._survey)]

    def key_kinds(self, plan: TablePlan, placed: Mapping[TableName, TablePlan]) -> list[str]:
        """How each key from or to the table is enforced: local, anchored (and so local), cross-shard or refused."""
        return [kind for _, kind in self._kinds(plan, {**placed, plan.table.name: plan})]

    def _kinds(self, plan: TablePlan, around: Mapping[TableName, TablePlan]) -> Iterator[tuple[ForeignKey, str]]:
        for key in self._keys[plan.table.name]:
            if key.table in around and key.parent in around:
                yield key, self._kind(key, around[key.table], around[key.parent])

    def _kind(self, key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
        planned = plan_key(key, child, parent)
        if isinstance(planned, KeyPlan) and planned.kind == "local":
            return "local"
        if self._can_lead(key, child, parent):
            return "anchored"
        return planned.kind if isinstance(planned, KeyPlan) else "refused"

    def _can_lead(self, key: ForeignKey, child: TablePlan, parent: TablePlan) -> bool:
        """Whether the child's rows could live with a parent that is placed by another column than the key names."""
        if key.table not in self.options or key.parent == key.table or key.columns != (child.shard_key,):
            return False
        columns = child.table.column(key.columns[0]), parent.table.column(key.parent_columns[0])
        return claimed_key(parent, key.parent_columns) is not None and same_text(*columns)

    def _options(self, table: Table) -> list[Option]:
        inserting = any(write.inserts and write.table != table.name for write in table.trigger_writes)
        triggered = inserting or is_written_by_triggers(table.name, self._survey)
        reference = None if triggered else reference_option(table)
        if reference is not None and table.name in self._lookups:
            return [reference]
        sharded = sharded_options(table, self._survey, self._statements, self._lookups)
        fit = [option for option in sharded if not is_hopeless(option.plan, self._survey)]
        if fit or reference is None:
            # Planning refuses those that are barred, and says why: there is nothing else.
            return fit or sharded or [barred.option for barred in self._barred(table)]
        return [reference]

    def _worth(self, plan: TablePlan, placed: Mapping[TableName, TablePlan]) -> float:
        return round(self._own_worth(plan) + self._worth_of_keys(plan, placed), 6)

    def _worth_of_keys(self, plan: TablePlan, placed: Mapping[TableName, TablePlan]) -> float:
        worths = {"local": 1.0, "anchored": ANCHORED, "cross-shard": 0.0, "refused": REFUSED_KEY}
        around = {**placed, plan.table.name: plan}
        worth = PLACED_IN_A_CIRCLE if self._is_circle(plan, placed) else 0.0
        belongs = any(self._worth_of_belonging(key, plan) > 0 for key in self._placing_keys(plan))
        for key, kind in self._kinds(plan, around):
            # What has rows of its own that name it is placed by their name for it, unless it belongs to another.
            worth += worths[kind] if kind != "anchored" or belongs or key.table == plan.table.name else 0.0
        return worth

    def _placing_keys(self, plan: TablePlan) -> list[ForeignKey]:
        """The keys from what places a table's rows, lookup tables aside."""
        own = [key for key in self._keys[plan.table.name] if key.table == plan.table.name]
        return [key for key in own if plan.shard_key in key.columns and key.parent not in self._lookups]

    def _is_circle(self, plan: TablePlan, placed: Mapping[TableName, TablePlan]) -> bool:
        """Whether the rows that a table's rows live with live, maybe further up, with that table's rows."""
        around = {**placed, plan.table.name: plan}
        above, seen = self._companions(plan), set[TableName]()
        while above - seen:
            seen |= above
            above = {parent for name in above if name in around for parent in self._companions(around[name])}
        return plan.table.name in seen

    def _companions(self, plan: TablePlan) -> set[TableName]:
        """The tables whose rows a table's shard key names."""
        keys = self._keys[plan.table.name]
        return {key.parent for key in keys if key.table == plan.table.name and plan.shard_key in key.columns}

    def _own_worth(self, plan: TablePlan) -> float:
        worth = sum(CLAIMED_PRIMARY_KEY if key.primary else CLAIM for key in claimed_keys(plan))
        worth -= sum(fault.weight for fault in shard_key_faults(plan, self._survey, self._statements))
        return worth + self._worth_of_statements(plan) + self._worth_of_column(plan)

    def _worth_of_statements(self, plan: TablePlan) -> float:
        naming = [
            counted
            for counted in self._statements.shapes
            if plan.table.name in counted.shape.tables.values() and counted.shape.verb != "insert"
        ]
        calls = sum(counted.calls for counted in naming)
        if not calls or plan.placement == "reference":
            return 0.0
        placing = sum(counted.calls for counted in naming if names_locator(counted.shape, plan))
        claiming = sum(counted.calls for counted in naming if names_claim(counted.shape, plan))
        return ALL_STATEMENTS * (placing + BY_CLAIM * claiming) / calls

    def _worth_of_column(self, plan: TablePlan) -> float:
        column, primary_key = plan.shard_key, plan.table.primary_key
        leading = self._placing_keys(plan)
        if leading:
            worth = max(DEPTH * self._depths[key.parent] + self._worth_of_belonging(key, plan) for key in leading)
            return worth + FIRST_OF_KEY * (primary_key[:1] == (column,))
        if column in primary_key:
            return 0.0
        unique = any(key.columns == (column,) for key in plan.table.unique_keys)
        return UNIQUE_BUT_NO_ID if unique else NO_KEY_COLUMN

    def _worth_of_belonging(self, key: ForeignKey, plan: TablePlan) -> float:
        """What says that a row belongs to the one that the key names, of those that it names."""
        named_after = is_named_after(key.table.name, key.parent.name)
        written_along = key.parent in plan.table.written_by_triggers
        return GOES_ALONG * (key.on_delete == "CASCADE") + NAMED_AFTER * named_after + WRITTEN_ALONG * written_along

    def _depth(self, name: TableName, below: frozenset[TableName]) -> int:
        """How many parents are above a table, one above the other; lookup tables and cycles do not count."""
        if len(below) == MAX_DEPTH:
            return 0
        passed = below | {name}
        parents = {key.parent for key in self._keys[name] if key.table == name} - passed - self._lookups
        return max((1 + self._depth(parent, passed) for parent in parents), default=0)


def _is_reference(table: Table) -> bool:
    return any(tag.name == "reference" for tag in parse_tags(table.comment))

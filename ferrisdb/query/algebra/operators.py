"""The plan: a tree of relational operators, immutable, each with its output slots.

    Sort                         one tree from binding to compiling: the binder makes the
      Project                    logical operators (Join, Filter, Scan), the optimiser's
        Filter                   rules replace them one by one with what a machine can do
          Join                   (HashJoin, LoopJoin, Scan with an access path, TopN)
            Scan  Scan

A rule is a function from tree to tree. What a node computes is said by its expressions;
`output` are the slots that hold a value after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ferrisdb.immutable import immutable
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.expressions import (
    AggregateCall,
    Expression,
    Slot,
    SlotRef,
    SubqueryExpression,
    slots_of,
    walk,
)
from ferrisdb.query.schema import Index, Table


class TableSource:
    """A table as it stands once in FROM. Its slots are made when a column is first named.

    `row_key` and `row_value` are the row's bytes themselves, for statements that change it.
    """

    __slots__ = ("alias", "row_key", "row_value", "slots", "table")

    def __init__(self, table: Table, alias: str) -> None:
        self.table = table
        self.alias = alias
        self.slots: dict[int, Slot] = {}
        self.row_key: Slot | None = None
        self.row_value: Slot | None = None

    def owned(self) -> set[Slot]:
        return {*self.slots.values(), *(s for s in (self.row_key, self.row_value) if s is not None)}


class Plan:
    """The root of operators."""

    __slots__ = ()

    @property
    def output(self) -> tuple[Slot, ...]:
        raise NotImplementedError

    def inputs(self) -> Sequence[Plan]:
        return ()

    def with_inputs(self, inputs: Sequence[Plan]) -> Plan:
        return self

    def expressions(self) -> Iterator[Expression]:
        """Every expression of this operator itself."""
        return iter(())


@immutable(eq=False)
class KeyRange:
    """What a scan asks of an ordered key: equal first columns, then bounds on the next.

    `equal` is one expression for each leading key column. `lower` and `upper` bound the
    column after them, each with whether the bound itself belongs. Everything is computed
    when the scan starts; a NULL anywhere means that no row qualifies.
    """

    equal: tuple[Expression, ...] = ()
    lower: tuple[Expression, bool] | None = None
    upper: tuple[Expression, bool] | None = None

    def expressions(self) -> Iterator[Expression]:
        yield from self.equal
        if self.lower is not None:
            yield self.lower[0]
        if self.upper is not None:
            yield self.upper[0]


@immutable(eq=False)
class AccessPath:
    """How a scan reaches its rows. `index` None is the table's own key order.

    `ranges` are read one after the other and never overlap once equal values are dropped
    (an IN list is one range for each value). `is_point` means that a range names one key
    whole, so it is a `get`. `is_reverse` reads from the end.
    """

    index: Index | None
    key_columns: tuple[int, ...]
    ranges: tuple[KeyRange, ...]
    is_point: bool = False
    is_reverse: bool = False


FULL_SCAN = AccessPath(None, (), (KeyRange(),))


@immutable(eq=False)
class Scan(Plan):
    """The rows of a table. `columns` are the slots that are decoded."""

    source: TableSource
    columns: tuple[Slot, ...] = ()
    access: AccessPath = FULL_SCAN

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.columns

    def expressions(self) -> Iterator[Expression]:
        for key_range in self.access.ranges:
            yield from key_range.expressions()


@immutable(eq=False)
class Values(Plan):
    """Rows of expressions. One row without columns is what SELECT without FROM reads."""

    slots: tuple[Slot, ...]
    rows: tuple[tuple[Expression, ...], ...]

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.slots

    def expressions(self) -> Iterator[Expression]:
        for row in self.rows:
            yield from row


@immutable(eq=False)
class _OverOne(Plan):
    input: Plan

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.input.output

    def inputs(self) -> Sequence[Plan]:
        return (self.input,)

    def with_inputs(self, inputs: Sequence[Plan]) -> Plan:
        return self if inputs[0] is self.input else replace(self, input=inputs[0])


@immutable(eq=False)
class Filter(_OverOne):
    """Rows for which every condition is TRUE, tried in order."""

    conditions: tuple[Expression, ...]

    def expressions(self) -> Iterator[Expression]:
        return iter(self.conditions)


@immutable(eq=False)
class Project(_OverOne):
    """New slots, computed from each row. The input's own slots end here."""

    items: tuple[tuple[Slot, Expression], ...]

    @property
    def output(self) -> tuple[Slot, ...]:
        return tuple(slot for slot, _ in self.items)

    def expressions(self) -> Iterator[Expression]:
        return (expression for _, expression in self.items)


@immutable(eq=False)
class Aggregate(_OverOne):
    """One row for each distinct key, or exactly one when there is no key at all."""

    keys: tuple[tuple[Slot, Expression], ...]
    calls: tuple[tuple[Slot, AggregateCall], ...]

    @property
    def output(self) -> tuple[Slot, ...]:
        return tuple(slot for slot, _ in (*self.keys, *self.calls))

    def expressions(self) -> Iterator[Expression]:
        yield from (expression for _, expression in self.keys)
        yield from (call for _, call in self.calls)


@immutable(eq=False)
class Distinct(_OverOne):
    """The first of equal rows. NULLs are equal here."""


@immutable
class SortKey:
    expression: Expression
    is_descending: bool
    nulls_first: bool

    @property
    def has_default_nulls(self) -> bool:
        """NULL behaves as larger than everything, which is the order of keys on disk too."""
        return self.nulls_first == self.is_descending


@immutable(eq=False)
class Sort(_OverOne):
    keys: tuple[SortKey, ...]

    def expressions(self) -> Iterator[Expression]:
        return (key.expression for key in self.keys)


@immutable(eq=False)
class Limit(_OverOne):
    """`limit` NULL or None is all rows; `offset` rows are passed over first."""

    limit: Expression | None
    offset: Expression | None

    def expressions(self) -> Iterator[Expression]:
        return (e for e in (self.limit, self.offset) if e is not None)


@immutable(eq=False)
class TopN(_OverOne):
    """Sort and Limit in one: keeps only as many rows as can still be asked for."""

    keys: tuple[SortKey, ...]
    limit: Expression
    offset: Expression | None

    def expressions(self) -> Iterator[Expression]:
        yield from (key.expression for key in self.keys)
        yield self.limit
        if self.offset is not None:
            yield self.offset


@immutable(eq=False)
class _OverTwo(Plan):
    left: Plan
    right: Plan

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.left.output + self.right.output

    def inputs(self) -> Sequence[Plan]:
        return (self.left, self.right)

    def with_inputs(self, inputs: Sequence[Plan]) -> Plan:
        left, right = inputs
        if left is self.left and right is self.right:
            return self
        return replace(self, left=left, right=right)


@immutable(eq=False)
class Join(_OverTwo):
    """Before a way is chosen. CROSS is INNER without conditions."""

    kind: JoinKind
    conditions: tuple[Expression, ...]

    def expressions(self) -> Iterator[Expression]:
        return iter(self.conditions)


@immutable(eq=False)
class HashJoin(_OverTwo):
    """Right side into a hash table by its keys, left side streams past and looks up.

    `conditions` are checked on each pair. `is_unique`: at most one right row has a key.
    """

    kind: JoinKind
    left_keys: tuple[Expression, ...]
    right_keys: tuple[Expression, ...]
    conditions: tuple[Expression, ...]
    is_unique: bool

    def expressions(self) -> Iterator[Expression]:
        yield from self.left_keys
        yield from self.right_keys
        yield from self.conditions


@immutable(eq=False)
class LoopJoin(_OverTwo):
    """For each left row, the right rows that satisfy the conditions.

    `is_lookup`: the right side is read anew for each left row, by a key that the left row
    gives. Otherwise it is read once and kept.
    """

    kind: JoinKind
    conditions: tuple[Expression, ...]
    is_lookup: bool

    def expressions(self) -> Iterator[Expression]:
        return iter(self.conditions)


def walk_plan(plan: Plan) -> Iterator[Plan]:
    """Every operator, subqueries' plans not included."""
    pending = [plan]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.inputs())


def produced_slots(plan: Plan) -> set[Slot]:
    """Every slot that some operator of the plan gives a value, visible above it or not."""
    produced: set[Slot] = set()
    for node in walk_plan(plan):
        if isinstance(node, Scan):
            produced |= node.source.owned()
        elif not isinstance(node, (_OverTwo, Filter, Sort, Limit, TopN, Distinct)):
            produced.update(node.output)
    return produced


def visible_slots(plan: Plan) -> set[Slot]:
    """The slots that expressions above the plan may mention, decoded yet or not."""
    if isinstance(plan, Scan):
        return plan.source.owned()
    if isinstance(plan, (Project, Aggregate, Values)):
        return set(plan.output)
    visible: set[Slot] = set()
    for child in plan.inputs():
        visible |= visible_slots(child)
    return visible


def outer_references(plan: Plan) -> tuple[SlotRef, ...]:
    """The slots that the plan needs and does not produce, in order of first mention."""
    produced = produced_slots(plan)
    found: dict[Slot, SlotRef] = {}
    for node in walk_plan(plan):
        for expression in node.expressions():
            free = slots_of(expression) - produced
            if free:
                for ref in _references(expression):
                    if ref.slot in free:
                        found.setdefault(ref.slot, ref)
    return tuple(found.values())


def _references(expression: Expression) -> Iterator[SlotRef]:
    for node in walk(expression):
        if isinstance(node, SlotRef):
            yield node
        elif isinstance(node, SubqueryExpression):
            yield from node.outer_slots

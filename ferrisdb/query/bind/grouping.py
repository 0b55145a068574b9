"""Grouping: after GROUP BY a row stands for many, and an expression may mention only what
they share.

    SELECT dept, sum(pay) * 2 FROM staff GROUP BY dept

    before   dept                 sum(pay) * 2
    after    SlotRef(dept)        SlotRef(sum#7) * 2       over   Aggregate[dept; sum#7 = sum(pay)]

`GroupRewriter` replaces, from the top down, whatever equals a key by the key's slot and
each aggregate by its own. A column that is left over belongs to no key: GroupingError. One
exception, as in PostgreSQL: when a table's whole primary key is among the keys, its other
columns have one value in a group too.
"""

from __future__ import annotations

from ferrisdb.errors import GroupingError
from ferrisdb.query.algebra.operators import Aggregate, Plan
from ferrisdb.query.algebra.show import show
from ferrisdb.query.bind.expressions import (
    AggregateCall,
    Expression,
    Slot,
    SlotRef,
    SubqueryExpression,
    walk,
)
from ferrisdb.query.bind.scope import Scope, SlotNumbers
from ferrisdb.query.values import AggregateKind


def has_aggregate(expression: Expression) -> bool:
    return any(isinstance(node, AggregateCall) for node in walk(expression))


class GroupRewriter:
    """Collects keys and aggregates of one SELECT while its expressions are rewritten."""

    def __init__(self, keys: list[Expression], scope: Scope, numbers: SlotNumbers) -> None:
        self._scope = scope
        self._numbers = numbers
        self._keys: list[tuple[Slot, Expression]] = []
        self._calls: list[tuple[Slot, AggregateCall]] = []
        for key in keys:
            if not any(known == key for _, known in self._keys):
                self._keys.append((self._key_slot(key), key))

    def _key_slot(self, key: Expression) -> Slot:
        # A plain column keeps its slot, so that subqueries which mention it still find it.
        if isinstance(key, SlotRef):
            return key.slot
        return self._numbers(show(key), key.type, is_nullable=key.is_nullable)

    def plan(self, input: Plan) -> Aggregate:
        return Aggregate(input, tuple(self._keys), tuple(self._calls))

    def rewrite(self, expression: Expression, position: int) -> Expression:
        for slot, key in self._keys:
            if expression == key:
                return SlotRef(slot, key.is_nullable)
        if isinstance(expression, AggregateCall):
            return self._aggregate(expression)
        if isinstance(expression, SlotRef):
            return self._column(expression, position)
        if isinstance(expression, SubqueryExpression):
            for ref in expression.outer_slots:
                self._column(ref, position)
        children = expression.children()
        if not children:
            return expression
        return expression.rebuild([self.rewrite(child, position) for child in children])

    def _aggregate(self, call: AggregateCall) -> SlotRef:
        for slot, known in self._calls:
            if known == call:
                return SlotRef(slot, slot.is_nullable)
        is_count = call.function.kind in {AggregateKind.COUNT, AggregateKind.COUNT_STAR}
        slot = self._numbers(show(call), call.type, is_nullable=not is_count)
        self._calls.append((slot, call))
        return SlotRef(slot, slot.is_nullable)

    def _column(self, ref: SlotRef, position: int) -> SlotRef:
        if not self._scope.owns(ref.slot) or any(slot is ref.slot for slot, _ in self._keys):
            return ref
        if self._is_determined(ref.slot):
            self._keys.append((ref.slot, ref))
            return ref
        name = f"{ref.slot.table}.{ref.slot.name}" if ref.slot.table else ref.slot.name
        raise GroupingError(
            f'column "{name}" must appear in the GROUP BY clause or be used in an aggregate function',
            position=position,
        )

    def _is_determined(self, slot: Slot) -> bool:
        relation = next((r for r in self._scope.relations if r.alias == slot.table), None)
        if relation is None or relation.source is None or not relation.source.table.primary_key:
            return False
        key_slots = {key for key, _ in self._keys}
        slots = relation.source.slots
        return all(slots.get(position) in key_slots for position in relation.source.table.primary_key)

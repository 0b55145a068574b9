"""A LEFT JOIN whose row of NULLs cannot survive is an inner join.

    a LEFT JOIN b ON a.id = b.id WHERE b.x = 1    ->    a JOIN b ON a.id = b.id WHERE b.x = 1

The row that a LEFT JOIN adds has NULL in all of b, and `NULL = 1` is not TRUE. An inner join
may be reordered, and conditions may go to either side of it. A condition counts only when
NULL makes it NULL for certain: strict functions and operators all the way down to the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ferrisdb.query.algebra.operators import Filter, Join, Plan, visible_slots
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.expressions import (
    And,
    Call,
    Cast,
    Expression,
    InList,
    IsTest,
    Like,
    Not,
    Or,
    Slot,
    SlotRef,
)


def strengthen_joins(plan: Plan) -> Plan:
    if isinstance(plan, Filter):
        return plan.with_inputs((_strengthened(plan.input, plan.conditions),))
    return _strengthened(plan, ())


def _strengthened(plan: Plan, conditions: Sequence[Expression]) -> Plan:
    """The plan, knowing that rows for which a condition is not TRUE are dropped above."""
    if not isinstance(plan, Join):
        return plan.with_inputs([strengthen_joins(child) for child in plan.inputs()])
    if plan.kind is JoinKind.LEFT:
        right = visible_slots(plan.right)
        if any(_rejects_null(condition, right) for condition in conditions):
            plan = replace(plan, kind=JoinKind.INNER)
    if plan.kind is JoinKind.LEFT:
        # Its ON decides only which rows of the right side match.
        sides = (_strengthened(plan.left, conditions), _strengthened(plan.right, plan.conditions))
    else:
        known = (*conditions, *plan.conditions)
        sides = (_strengthened(plan.left, known), _strengthened(plan.right, known))
    return plan.with_inputs(sides)


def _rejects_null(condition: Expression, slots: set[Slot]) -> bool:
    """Whether the condition is not TRUE when all of the slots are NULL."""
    if isinstance(condition, And):
        return any(_rejects_null(part, slots) for part in condition.parts)
    if isinstance(condition, Or):
        return all(_rejects_null(part, slots) for part in condition.parts)
    if isinstance(condition, Not):
        inner = condition.operand
        if isinstance(inner, IsTest):
            return inner.test is None and _is_null_with(inner.operand, slots)
        return _is_null_with(inner, slots)
    if isinstance(condition, IsTest):
        return condition.test is not None and _is_null_with(condition.operand, slots)
    return _is_null_with(condition, slots)


def _is_null_with(expression: Expression, slots: set[Slot]) -> bool:
    """Whether the expression is NULL when all of the slots are."""
    if isinstance(expression, SlotRef):
        return expression.slot in slots
    if isinstance(expression, Call):
        return expression.function.is_strict and any(_is_null_with(a, slots) for a in expression.arguments)
    if isinstance(expression, (Cast, Not, InList, Like)):
        return _is_null_with(expression.children()[0], slots)
    return False

"""Constant folding: what can be known while planning is computed while planning.

    WHERE a = 1 + 1 AND TRUE   ->   WHERE a = 2

    WHERE 1 = 0                ->   no rows, and no table is read

A function of constants is called now. If the call is an error it is left alone: 1/0 is an
error of the row that needs it, and perhaps no row does.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence

from ferrisdb.errors import Error
from ferrisdb.query.algebra.operators import Filter, Plan, Values, visible_slots
from ferrisdb.query.algebra.rewrite import map_expressions
from ferrisdb.query.bind.expressions import (
    FALSE,
    NULL_BOOLEAN,
    TRUE,
    And,
    Call,
    Cast,
    Constant,
    Expression,
    IsTest,
    Not,
    Or,
    conjuncts,
    transform,
)
from ferrisdb.query.values import NUMERIC_CONTEXT


def fold_constants(plan: Plan) -> Plan:
    return _settle_filters(map_expressions(plan, fold))


def fold(expression: Expression) -> Expression:
    return transform(expression, _fold_node)


def _fold_node(node: Expression) -> Expression:
    if isinstance(node, Call):
        return _fold_call(node)
    if isinstance(node, Cast) and isinstance(node.operand, Constant):
        if node.function is None:
            return Constant(node.operand.value, node.type)
        return _evaluated(node, node.function.call, [node.operand], is_strict=True)
    if isinstance(node, (And, Or)):
        return _fold_chain(node)
    if isinstance(node, Not) and isinstance(node.operand, Constant):
        return _truth(None if node.operand.value is None else not node.operand.value)
    if isinstance(node, IsTest) and isinstance(node.operand, Constant):
        return _truth(node.operand.value is node.test)
    return node


def _fold_call(node: Call) -> Expression:
    if node.function.is_strict and any(isinstance(a, Constant) and a.value is None for a in node.arguments):
        return Constant(None, node.type)
    if not node.arguments or not all(isinstance(a, Constant) for a in node.arguments):
        return node
    arguments = [a for a in node.arguments if isinstance(a, Constant)]
    return _evaluated(node, node.function.call, arguments, is_strict=node.function.is_strict)


def _evaluated(
    node: Expression, function: object, arguments: Sequence[Constant], *, is_strict: bool
) -> Expression:
    values = [argument.value for argument in arguments]
    if is_strict and None in values:
        return Constant(None, node.type)
    try:
        with decimal.localcontext(NUMERIC_CONTEXT):
            return Constant(function(*values), node.type)  # type: ignore[operator]
    except (Error, ArithmeticError):
        return node


def _fold_chain(node: And | Or) -> Expression:
    """Drop the parts that change nothing; one part that decides is the answer."""
    decides, neutral = (False, True) if isinstance(node, And) else (True, False)
    parts: list[Expression] = []
    for part in node.parts:
        if isinstance(part, type(node)):
            parts += part.parts
        elif isinstance(part, Constant) and part.value is decides:
            return _truth(decides)
        elif not (isinstance(part, Constant) and part.value is neutral):
            parts.append(part)
    if not parts:
        return _truth(neutral)
    if len(parts) == 1:
        return parts[0]
    if len(parts) == len(node.parts) and all(a is b for a, b in zip(parts, node.parts, strict=True)):
        return node
    return node.rebuild(parts)


def _truth(value: bool | None) -> Constant:
    if value is None:
        return NULL_BOOLEAN
    return TRUE if value else FALSE


def _settle_filters(plan: Plan) -> Plan:
    plan = plan.with_inputs([_settle_filters(child) for child in plan.inputs()])
    if not isinstance(plan, Filter):
        return plan
    conditions = tuple(part for condition in plan.conditions for part in conjuncts(condition) if part != TRUE)
    if any(isinstance(condition, Constant) for condition in conditions):
        return Values(tuple(sorted(visible_slots(plan), key=lambda slot: slot.id)), ())
    return Filter(plan.input, conditions) if conditions else plan.input

"""Expressions as SQL again: for EXPLAIN, and for names of what has none.

Parentheses stand only where the reader needs them; implicit casts are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal

from ferrisdb.query.bind.expressions import (
    AggregateCall,
    And,
    Call,
    Case,
    Cast,
    Constant,
    DistinctFrom,
    ExistsQuery,
    Expression,
    InList,
    InQuery,
    IsTest,
    Let,
    Like,
    Not,
    Now,
    Or,
    ParameterRef,
    ScalarQuery,
    SlotRef,
    transform,
)
from ferrisdb.query.types import DATE

_BINDING = {"||": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7}
_COMPARISON = 4
_SHOWN_ITEMS = 20


def show(expression: Expression) -> str:
    """The expression as SQL."""
    return _SHOW[type(expression)](expression)


def joined(conditions: Sequence[Expression]) -> str:
    """Conditions that all must hold."""
    return " AND ".join(_within(condition, 2) for condition in conditions)


def shortened(items: Sequence[str]) -> str:
    """A list of which a reader sees the first."""
    if len(items) <= _SHOWN_ITEMS:
        return ", ".join(items)
    return ", ".join(items[:_SHOWN_ITEMS]) + f", ... ({len(items) - _SHOWN_ITEMS} more)"


def operand(expression: Expression) -> str:
    """The expression as one side of a comparison."""
    return _within(expression, _COMPARISON + 1)


def _strength(expression: Expression) -> int:
    """How tightly the outermost operator binds: OR 1, AND 2, NOT 3, tests 4, arithmetic above."""
    if isinstance(expression, Cast) and expression.is_implicit:
        return _strength(expression.operand)
    if isinstance(expression, Call):
        if len(expression.arguments) == 2 and not expression.name[0].isalpha():
            return _BINDING.get(expression.name, _COMPARISON)
        return 9
    if isinstance(expression, Let):
        return _strength(_inlined(expression))
    fixed: dict[type, int] = {
        Or: 1,
        And: 2,
        Not: 3,
        IsTest: 4,
        InList: 4,
        InQuery: 4,
        Like: 4,
        DistinctFrom: 4,
    }
    return fixed.get(type(expression), 9)


def _within(expression: Expression, strength: int) -> str:
    text = show(expression)
    return text if _strength(expression) >= strength else f"({text})"


def _constant(node: Constant) -> str:
    value = node.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    text = value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
    quoted = "'" + text.replace("'", "''") + "'"
    return f"{node.type} {quoted}" if isinstance(value, date) else quoted


def _call(node: Call) -> str:
    name, arguments = node.name, node.arguments
    if name[0].isalpha() or name[0] == "_":
        return f"{name}({', '.join(show(argument) for argument in arguments)})"
    if len(arguments) == 1:
        return f"{name}{_within(arguments[0], 8)}"
    strength = _BINDING.get(name, _COMPARISON)
    left = _within(arguments[0], strength + (strength == _COMPARISON))
    return f"{left} {name} {_within(arguments[1], strength + 1)}"


def _cast(node: Cast) -> str:
    return show(node.operand) if node.is_implicit else f"CAST({show(node.operand)} AS {node.type})"


def _not(node: Not) -> str:
    inner = node.operand
    if isinstance(inner, IsTest):
        return f"{operand(inner.operand)} IS NOT {_TESTS[inner.test]}"
    if isinstance(inner, InList):
        return _in_list(inner, "NOT ")
    if isinstance(inner, InQuery):
        return f"{operand(inner.operand)} NOT IN (subquery)"
    if isinstance(inner, Like):
        return _like(inner, "NOT ")
    if isinstance(inner, DistinctFrom):
        return f"{operand(inner.left)} IS NOT DISTINCT FROM {operand(inner.right)}"
    return f"NOT {_within(inner, 4)}"


_TESTS = {None: "NULL", True: "TRUE", False: "FALSE"}


def _in_list(node: InList, negation: str = "") -> str:
    items = shortened([show(item) for item in node.items])
    return f"{operand(node.operand)} {negation}IN ({items})"


def _like(node: Like, negation: str = "") -> str:
    word = "ILIKE" if node.is_case_insensitive else "LIKE"
    text = f"{operand(node.operand)} {negation}{word} {operand(node.pattern)}"
    return text + (f" ESCAPE {operand(node.escape)}" if node.escape is not None else "")


def _case(node: Case) -> str:
    whens = " ".join(f"WHEN {show(condition)} THEN {show(result)}" for condition, result in node.whens)
    return f"CASE {whens} ELSE {show(node.otherwise)} END"


def _inlined(node: Let) -> Expression:
    """The body with the operand where SQL would write it."""
    return transform(node.body, lambda n: node.value if isinstance(n, SlotRef) and n.slot is node.slot else n)


def _slot(node: SlotRef) -> str:
    return f"{node.slot.table}.{node.slot.name}" if node.slot.table else node.slot.name


def _aggregate_call(node: AggregateCall) -> str:
    inside = "*" if node.is_star else ", ".join(show(argument) for argument in node.arguments)
    return f"{node.name}({'DISTINCT ' if node.is_distinct else ''}{inside})"


_SHOW: dict[type, Callable[..., str]] = {
    Constant: _constant,
    ParameterRef: lambda node: f"?{node.key}" if isinstance(node.key, int) else f":{node.key}",
    Now: lambda node: "current_date" if node.type == DATE else "current_timestamp",
    SlotRef: _slot,
    Call: _call,
    Cast: _cast,
    And: lambda node: " AND ".join(_within(part, 3) for part in node.parts),
    Or: lambda node: " OR ".join(_within(part, 2) for part in node.parts),
    Not: _not,
    IsTest: lambda node: f"{operand(node.operand)} IS {_TESTS[node.test]}",
    DistinctFrom: lambda node: f"{operand(node.left)} IS DISTINCT FROM {operand(node.right)}",
    InList: _in_list,
    Like: _like,
    Case: _case,
    Let: lambda node: show(_inlined(node)),
    AggregateCall: _aggregate_call,
    ScalarQuery: lambda node: "(subquery)",
    ExistsQuery: lambda node: "EXISTS (subquery)",
    InQuery: lambda node: f"{operand(node.operand)} IN (subquery)",
}

"""EXPLAIN: the plan as an indented tree, as it will run, with expressions as SQL again.

    Top 10 by total DESC
      Project name, sum(price) AS total
        Aggregate by name: sum(price)
          Hash join (inner) on order.item = item.id
            Scan order
              filter: day > '2024-01-01'
            Point get item by id = 7

Read it from the innermost line outwards: rows begin there. The right side of a hash join
(the second child) is read first and kept; the left side streams past it.
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
    SubqueryExpression,
    transform,
    walk,
)
from ferrisdb.query.plan.logical import (
    Aggregate,
    Distinct,
    Filter,
    HashJoin,
    Join,
    KeyRange,
    Limit,
    LoopJoin,
    Plan,
    Project,
    Scan,
    Sort,
    SortKey,
    TopN,
    Values,
)
from ferrisdb.query.types import DATE

_BINDING = {"||": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7}
_COMPARISON = 4
_SHOWN_ITEMS = 20


def explain_plan(plan: Plan) -> list[str]:
    """One line for each operator, indented below the one that takes its rows."""
    lines: list[str] = []
    _write(plan, 0, lines)
    return lines


def _write(plan: Plan, depth: int, lines: list[str]) -> None:
    conditions: tuple[Expression, ...] = ()
    if isinstance(plan, Filter) and isinstance(plan.input, Scan):
        conditions, plan = plan.conditions, plan.input
    title, details = _TITLES[type(plan)](plan)
    lines.append("  " * depth + title)
    if conditions:
        details = [*details, f"filter: {_joined(conditions)}"]
    lines += ["  " * (depth + 1) + detail for detail in details]
    for child in plan.inputs():
        _write(child, depth + 1, lines)
    for expression in (*plan.expressions(), *conditions):
        for node in walk(expression):
            if isinstance(node, SubqueryExpression):
                word = "Subquery, for each row" if node.outer_slots else "Subquery, once"
                lines.append("  " * (depth + 1) + word)
                _write(node.plan, depth + 2, lines)


# --- operators --------------------------------------------------------------------------

_Title = tuple[str, list[str]]


def _scan(plan: Scan) -> _Title:
    table, access = plan.source.table, plan.access
    name = table.name if plan.source.alias == table.name else f"{table.name} AS {plan.source.alias}"
    direction = " backwards" if access.is_reverse else ""
    ranges = [r for r in access.ranges if r.equal or r.lower or r.upper]
    columns = [f"{plan.source.alias}.{table.columns[position].name}" for position in access.key_columns]
    where = _key_condition(ranges, columns)
    if access.index is None:
        if not ranges:
            return f"Scan {name}{direction}", []
        verb = "Point get" if access.is_point else "Range scan"
        return f"{verb} {name}{direction} by primary key: {where}", []
    verb = "Index point get" if access.is_point else "Index scan"
    return f"{verb} {name}{direction} by {access.index.name}" + (f": {where}" if ranges else ""), []


def _key_condition(ranges: Sequence[KeyRange], columns: Sequence[str]) -> str:
    if not ranges:
        return ""
    parts = []
    for number in range(len(ranges[0].equal)):
        values = list(dict.fromkeys(show(r.equal[number]) for r in ranges))
        if len(values) == 1:
            parts.append(f"{columns[number]} = {values[0]}")
        else:
            parts.append(f"{columns[number]} IN ({_shortened(values)})")
    first = ranges[0]
    if first.lower is not None:
        sign = ">=" if first.lower[1] else ">"
        parts.append(f"{columns[len(first.equal)]} {sign} {show(first.lower[0])}")
    if first.upper is not None:
        sign = "<=" if first.upper[1] else "<"
        parts.append(f"{columns[len(first.equal)]} {sign} {show(first.upper[0])}")
    return " AND ".join(parts)


def _filter(plan: Filter) -> _Title:
    return f"Filter {_joined(plan.conditions)}", []


def _project(plan: Project) -> _Title:
    items = []
    for slot, expression in plan.items:
        text = show(expression)
        is_same = isinstance(expression, SlotRef) and expression.slot.name == slot.name
        items.append(
            text if is_same or slot.name in {"?column?", "sort key", "value"} else f"{text} AS {slot.name}"
        )
    return f"Project {_shortened(items)}", []


def _aggregate(plan: Aggregate) -> _Title:
    title = "Aggregate"
    if plan.keys:
        title += " by " + ", ".join(show(expression) for _, expression in plan.keys)
    calls = ", ".join(show(call) for _, call in plan.calls)
    return title + (f": {calls}" if calls else ""), []


def _hash_join(plan: HashJoin) -> _Title:
    pairs = zip(plan.left_keys, plan.right_keys, strict=True)
    keys = " AND ".join(f"{_operand(left)} = {_operand(right)}" for left, right in pairs)
    details = [f"and: {_joined(plan.conditions)}"] if plan.conditions else []
    return f"Hash join ({plan.kind.value}) on {keys}", details


def _loop_join(plan: LoopJoin) -> _Title:
    name = "Lookup join" if plan.is_lookup else "Loop join"
    if not plan.conditions:
        if plan.is_lookup or plan.kind.value == "left":
            return f"{name} ({plan.kind.value})", []
        return "Cross join", []
    return f"{name} ({plan.kind.value}) on {_joined(plan.conditions)}", []


def _join(plan: Join) -> _Title:
    on = f" on {_joined(plan.conditions)}" if plan.conditions else ""
    return f"Join ({plan.kind.value}){on}", []


def _sort(plan: Sort) -> _Title:
    return f"Sort by {_keys(plan.keys)}", []


def _top_n(plan: TopN) -> _Title:
    after = f" after {show(plan.offset)}" if plan.offset is not None else ""
    return f"Top {show(plan.limit)}{after} by {_keys(plan.keys)}", []


def _keys(keys: Sequence[SortKey]) -> str:
    shown = []
    for key in keys:
        text = show(key.expression) + (" DESC" if key.is_descending else "")
        if not key.has_default_nulls:
            text += " NULLS FIRST" if key.nulls_first else " NULLS LAST"
        shown.append(text)
    return ", ".join(shown)


def _limit(plan: Limit) -> _Title:
    title = f"Limit {show(plan.limit)}" if plan.limit is not None else "Limit none"
    return title + (f" after {show(plan.offset)}" if plan.offset is not None else ""), []


def _distinct(plan: Distinct) -> _Title:
    return "Distinct", []


def _values(plan: Values) -> _Title:
    if not plan.slots:
        return "One row", []
    return f"Values: {len(plan.rows)} row{'' if len(plan.rows) == 1 else 's'}", []


_TITLES: dict[type, Callable[..., _Title]] = {
    Scan: _scan,
    Filter: _filter,
    Project: _project,
    Aggregate: _aggregate,
    HashJoin: _hash_join,
    LoopJoin: _loop_join,
    Join: _join,
    Sort: _sort,
    TopN: _top_n,
    Limit: _limit,
    Distinct: _distinct,
    Values: _values,
}


# --- expressions ------------------------------------------------------------------------


def show(expression: Expression) -> str:
    """The expression as SQL."""
    return _SHOW[type(expression)](expression)


def _joined(conditions: Sequence[Expression]) -> str:
    return " AND ".join(_within(condition, 2) for condition in conditions)


def _shortened(items: Sequence[str]) -> str:
    if len(items) <= _SHOWN_ITEMS:
        return ", ".join(items)
    return ", ".join(items[:_SHOWN_ITEMS]) + f", ... ({len(items) - _SHOWN_ITEMS} more)"


def _operand(expression: Expression) -> str:
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
        return f"{_operand(inner.operand)} IS NOT {_TESTS[inner.test]}"
    if isinstance(inner, InList):
        return show(inner).replace(" IN (", " NOT IN (", 1)
    if isinstance(inner, InQuery):
        return f"{_operand(inner.operand)} NOT IN (subquery)"
    if isinstance(inner, Like):
        return _like(inner, "NOT ")
    if isinstance(inner, DistinctFrom):
        return f"{_operand(inner.left)} IS NOT DISTINCT FROM {_operand(inner.right)}"
    return f"NOT {_within(inner, 4)}"


_TESTS = {None: "NULL", True: "TRUE", False: "FALSE"}


def _like(node: Like, negation: str = "") -> str:
    word = "ILIKE" if node.is_case_insensitive else "LIKE"
    text = f"{_operand(node.operand)} {negation}{word} {_operand(node.pattern)}"
    return text + (f" ESCAPE {_operand(node.escape)}" if node.escape is not None else "")


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
    IsTest: lambda node: f"{_operand(node.operand)} IS {_TESTS[node.test]}",
    DistinctFrom: lambda node: f"{_operand(node.left)} IS DISTINCT FROM {_operand(node.right)}",
    InList: lambda node: f"{_operand(node.operand)} IN ({_shortened([show(item) for item in node.items])})",
    Like: _like,
    Case: _case,
    Let: lambda node: show(_inlined(node)),
    AggregateCall: _aggregate_call,
    ScalarQuery: lambda node: "(subquery)",
    ExistsQuery: lambda node: "EXISTS (subquery)",
    InQuery: lambda node: f"{_operand(node.operand)} IN (subquery)",
}

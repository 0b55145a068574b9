"""EXPLAIN: the plan as an indented tree, as it will run.

    Top 10 by total DESC
      Project item.name, sum(sale.amount) AS total
        Aggregate by item.name: sum(sale.amount)
          Hash join (inner) on sale.item = item.id
            Scan sale
              filter: sale.day > 1
            Scan item

Read it from the innermost line outwards: rows begin there. The right side of a hash join
(the second child) is read first and kept; the left side streams past it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ferrisdb.query.algebra.operators import (
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
from ferrisdb.query.algebra.row_locking import LockRows
from ferrisdb.query.algebra.show import joined, operand, shortened, show
from ferrisdb.query.bind.expressions import Expression, SlotRef, SubqueryExpression, walk
from ferrisdb.txn.api import Waiting


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
        details = [*details, f"filter: {joined(conditions)}"]
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
            parts.append(f"{columns[number]} IN ({shortened(values)})")
    first = ranges[0]
    if first.lower is not None:
        sign = ">=" if first.lower[1] else ">"
        parts.append(f"{columns[len(first.equal)]} {sign} {show(first.lower[0])}")
    if first.upper is not None:
        sign = "<=" if first.upper[1] else "<"
        parts.append(f"{columns[len(first.equal)]} {sign} {show(first.upper[0])}")
    return " AND ".join(parts)


def _filter(plan: Filter) -> _Title:
    return f"Filter {joined(plan.conditions)}", []


def _project(plan: Project) -> _Title:
    items = []
    for slot, expression in plan.items:
        text = show(expression)
        is_same = isinstance(expression, SlotRef) and expression.slot.name == slot.name
        items.append(
            text if is_same or slot.name in {"?column?", "value", text} else f"{text} AS {slot.name}"
        )
    return f"Project {shortened(items)}", []


def _aggregate(plan: Aggregate) -> _Title:
    title = "Aggregate"
    if plan.keys:
        title += " by " + ", ".join(show(expression) for _, expression in plan.keys)
    calls = ", ".join(show(call) for _, call in plan.calls)
    return title + (f": {calls}" if calls else ""), []


def _hash_join(plan: HashJoin) -> _Title:
    pairs = zip(plan.left_keys, plan.right_keys, strict=True)
    keys = " AND ".join(f"{operand(left)} = {operand(right)}" for left, right in pairs)
    details = [f"and: {joined(plan.conditions)}"] if plan.conditions else []
    return f"Hash join ({plan.kind.value}) on {keys}", details


def _loop_join(plan: LoopJoin) -> _Title:
    name = "Lookup join" if plan.is_lookup else "Loop join"
    if not plan.conditions:
        if plan.is_lookup or plan.kind.value == "left":
            return f"{name} ({plan.kind.value})", []
        return "Cross join", []
    return f"{name} ({plan.kind.value}) on {joined(plan.conditions)}", []


def _join(plan: Join) -> _Title:
    on = f" on {joined(plan.conditions)}" if plan.conditions else ""
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


def _lock_rows(plan: LockRows) -> _Title:
    locks = []
    for lock in plan.locks:
        waiting = "" if lock.waiting is Waiting.WAIT else f" {lock.waiting.value.upper()}"
        locks.append(f"{lock.source.alias} {lock.strength}{waiting}")
    return f"Lock rows of {', '.join(locks)}", []


def _values(plan: Values) -> _Title:
    if not plan.rows:
        return "No rows", []
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
    LockRows: _lock_rows,
}

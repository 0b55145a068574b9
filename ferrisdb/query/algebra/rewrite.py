"""Applying one function everywhere in a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ferrisdb.query.algebra.operators import (
    AccessPath,
    Aggregate,
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
    TopN,
    Values,
)
from ferrisdb.query.bind.expressions import (
    AggregateCall,
    Expression,
    SubqueryExpression,
    transform,
    walk,
)

Change = Callable[[Expression], Expression]


def map_expressions(plan: Plan, change: Change) -> Plan:
    """The plan with every whole expression changed, bottom up; the same object if none is."""
    plan = plan.with_inputs([map_expressions(child, change) for child in plan.inputs()])
    mapper = _MAPPERS.get(type(plan))
    if mapper is None:
        return plan
    # Each is changed once: `change` may optimise a whole subquery, with subqueries inside.
    changed = [(expression, change(expression)) for expression in plan.expressions()]
    if all(new is old for old, new in changed):
        return plan
    known = {id(old): new for old, new in changed}
    return mapper(plan, lambda expression: known[id(expression)])


def _call(call: AggregateCall, change: Change) -> AggregateCall:
    changed = change(call)
    return changed if isinstance(changed, AggregateCall) else call


def _optional(expression: Expression | None, change: Change) -> Expression | None:
    return None if expression is None else change(expression)


def _filter(plan: Filter, change: Change) -> Plan:
    return replace(plan, conditions=tuple(change(condition) for condition in plan.conditions))


def _project(plan: Project, change: Change) -> Plan:
    return replace(plan, items=tuple((slot, change(expression)) for slot, expression in plan.items))


def _values(plan: Values, change: Change) -> Plan:
    return replace(plan, rows=tuple(tuple(change(cell) for cell in row) for row in plan.rows))


def _aggregate(plan: Aggregate, change: Change) -> Plan:
    keys = tuple((slot, change(expression)) for slot, expression in plan.keys)
    return replace(plan, keys=keys, calls=tuple((slot, _call(call, change)) for slot, call in plan.calls))


def _sort(plan: Sort, change: Change) -> Plan:
    return replace(plan, keys=tuple(replace(key, expression=change(key.expression)) for key in plan.keys))


def _limit(plan: Limit, change: Change) -> Plan:
    return replace(plan, limit=_optional(plan.limit, change), offset=_optional(plan.offset, change))


def _top_n(plan: TopN, change: Change) -> Plan:
    keys = tuple(replace(key, expression=change(key.expression)) for key in plan.keys)
    return replace(plan, keys=keys, limit=change(plan.limit), offset=_optional(plan.offset, change))


def _join(plan: Join | LoopJoin, change: Change) -> Plan:
    return replace(plan, conditions=tuple(change(condition) for condition in plan.conditions))


def _hash_join(plan: HashJoin, change: Change) -> Plan:
    return replace(
        plan,
        left_keys=tuple(change(key) for key in plan.left_keys),
        right_keys=tuple(change(key) for key in plan.right_keys),
        conditions=tuple(change(condition) for condition in plan.conditions),
    )


def _scan(plan: Scan, change: Change) -> Plan:
    def bound(side: tuple[Expression, bool] | None) -> tuple[Expression, bool] | None:
        return None if side is None else (change(side[0]), side[1])

    ranges = tuple(
        KeyRange(tuple(change(e) for e in r.equal), bound(r.lower), bound(r.upper))
        for r in plan.access.ranges
    )
    access: AccessPath = replace(plan.access, ranges=ranges)
    return replace(plan, access=access)


_MAPPERS: dict[type, Callable[..., Plan]] = {
    Filter: _filter,
    Project: _project,
    Values: _values,
    Aggregate: _aggregate,
    Sort: _sort,
    Limit: _limit,
    TopN: _top_n,
    Join: _join,
    LoopJoin: _join,
    HashJoin: _hash_join,
    Scan: _scan,
}


def map_subqueries(plan: Plan, change: Callable[[Plan], Plan]) -> Plan:
    """The plan with the plans of the subqueries in its expressions changed."""

    def on_node(node: Expression) -> Expression:
        return replace(node, plan=change(node.plan)) if isinstance(node, SubqueryExpression) else node

    def on_expression(expression: Expression) -> Expression:
        if any(isinstance(node, SubqueryExpression) for node in walk(expression)):
            return transform(expression, on_node)
        return expression

    return map_expressions(plan, on_expression)

"""Filters move down to where their columns come from, and joins get their conditions.

    Filter a.x = 1 AND a.id = b.id          Join a.id = b.id
      Join (cross)                    ->      Filter a.x = 1
        a   b                                   a
                                              b

Where a filter must not go:
  - below the nullable side of a LEFT JOIN: it would remove rows before they are matched,
    and their left rows would come out with NULLs instead of not at all;
  - a condition of a LEFT JOIN's ON that concerns the left side stays in ON for the same
    reason; one that concerns the right side alone may go to the right;
  - below LIMIT, which counts rows;
  - below an aggregate, unless it mentions only what rows of one group share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ferrisdb.query.algebra.operators import (
    Aggregate,
    Distinct,
    Filter,
    Join,
    Plan,
    Project,
    Sort,
    visible_slots,
)
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.expressions import (
    Expression,
    Slot,
    SlotRef,
    has_subquery,
    slots_of,
    transform,
)


def push_filters(plan: Plan) -> Plan:
    return _push(plan, ())


def _push(plan: Plan, conditions: Sequence[Expression]) -> Plan:
    """The plan under the conditions, each as far down as it may go."""
    if isinstance(plan, Filter):
        return _push(plan.input, (*plan.conditions, *conditions))
    if isinstance(plan, Join):
        return _push_into_join(plan, conditions)
    if isinstance(plan, Project):
        return _push_through(plan, dict(plan.items), conditions)
    if isinstance(plan, Aggregate):
        # Without keys there is one row even of nothing: a condition must see that row.
        return _push_through(plan, dict(plan.keys), conditions)
    if isinstance(plan, (Sort, Distinct)):
        return plan.with_inputs((_push(plan.input, conditions),))
    plan = plan.with_inputs([_push(child, ()) for child in plan.inputs()])
    return _filtered(plan, conditions)


def _filtered(plan: Plan, conditions: Sequence[Expression]) -> Plan:
    return Filter(plan, tuple(conditions)) if conditions else plan


def _push_into_join(join: Join, conditions: Sequence[Expression]) -> Plan:
    left_slots, right_slots = visible_slots(join.left), visible_slots(join.right)
    to_left: list[Expression] = []
    to_right: list[Expression] = []
    kept: list[Expression] = []
    above: list[Expression] = []
    is_left_join = join.kind is JoinKind.LEFT
    for condition in conditions:
        used = slots_of(condition)
        if not used & right_slots:
            to_left.append(condition)
        elif is_left_join:
            above.append(condition)
        elif not used & left_slots:
            to_right.append(condition)
        else:
            kept.append(condition)
    for condition in join.conditions:
        used = slots_of(condition)
        if not used & left_slots and used & right_slots:
            to_right.append(condition)
        elif not is_left_join and not used & right_slots:
            to_left.append(condition)
        else:
            kept.append(condition)
    left, right = _push(join.left, to_left), _push(join.right, to_right)
    return _filtered(replace(join, left=left, right=right, conditions=tuple(kept)), above)


def _push_through(
    plan: Project | Aggregate, sources: dict[Slot, Expression], conditions: Sequence[Expression]
) -> Plan:
    """Restate the conditions over the input's slots, where that computes nothing twice."""
    own = set(plan.output)
    below, above = [], []
    for condition in conditions:
        used = slots_of(condition) & own
        is_free = not used and isinstance(plan, Aggregate) and not plan.keys
        if is_free or has_subquery(condition) or not all(_is_plain(sources.get(slot)) for slot in used):
            above.append(condition)
        else:
            below.append(transform(condition, lambda node: _substituted(node, sources)))
    return _filtered(plan.with_inputs((_push(plan.input, below),)), above)


def _is_plain(source: Expression | None) -> bool:
    return source is not None and not has_subquery(source)


def _substituted(node: Expression, sources: dict[Slot, Expression]) -> Expression:
    return sources.get(node.slot, node) if isinstance(node, SlotRef) else node

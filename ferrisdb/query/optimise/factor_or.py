"""What every side of an OR demands is demanded always.

    (a.id = b.id AND a.x = 1) OR (a.id = b.id AND b.y = 2)
        ->   a.id = b.id AND (a.x = 1 OR b.y = 2)

The common part can then be the key of a join or of an access path; inside the OR it is
neither (TPC-H query 19). Distribution holds in three-valued logic too.
"""

from __future__ import annotations

from ferrisdb.query.algebra.operators import Filter, Plan
from ferrisdb.query.bind.expressions import And, Expression, Or, conjuncts


def factor_or(plan: Plan) -> Plan:
    plan = plan.with_inputs([factor_or(child) for child in plan.inputs()])
    if not isinstance(plan, Filter) or not any(isinstance(c, Or) for c in plan.conditions):
        return plan
    return Filter(plan.input, tuple(part for c in plan.conditions for part in _factored(c)))


def _factored(condition: Expression) -> tuple[Expression, ...]:
    if not isinstance(condition, Or):
        return (condition,)
    sides = [conjuncts(side) for side in condition.parts]
    common = [part for part in sides[0] if all(part in side for side in sides[1:])]
    if not common:
        return (condition,)
    rests = [tuple(part for part in side if part not in common) for side in sides]
    if not all(rests):
        # One side demands nothing else: the others add nothing.
        return tuple(common)
    return (*common, Or(tuple(rest[0] if len(rest) == 1 else And(rest) for rest in rests)))

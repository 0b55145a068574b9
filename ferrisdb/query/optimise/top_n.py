"""ORDER BY with LIMIT: a sort that forgets what can no longer be asked for.

    Limit 10                     TopN 10 by x
      Sort by x          ->        ...
        ...

A LIMIT that turns out to be NULL means all rows; then it is a sort after all.
"""

from __future__ import annotations

from ferrisdb.query.algebra.operators import Limit, Plan, Sort, TopN


def top_n(plan: Plan) -> Plan:
    plan = plan.with_inputs([top_n(child) for child in plan.inputs()])
    if isinstance(plan, Limit) and isinstance(plan.input, Sort) and plan.limit is not None:
        return TopN(plan.input.input, plan.input.keys, plan.limit, plan.offset)
    return plan

"""The plan that looks at one changed row again: joins of single rows need no choice.

    LockRows                               LockRows
      recheck: Join a.id = b.id      ->      recheck: Loop join on a.id = b.id
                 a   b                                  a   b

Its leaves hold at most one row each, so what is left to do is to turn joins into loops, to
optimise the subqueries, and to decode what is mentioned only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ferrisdb.query.algebra.operators import Join, LoopJoin, Plan
from ferrisdb.query.algebra.rewrite import map_subqueries
from ferrisdb.query.algebra.row_locking import LockRows
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.optimise.prune_columns import prune_columns


def recheck_rows(plan: Plan, optimise: Callable[[Plan], Plan]) -> Plan:
    """`optimise` is for the subqueries."""
    plan = plan.with_inputs([recheck_rows(child, optimise) for child in plan.inputs()])
    if isinstance(plan, LockRows):
        return replace(plan, recheck=recheck_plan(plan.recheck, optimise))
    return plan


def recheck_plan(plan: Plan, optimise: Callable[[Plan], Plan]) -> Plan:
    return prune_columns(_with_loops(map_subqueries(plan, optimise)))


def _with_loops(plan: Plan) -> Plan:
    plan = plan.with_inputs([_with_loops(child) for child in plan.inputs()])
    if isinstance(plan, Join):
        kind = JoinKind.LEFT if plan.kind is JoinKind.LEFT else JoinKind.INNER
        return LoopJoin(plan.left, plan.right, kind, plan.conditions, is_lookup=False)
    return plan

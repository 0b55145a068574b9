"""The optimiser: rules, one a file, applied once each in an order that makes it enough.

    fold_constants    1 + 1 is 2; a condition that is TRUE goes
    factor_or         what every side of an OR demands is a condition of its own
    strengthen_joins  a LEFT JOIN whose NULLs are filtered out is an inner one
    push_filters      a condition runs as soon as its columns are there
    order_joins       inner joins are a graph; follow its edges, hash the equalities
    choose_access     a condition on a key is a place to start reading, not a filter
    use_order         a key is already in order
    top_n             ORDER BY with LIMIT keeps only what can be asked for
    prune_columns     what nobody mentions is not decoded
    recheck_rows      a changed row that is locked is looked at again, by itself

There are no statistics yet; every choice between two sound plans is in `heuristics`.
Subqueries are plans of their own and pass through the same rules.
"""

from __future__ import annotations

from collections.abc import Callable

from ferrisdb.query.algebra.operators import Plan
from ferrisdb.query.algebra.rewrite import map_subqueries
from ferrisdb.query.optimise.choose_access import choose_access
from ferrisdb.query.optimise.factor_or import factor_or
from ferrisdb.query.optimise.fold_constants import fold_constants
from ferrisdb.query.optimise.order_joins import order_joins
from ferrisdb.query.optimise.prune_columns import prune_columns
from ferrisdb.query.optimise.push_filters import push_filters
from ferrisdb.query.optimise.recheck_rows import recheck_rows
from ferrisdb.query.optimise.strengthen_joins import strengthen_joins
from ferrisdb.query.optimise.top_n import top_n
from ferrisdb.query.optimise.use_order import use_order

RULES: tuple[Callable[[Plan], Plan], ...] = (
    fold_constants,
    factor_or,
    strengthen_joins,
    push_filters,
    order_joins,
    choose_access,
    use_order,
    top_n,
    prune_columns,
)


def optimise(plan: Plan) -> Plan:
    """The plan that is compiled: same rows, same output slots."""
    plan = map_subqueries(plan, optimise)
    for rule in RULES:
        plan = rule(plan)
    return recheck_rows(plan, optimise)

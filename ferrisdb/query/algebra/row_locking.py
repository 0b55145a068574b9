"""LockRows: the operator of SELECT ... FOR UPDATE, and what it looks at a changed row with.

    Limit 1
      LockRows queue FOR UPDATE       locks each row that passes, and only those
        Sort by id
          Project, Filter, Scan

It stands above Sort and below Limit, as in PostgreSQL: rows are locked in their order, and
one that is skipped or gone does not count for the LIMIT.

At read committed a row may have changed since the statement began. Then the query's FROM,
WHERE and items are asked again about this one row (`recheck`), with leaves that are given
rather than read:

    a locked table    its newest version           Scan with the access STORED_ROW
    anything else     the values as they were      KeptRow

PostgreSQL calls it EvalPlanQual. As there, the order is not made anew: a row whose sort key
has changed may stand out of order.
"""

from __future__ import annotations

from ferrisdb.immutable import immutable
from ferrisdb.query.algebra.operators import AccessPath, Plan, TableSource, _OverOne, walk_plan
from ferrisdb.query.ast import LockStrength
from ferrisdb.query.bind.expressions import Slot, SubqueryExpression, walk
from ferrisdb.txn.api import Waiting

STORED_ROW = AccessPath(None, (), ())
"""Of a scan whose row is given: parameters[source] holds its key and its bytes."""


@immutable(eq=False)
class RowLock:
    """How the rows of one table in FROM are locked."""

    source: TableSource
    strength: LockStrength
    waiting: Waiting


@immutable(eq=False)
class KeptRow(Plan):
    """A row as it was, in parameters[this]. `is_optional`: all NULL means that there is none,
    so that the LEFT JOIN above makes its NULLs."""

    slots: tuple[Slot, ...]
    is_optional: bool

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.slots


@immutable(eq=False)
class LockRows(_OverOne):
    """Each row, once its tables' rows are locked; `shown` are the slots that it hands on.

    `recheck` gives `shown` again for one row, or no row when it does not qualify any more.
    """

    shown: tuple[Slot, ...]
    locks: tuple[RowLock, ...]
    kept: tuple[KeptRow, ...]
    recheck: Plan

    @property
    def output(self) -> tuple[Slot, ...]:
        return self.shown


def locked_tables(plan: Plan) -> tuple[str, ...]:
    """The names of the tables of which the plan locks rows, its subqueries included."""
    found: set[str] = set()
    pending = [plan]
    while pending:
        for node in walk_plan(pending.pop()):
            if isinstance(node, LockRows):
                found.update(lock.source.table.name for lock in node.locks)
            for expression in node.expressions():
                pending += [part.plan for part in walk(expression) if isinstance(part, SubqueryExpression)]
    return tuple(sorted(found))

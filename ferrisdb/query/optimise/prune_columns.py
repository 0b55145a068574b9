"""Column pruning: only what somebody mentions is computed, kept or decoded.

    SELECT name FROM (SELECT * FROM staff) AS s WHERE dept = 3
        the scan of staff decodes name and dept, whatever else a row has

It goes from the top down with the set of slots that are needed above. The largest single
win of all rules: decoding a column costs more than most things that are done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ferrisdb.query.algebra.operators import (
    Aggregate,
    Distinct,
    LoopJoin,
    Plan,
    Project,
    Scan,
    Values,
    outer_references,
)
from ferrisdb.query.algebra.row_locking import LockRows
from ferrisdb.query.bind.expressions import Expression, Slot, slots_of


def prune_columns(plan: Plan) -> Plan:
    """All output slots of the whole plan are needed."""
    return _prune(plan, set(plan.output))


def _prune(plan: Plan, needed: set[Slot]) -> Plan:
    if isinstance(plan, Scan):
        return _prune_scan(plan, needed)
    if isinstance(plan, Project):
        items = tuple(item for item in plan.items if item[0] in needed)
        below = _slots(expression for _, expression in items)
        return replace(plan, input=_prune(plan.input, below), items=items)
    if isinstance(plan, Aggregate):
        calls = tuple(item for item in plan.calls if item[0] in needed)
        pruned = replace(plan, calls=calls)
        return pruned.with_inputs((_prune(plan.input, _slots(pruned.expressions())),))
    if isinstance(plan, Values):
        return plan
    if isinstance(plan, (Distinct, LockRows)):
        # Which rows are distinct depends on every column, shown above or not; what is locked and
        # looked at again, too.
        needed = needed | set(plan.input.output)
    needed = needed | _slots(plan.expressions())
    if isinstance(plan, LoopJoin) and plan.is_lookup:
        needed |= {ref.slot for ref in outer_references(plan.right)}
    return plan.with_inputs([_prune(child, needed) for child in plan.inputs()])


def _prune_scan(scan: Scan, needed: set[Slot]) -> Scan:
    source = scan.source
    columns = [slot for slot in source.slots.values() if slot in needed]
    columns.sort(key=lambda slot: slot.position or 0)
    extra = [slot for slot in (source.row_key, source.row_value) if slot is not None and slot in needed]
    return replace(scan, columns=(*columns, *extra))


def _slots(expressions: Iterable[Expression]) -> set[Slot]:
    return set().union(*(slots_of(expression) for expression in expressions))

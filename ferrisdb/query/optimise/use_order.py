"""Rows that are read in the order of a key need no sorting.

    Sort by id                        Scan t by its key
      Scan t                   ->

    Sort by id DESC                   Scan t by its key, from the end
      Scan t                   ->

Key order is SQL's default order: ascending, NULLs last; read backwards it is descending,
NULLs first. Columns that the access path holds equal do not matter for the order. The
table's own key, or an index that is read anyway, is used whenever it fits; an index that is
not needed otherwise only under a LIMIT without a filter, where few of its rows are fetched.
"""

from __future__ import annotations

from dataclasses import replace

from ferrisdb.query.algebra.operators import (
    FULL_SCAN,
    AccessPath,
    Filter,
    KeyRange,
    Limit,
    Plan,
    Project,
    Scan,
    Sort,
    SortKey,
)
from ferrisdb.query.algebra.row_locking import LockRows
from ferrisdb.query.bind.expressions import Expression, Slot, SlotRef


def use_order(plan: Plan) -> Plan:
    if isinstance(plan, Limit) and isinstance(plan.input, Sort):
        ordered = _ordered(plan.input.input, plan.input.keys, is_limited=plan.limit is not None)
        if ordered is not None:
            return plan.with_inputs((use_order(ordered),))
    if isinstance(plan, Limit) and isinstance(plan.input, LockRows) and isinstance(plan.input.input, Sort):
        # LIMIT 1 FOR UPDATE SKIP LOCKED: the row that is next, without a look at all the others.
        locking, sort = plan.input, plan.input.input
        ordered = _ordered(sort.input, sort.keys, is_limited=plan.limit is not None)
        if ordered is not None:
            return plan.with_inputs((locking.with_inputs((use_order(ordered),)),))
    if isinstance(plan, Sort):
        ordered = _ordered(plan.input, plan.keys, is_limited=False)
        if ordered is not None:
            return use_order(ordered)
    return plan.with_inputs([use_order(child) for child in plan.inputs()])


def _ordered(plan: Plan, keys: tuple[SortKey, ...], *, is_limited: bool) -> Plan | None:
    """The plan with its scan in the order of the keys; None when no key has that order."""
    if isinstance(plan, Filter):
        inner = _ordered(plan.input, keys, is_limited=False)
        return None if inner is None else plan.with_inputs((inner,))
    if isinstance(plan, Project):
        sources = dict(plan.items)
        below = tuple(replace(key, expression=_source(key.expression, sources)) for key in keys)
        inner = _ordered(plan.input, below, is_limited=is_limited)
        return None if inner is None else plan.with_inputs((inner,))
    if isinstance(plan, Scan):
        return _ordered_scan(plan, keys, is_limited=is_limited)
    return None


def _source(expression: Expression, sources: dict[Slot, Expression]) -> Expression:
    return sources.get(expression.slot, expression) if isinstance(expression, SlotRef) else expression


def _ordered_scan(scan: Scan, keys: tuple[SortKey, ...], *, is_limited: bool) -> Plan | None:
    directions = {key.is_descending for key in keys}
    if len(directions) != 1 or not all(key.has_default_nulls for key in keys):
        return None
    wanted = [_position(key.expression, scan) for key in keys]
    if None in wanted or len(scan.access.ranges) != 1:
        return None
    table = scan.source.table
    paths = [scan.access]
    if scan.access is FULL_SCAN:
        paths = [AccessPath(None, table.primary_key, (KeyRange(),))]
        if is_limited:
            paths += [AccessPath(index, index.columns, (KeyRange(),)) for index in table.indexes]
    for path in paths:
        if _has_order(path, wanted):
            return replace(scan, access=replace(path, is_reverse=True in directions))
    return None


def _position(expression: Expression, scan: Scan) -> int | None:
    if isinstance(expression, SlotRef) and expression.slot in scan.source.owned():
        return expression.slot.position
    return None


def _has_order(path: AccessPath, wanted: list[int | None]) -> bool:
    """Whether reading by the path gives rows in the order of the wanted columns."""
    held = path.key_columns[: len(path.ranges[0].equal)]
    rest = list(path.key_columns[len(held) :])
    for position in wanted:
        if position in held:
            continue
        if not rest or rest.pop(0) != position:
            return False
    return True

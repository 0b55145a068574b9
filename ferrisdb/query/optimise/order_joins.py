"""Join order: inner joins are a graph of tables; follow its edges.

    FROM orders, nation, customer               orders --- customer --- nation
    WHERE o_cust = c_id AND c_nation = n_id

In FROM order, orders and nation would meet in a cross product first. The graph says to
join customer before nation. The order is found greedily (`heuristics.JoinScore`), and each
step becomes a hash join over the equalities that connect it, a lookup by key when the left
side is one row, or a loop when nothing connects it. LEFT JOINs keep their place: their two
sides are ordered each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.query.algebra.operators import (
    Aggregate,
    Filter,
    HashJoin,
    Join,
    Limit,
    LoopJoin,
    Plan,
    Project,
    Scan,
    Values,
    visible_slots,
)
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.expressions import Call, Expression, Slot, SlotRef, slots_of
from ferrisdb.query.optimise.choose_access import access_filter, best_access
from ferrisdb.query.optimise.heuristics import JoinScore


def order_joins(plan: Plan) -> Plan:
    if not isinstance(plan, Join):
        return plan.with_inputs([order_joins(child) for child in plan.inputs()])
    if plan.kind is JoinKind.LEFT:
        return _method(plan.kind, order_joins(plan.left), order_joins(plan.right), plan.conditions)
    tables, conditions = _graph(plan)
    return _Order(tables, conditions).plan()


def _graph(plan: Plan) -> tuple[list[Plan], list[Expression]]:
    """The inputs of neighbouring inner joins, in FROM order, and all their conditions."""
    if isinstance(plan, Join) and plan.kind is not JoinKind.LEFT:
        left, right = _graph(plan.left), _graph(plan.right)
        return left[0] + right[0], [*left[1], *right[1], *plan.conditions]
    return [order_joins(plan)], []


class _Order:
    def __init__(self, tables: list[Plan], conditions: list[Expression]) -> None:
        self._tables = tables
        self._slots = [visible_slots(table) for table in tables]
        everything = set().union(*self._slots)
        self._conditions = [(condition, slots_of(condition) & everything) for condition in conditions]

    def plan(self) -> Plan:
        left = list(range(len(self._tables)))
        first = self._first()
        left.remove(first)
        plan, known = self._tables[first], set(self._slots[first])
        while left:
            chosen = max(left, key=lambda number: self._score(number, known))
            left.remove(chosen)
            known |= self._slots[chosen]
            plan = _method(JoinKind.INNER, plan, self._tables[chosen], self._take(known))
        return plan

    def _take(self, known: set[Slot]) -> list[Expression]:
        """The conditions that can be checked from now on."""
        ready = [condition for condition, used in self._conditions if used <= known]
        self._conditions = [(condition, used) for condition, used in self._conditions if not used <= known]
        return ready

    def _first(self) -> int:
        for number, table in enumerate(self._tables):
            if is_single_row(table):
                return number
        numbers = range(len(self._tables))
        for number in numbers:
            if self._reaches_all(number):
                return number
        return 0

    def _reaches_all(self, start: int) -> bool:
        """Whether every table can be joined by its unique key, beginning here."""
        known, left = set(self._slots[start]), {*range(len(self._tables))} - {start}
        while left:
            found = next((number for number in left if self._score(number, known).is_unique), None)
            if found is None:
                return False
            left.remove(found)
            known |= self._slots[found]
        return True

    def _score(self, number: int, known: set[Slot]) -> JoinScore:
        own = self._slots[number]
        conditions = [c for c, used in self._conditions if used & own and used <= known | own]
        keys, _ = split_equalities(conditions, known, own)
        is_unique = is_unique_key(self._tables[number], [right for _, right in keys])
        return JoinScore(is_unique, bool(keys), -number)


def _method(kind: JoinKind, left: Plan, right: Plan, conditions: Sequence[Expression]) -> Plan:
    """The way of joining two inputs."""
    lookup = _lookup(kind, left, right, conditions)
    if lookup is not None:
        return lookup
    keys, rest = split_equalities(conditions, visible_slots(left), visible_slots(right))
    if not keys:
        return LoopJoin(left, right, _plain(kind), tuple(rest), False)
    left_keys, right_keys = zip(*keys, strict=True)
    is_unique = is_unique_key(right, right_keys)
    return HashJoin(left, right, _plain(kind), left_keys, right_keys, tuple(rest), is_unique)


def _plain(kind: JoinKind) -> JoinKind:
    return JoinKind.INNER if kind is JoinKind.CROSS else kind


def _lookup(kind: JoinKind, left: Plan, right: Plan, conditions: Sequence[Expression]) -> Plan | None:
    """With a single left row, the right side by key beats reading all of it."""
    if not is_single_row(left):
        return None
    own: tuple[Expression, ...] = ()
    scan = right
    if isinstance(right, Filter):
        own, scan = right.conditions, right.input
    if not isinstance(scan, Scan):
        return None
    slots = scan.source.owned()
    ready = [condition for condition in conditions if slots_of(condition) & slots]
    best = best_access(scan.source, [*own, *ready])
    if best is None or not any(any(c is used for used in best.used) for c in ready):
        return None
    rest = tuple(condition for condition in conditions if not any(condition is r for r in ready))
    return LoopJoin(left, access_filter(scan, [*own, *ready]), _plain(kind), rest, True)


def split_equalities(
    conditions: Sequence[Expression], left: set[Slot], right: set[Slot]
) -> tuple[list[tuple[Expression, Expression]], list[Expression]]:
    """The pairs (left side, right side) of equalities that connect, and the other conditions."""
    keys: list[tuple[Expression, Expression]] = []
    rest: list[Expression] = []
    for condition in conditions:
        pair = _equality(condition, left, right)
        if pair is None:
            rest.append(condition)
        else:
            keys.append(pair)
    return keys, rest


def _equality(
    condition: Expression, left: set[Slot], right: set[Slot]
) -> tuple[Expression, Expression] | None:
    if not isinstance(condition, Call) or condition.name != "=":
        return None
    first, second = condition.arguments
    for one, other in ((first, second), (second, first)):
        of_one, of_other = slots_of(one), slots_of(other)
        if of_one & left and not of_one & right and of_other & right and not of_other & left:
            return one, other
    return None


def is_unique_key(plan: Plan, keys: Sequence[Expression]) -> bool:
    """Whether at most one row of the plan has given values of the keys."""
    if isinstance(plan, Filter):
        return is_unique_key(plan.input, keys)
    if not isinstance(plan, Scan):
        return False
    positions = {key.slot.position for key in keys if isinstance(key, SlotRef)}
    table = plan.source.table
    candidates = [table.primary_key, *(index.columns for index in table.indexes if index.is_unique)]
    return any(columns and positions.issuperset(columns) for columns in candidates)


def is_single_row(plan: Plan) -> bool:
    """Whether the plan has at most one row, known without looking."""
    if isinstance(plan, (Filter, Project, Limit)):
        return is_single_row(plan.input) or (isinstance(plan, Filter) and _is_point(plan))
    if isinstance(plan, Aggregate):
        return not plan.keys
    if isinstance(plan, Values):
        return len(plan.rows) == 1
    if isinstance(plan, LoopJoin) and plan.is_lookup:
        right = plan.right.input if isinstance(plan.right, Filter) else plan.right
        return is_single_row(plan.left) and isinstance(right, Scan) and _reads_one(right)
    return isinstance(plan, Scan) and _reads_one(plan)


def _reads_one(scan: Scan) -> bool:
    return scan.access.is_point and len(scan.access.ranges) == 1


def _is_point(plan: Filter) -> bool:
    if not isinstance(plan.input, Scan):
        return False
    best = best_access(plan.input.source, plan.conditions)
    return best is not None and best.access.is_point and len(best.access.ranges) == 1

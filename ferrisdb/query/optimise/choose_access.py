"""Access paths: a condition on the first columns of a key says where to read.

    WHERE id = 7                         one key                  point
    WHERE a = 1 AND b > 5                key (a, b, ...)          range: a = 1, from 5
    WHERE id IN (3, 5)                   two keys                 points
    ORDER of equal columns               by the key, not by the statement

A condition that the path takes over is dropped from the filter. The other side must be
computable before the row is read: a constant, a parameter, a column of the query around
or, in a lookup join, of the left row. And it must have the column's own type, since keys
compare bytes; an integer beside a NUMERIC column is converted, a fraction beside an INTEGER
column is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from ferrisdb.immutable import immutable
from ferrisdb.query.algebra.operators import FULL_SCAN, AccessPath, Filter, KeyRange, Plan, Scan, TableSource
from ferrisdb.query.bind.expressions import (
    Call,
    Cast,
    Constant,
    Expression,
    InList,
    ParameterRef,
    Slot,
    SlotRef,
    slots_of,
)
from ferrisdb.query.optimise.heuristics import MAX_PROBES, AccessScore
from ferrisdb.query.schema import Index
from ferrisdb.query.types import Kind, SqlType
from ferrisdb.query.values import CastContext, cast_function

_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_LOWER = {">": False, ">=": True}
_UPPER = {"<": False, "<=": True}


@immutable
class _Match:
    """A condition as `column operator value`; IN has several values."""

    condition: Expression
    operator: str
    values: tuple[Expression, ...]


@immutable
class _Candidate:
    score: AccessScore
    access: AccessPath
    used: tuple[Expression, ...]


def choose_access(plan: Plan) -> Plan:
    # A lookup join has chosen already, and its conditions are in the path: another would lose them.
    if isinstance(plan, Filter) and isinstance(plan.input, Scan) and plan.input.access is FULL_SCAN:
        return access_filter(plan.input, plan.conditions)
    return plan.with_inputs([choose_access(child) for child in plan.inputs()])


def access_filter(scan: Scan, conditions: Sequence[Expression]) -> Plan:
    """A scan under conditions, by its best access path."""
    best = best_access(scan.source, conditions)
    if best is None:
        return Filter(scan, tuple(conditions))
    scan = replace(scan, access=best.access)
    rest = tuple(c for c in conditions if not any(c is used for used in best.used))
    return Filter(scan, rest) if rest else scan


def best_access(source: TableSource, conditions: Sequence[Expression]) -> _Candidate | None:
    """The best path that some condition opens; None when only the whole table is left."""
    matches: dict[int, list[_Match]] = {}
    own = source.owned()
    for condition in conditions:
        found = _match(condition, own)
        if found is not None:
            matches.setdefault(found[0], []).append(found[1])
    if not matches:
        return None
    candidates = []
    if source.table.primary_key:
        candidates.append(_candidate(matches, source.table.primary_key, None, is_unique=True))
    for index in source.table.indexes:
        candidates.append(_candidate(matches, index.columns, index, is_unique=index.is_unique))
    useful = [candidate for candidate in candidates if candidate.score.is_useful]
    return max(useful, key=lambda candidate: candidate.score, default=None)


def _match(condition: Expression, own: set[Slot]) -> tuple[int, _Match] | None:
    """The column's position and the condition seen from it."""
    if isinstance(condition, InList):
        return _match_in(condition, own)
    if not isinstance(condition, Call) or condition.name not in _FLIPPED or len(condition.arguments) != 2:
        return None
    left, right = condition.arguments
    for column, operator, value in (
        (left, condition.name, right),
        (right, _FLIPPED[condition.name], left),
    ):
        if isinstance(column, SlotRef) and column.slot in own and column.slot.position is not None:
            typed = _as_key(value, column.slot.type)
            if typed is not None and not slots_of(value) & own:
                return column.slot.position, _Match(condition, operator, (typed,))
    return None


def _match_in(condition: InList, own: set[Slot]) -> tuple[int, _Match] | None:
    column = condition.operand
    if not isinstance(column, SlotRef) or column.slot not in own or column.slot.position is None:
        return None
    typed = [_as_key(item, column.slot.type) for item in condition.items]
    values = tuple(value for value in typed if value is not None)
    if len(values) < len(typed) or len(values) > MAX_PROBES:
        return None
    if not all(isinstance(value, (Constant, ParameterRef, Cast)) for value in values):
        return None
    if any(slots_of(value) & own for value in values):
        return None
    return column.slot.position, _Match(condition, "in", values)


def _as_key(value: Expression, column: SqlType) -> Expression | None:
    """The value as the column's kind, when that is exact; None when it may not be."""
    if value.type.kind is column.kind:
        return value
    if value.type.kind is not Kind.INTEGER or column.kind is not Kind.NUMERIC:
        return None
    plain = SqlType(Kind.NUMERIC)
    function = cast_function(value.type, plain, CastContext.IMPLICIT)
    return None if function is None else Cast(value, plain, True, function)


def _candidate(
    matches: dict[int, list[_Match]], columns: tuple[int, ...], index: Index | None, *, is_unique: bool
) -> _Candidate:
    equal: list[tuple[Expression, ...]] = []
    used: list[Expression] = []
    probes = 1
    for position in columns:
        match = _equality(matches.get(position, ()), probes)
        if match is None:
            break
        equal.append(match.values)
        used.append(match.condition)
        probes *= len(match.values)
    lower = upper = None
    if len(equal) < len(columns):
        for match in matches.get(columns[len(equal)], ()):
            if match.operator in _LOWER and lower is None:
                lower = (match.values[0], _LOWER[match.operator])
                used.append(match.condition)
            elif match.operator in _UPPER and upper is None:
                upper = (match.values[0], _UPPER[match.operator])
                used.append(match.condition)
    ranges = tuple(KeyRange(values, lower, upper) for values in product(*equal))
    is_point = is_unique and len(equal) == len(columns)
    bounds = (lower is not None) + (upper is not None)
    score = AccessScore(is_point, len(equal), bounds, index is None)
    return _Candidate(score, AccessPath(index, columns, ranges, is_point), tuple(used))


def _equality(matches: Sequence[_Match], probes: int) -> _Match | None:
    single = next((match for match in matches if match.operator == "="), None)
    if single is not None:
        return single
    listed = next((match for match in matches if match.operator == "in"), None)
    return listed if listed is not None and len(listed.values) * probes <= MAX_PROBES else None

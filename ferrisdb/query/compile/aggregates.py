"""Code for GROUP BY and aggregates: a dict of small lists, and the fold written inline.

    count(*)        group[0] += 1
    sum(x)          group[1] += x                          x cannot be NULL
                    if x is not None: s = group[1]; ...    x can
    avg(x)          sum and count side by side
    min(x)          s = group[2]; if s is None or x < s: group[2] = x
    another         group[3] = step(group[3], x)
    agg(DISTINCT x) the values in a dict, folded at the end

Without GROUP BY the states are plain local variables. Either way the function's own
`finish` turns a state into the value, so overflow is checked in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferrisdb.immutable import immutable
from ferrisdb.query.algebra.operators import Aggregate
from ferrisdb.query.bind.expressions import AggregateCall, Slot
from ferrisdb.query.compile import support
from ferrisdb.query.compile.writer import tuple_of
from ferrisdb.query.types import Value
from ferrisdb.query.values import AggregateFunction, AggregateKind

if TYPE_CHECKING:
    from ferrisdb.query.compile.expressions import ExpressionCompiler
    from ferrisdb.query.compile.program import Consume, Program


@immutable
class _State:
    """An aggregate's states: one, or two for avg. `initial` is code; `places` hold them."""

    call: AggregateCall
    initial: tuple[str, ...]
    places: tuple[str, ...]


def produce_aggregate(program: Program, plan: Aggregate, outer: Mapping[Slot, str], consume: Consume) -> None:
    if plan.keys:
        _grouped(program, plan, outer, consume)
    else:
        _single(program, plan, outer, consume)


def _single(program: Program, plan: Aggregate, outer: Mapping[Slot, str], consume: Consume) -> None:
    writer = program.writer
    states = []
    for _, call in plan.calls:
        initial = _initial(program, call, is_never_empty=False)
        places = tuple(program.namespace.fresh("state") for _ in initial)
        states.append(_State(call, initial, places))
        for place, code in zip(places, initial, strict=True):
            writer.line(f"{place} = {code}")

    def fold(row: dict[Slot, str]) -> None:
        for state in states:
            _step(program, program.expressions(outer, row), state, is_never_empty=False)

    if states:
        # When nobody looks at an aggregate, there is one row whatever the input is.
        program.produce(plan.input, outer, fold)
    with writer.loop(f"for _ in {program.namespace.name(support.ONCE)}:"):
        consume(_finish(program, plan, states, {}))


def _grouped(program: Program, plan: Aggregate, outer: Mapping[Slot, str], consume: Consume) -> None:
    writer = program.writer
    groups, group = program.namespace.fresh("groups"), program.namespace.fresh("group")
    writer.line(f"{groups} = {{}}")
    states: list[_State] = []
    initials: list[str] = []
    for _, call in plan.calls:
        initial = _initial(program, call, is_never_empty=True)
        places = tuple(f"{group}[{len(initials) + number}]" for number in range(len(initial)))
        states.append(_State(call, initial, places))
        initials += initial

    def fold(row: dict[Slot, str]) -> None:
        compiler = program.expressions(outer, row)
        codes = [compiler.value(expression) for _, expression in plan.keys]
        key = codes[0] if len(codes) == 1 else tuple_of(codes)
        if not key.isidentifier():
            name = program.namespace.fresh("g")
            writer.line(f"{name} = {key}")
            key = name
        if not states:
            writer.line(f"{groups}[{key}] = None")
            return
        writer.line(f"{group} = {groups}.get({key})")
        writer.line(f"if {group} is None: {group} = {groups}[{key}] = [{', '.join(initials)}]")
        for state in states:
            _step(program, compiler, state, is_never_empty=True)

    program.produce(plan.input, outer, fold)
    names = program.new_names([slot for slot, _ in plan.keys])
    keys = list(names.values())
    target = keys[0] if len(keys) == 1 else tuple_of(keys)
    with writer.loop(f"for {target}, {group} in {groups}.items():"):
        consume(_finish(program, plan, states, names))


def _is_plain_sum(call: AggregateCall) -> bool:
    """Whether each row of a group adds something, so that 0 can be where a sum starts."""
    return not call.arguments[0].is_nullable


def _initial(program: Program, call: AggregateCall, *, is_never_empty: bool) -> tuple[str, ...]:
    kind = call.function.kind
    if call.is_distinct and kind not in {AggregateKind.MIN, AggregateKind.MAX}:
        return ("{}",)
    if kind in {AggregateKind.COUNT, AggregateKind.COUNT_STAR}:
        return ("0",)
    total = "0" if is_never_empty and call.arguments and _is_plain_sum(call) else "None"
    if kind is AggregateKind.SUM:
        return (total,)
    if kind is AggregateKind.AVG:
        return (total, "0")
    if kind is AggregateKind.OTHER:
        return (f"{program.namespace.name(call.function.initial, 'f')}()",)
    return ("None",)


def _step(program: Program, compiler: ExpressionCompiler, state: _State, *, is_never_empty: bool) -> None:
    writer, call = program.writer, state.call
    kind, place = call.function.kind, state.places[0]
    if kind is AggregateKind.COUNT_STAR:
        writer.line(f"{place} += 1")
        return
    codes = [compiler.value(argument) for argument in call.arguments]
    value, condition = codes[0], ""
    is_used_twice = kind is not AggregateKind.SUM or not is_never_empty
    if not value.isidentifier() and (call.arguments[0].is_nullable or is_used_twice):
        name = program.namespace.fresh("x")
        writer.line(f"{name} = {value}")
        value = name
    if call.arguments[0].is_nullable:
        condition = f"if {value} is not None: "
    for line in _fold_lines(program, state, value, codes[1:], is_never_empty):
        writer.line(condition + line)


def _fold_lines(
    program: Program, state: _State, value: str, others: Sequence[str], is_never_empty: bool
) -> list[str]:
    call, place = state.call, state.places[0]
    kind = call.function.kind
    if kind in {AggregateKind.MIN, AggregateKind.MAX}:
        sign = "<" if kind is AggregateKind.MIN else ">"
        return [f"{place} = {value} if {place} is None or {value} {sign} {place} else {place}"]
    if call.is_distinct:
        return [f"{place}[{value}] = None"]
    if kind is AggregateKind.COUNT:
        return [f"{place} += 1"]
    if kind is AggregateKind.OTHER:
        step = program.namespace.name(call.function.step, "f")
        return [f"{place} = {step}({', '.join([place, value, *others])})"]
    add = f"{place} = {value} if {place} is None else {place} + {value}"
    if is_never_empty and _is_plain_sum(call):
        add = f"{place} += {value}"
    return [add] if kind is AggregateKind.SUM else [add, f"{state.places[1]} += 1"]


def _finish(
    program: Program, plan: Aggregate, states: Sequence[_State], names: dict[Slot, str]
) -> dict[Slot, str]:
    """Write the results of a group; the names of its slots."""
    for (slot, call), state in zip(plan.calls, states, strict=True):
        finish = program.namespace.name(call.function.finish, "f")
        kind = call.function.kind
        if call.is_distinct and kind not in {AggregateKind.MIN, AggregateKind.MAX}:
            folded = program.namespace.name(_DistinctFold(call.function), "f")
            code = f"{folded}({state.places[0]})"
        elif kind is AggregateKind.AVG:
            code = f"{finish}({tuple_of(list(state.places))})"
        else:
            code = f"{finish}({state.places[0]})"
        program.writer.line(f"c{slot.id} = {code}")
        names[slot] = f"c{slot.id}"
    return names


class _DistinctFold:
    """Folds the distinct values of a group, in order of first appearance."""

    def __init__(self, function: AggregateFunction) -> None:
        self._function = function

    def __call__(self, values: Mapping[Value, None]) -> Value:
        state: Any = self._function.initial()
        for value in values:
            state = self._function.step(state, value)
        return self._function.finish(state)

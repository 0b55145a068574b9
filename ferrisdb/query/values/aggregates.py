"""Aggregates: a fold over the rows of a group.

                 INTEGER     NUMERIC    DOUBLE     other ordered kinds
    count        INTEGER     INTEGER    INTEGER    INTEGER
    sum          INTEGER     NUMERIC    DOUBLE
    avg          NUMERIC     NUMERIC    DOUBLE
    total        DOUBLE      DOUBLE     DOUBLE     (sum that is 0 for no rows, SQLite's)
    min, max     the argument's type

A group without a value gives NULL, and 0 to count and total. sum(INTEGER) adds up without
an end and is checked once, when it is finished: PostgreSQL adds bigint in NUMERIC for the
same reason, so a sum that leaves 64 bits in the middle and comes back is no error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from ferrisdb.errors import UndefinedFunction
from ferrisdb.query.types import BOOLEAN, DOUBLE, INTEGER, NUMERIC, TEXT, UNKNOWN, Kind, SqlType, Value
from ferrisdb.query.values.function import AggregateFunction, AggregateKind
from ferrisdb.query.values.numbers import NUMERIC_CONTEXT, checked_double, checked_integer, divide_numeric

AGGREGATE_NAMES = ("count", "sum", "avg", "min", "max", "total", "bool_and", "bool_or", "every", "string_agg")


def aggregate_function(
    name: str, argument_types: Sequence[SqlType], is_star: bool
) -> AggregateFunction | None:
    """The aggregate, or None when the name is none. Raises UndefinedFunction for wrong arguments."""
    if name not in AGGREGATE_NAMES:
        return None
    if is_star:
        found = _COUNT_STAR if name == "count" and not argument_types else None
    else:
        found = _aggregate(name, tuple(argument_types))
    if found is None:
        shown = "*" if is_star else ", ".join(str(argument) for argument in argument_types)
        raise UndefinedFunction(f"function {name}({shown}) does not exist", hint=_HINTS.get(name))
    return found


_HINTS = {
    "count": "count takes one argument, or a star",
    "sum": "sum takes one number",
    "avg": "avg takes one number",
    "total": "total takes one number",
    "min": "min takes one argument; least takes several",
    "max": "max takes one argument; greatest takes several",
    "string_agg": "string_agg takes a TEXT and a separator",
}


@functools.lru_cache(maxsize=512)
def _aggregate(name: str, argument_types: tuple[SqlType, ...]) -> AggregateFunction | None:
    if name == "string_agg":
        textual = [argument.kind in (Kind.TEXT, Kind.UNKNOWN) for argument in argument_types]
        return _STRING_AGG if textual == [True, True] else None
    if len(argument_types) != 1:
        return None
    argument = argument_types[0]
    if name == "count":
        return _count(argument)
    if name in ("min", "max"):
        return _extreme(name, TEXT if argument.kind is Kind.UNKNOWN else argument)
    if name in ("bool_and", "bool_or", "every"):
        return _boolean(name) if argument.kind in (Kind.BOOLEAN, Kind.UNKNOWN) else None
    number = INTEGER if argument == UNKNOWN else SqlType(argument.kind)
    return _of_number(name, number) if number.is_number else None


# --- counting ---------------------------------------------------------------------------


def _zero() -> int:
    return 0


def _count_row(state: int, *arguments: Value) -> int:
    return state + 1


def _same(state: Any) -> Value:
    return state


_COUNT_STAR = AggregateFunction("count", AggregateKind.COUNT_STAR, (), INTEGER, _zero, _count_row, _same)


def _count(argument: SqlType) -> AggregateFunction:
    argument = TEXT if argument.kind is Kind.UNKNOWN else argument
    return AggregateFunction("count", AggregateKind.COUNT, (argument,), INTEGER, _zero, _count_row, _same)


# --- adding -----------------------------------------------------------------------------


def _nothing() -> None:
    return None


def _add(state: Any, value: Any) -> Any:
    return value if state is None else state + value


def _add_numeric(state: Decimal | None, value: Decimal) -> Decimal:
    return value if state is None else NUMERIC_CONTEXT.add(state, value)


def _finish_integer_sum(state: int | None) -> int | None:
    return None if state is None else checked_integer(state)


def _finish_double_sum(state: float | None) -> float | None:
    return None if state is None else checked_double(state)


def _finish_total(state: Any) -> float:
    return 0.0 if state is None else checked_double(float(state))


_ADD = {Kind.INTEGER: _add, Kind.DOUBLE: _add, Kind.NUMERIC: _add_numeric}
_FINISH_SUM: dict[Kind, Callable[[Any], Value]] = {
    Kind.INTEGER: _finish_integer_sum,
    Kind.DOUBLE: _finish_double_sum,
    Kind.NUMERIC: _same,
}


def _of_number(name: str, number: SqlType) -> AggregateFunction:
    add, types = _ADD[number.kind], (number,)
    if name == "sum":
        return AggregateFunction(
            name, AggregateKind.SUM, types, number, _nothing, add, _FINISH_SUM[number.kind]
        )
    if name == "total":
        return AggregateFunction(name, AggregateKind.OTHER, types, DOUBLE, _nothing, add, _finish_total)
    is_double = number.kind is Kind.DOUBLE
    return AggregateFunction(
        name,
        AggregateKind.AVG,
        types,
        DOUBLE if is_double else NUMERIC,
        _no_sum_no_count,
        _average_step(add),
        average_double if is_double else average_numeric,
    )


def _no_sum_no_count() -> list[Any]:
    return [None, 0]


def _average_step(add: Callable[[Any, Any], Any]) -> Callable[[list[Any], Any], list[Any]]:
    def step(state: list[Any], value: Any) -> list[Any]:
        state[0] = add(state[0], value)
        state[1] += 1
        return state

    return step


def average_numeric(state: Sequence[Any]) -> Decimal | None:
    """`state` is (sum, count): avg of INTEGER and NUMERIC, with the scale of a division."""
    total, count = state
    return divide_numeric(total, count) if count else None


def average_double(state: Sequence[Any]) -> float | None:
    total, count = state
    return checked_double(total) / count if count else None


# --- the rest ---------------------------------------------------------------------------


def _smaller(state: Any, value: Any) -> Any:
    return value if state is None or value < state else state


def _larger(state: Any, value: Any) -> Any:
    return value if state is None or value > state else state


def _extreme(name: str, argument: SqlType) -> AggregateFunction:
    kind, step = (AggregateKind.MIN, _smaller) if name == "min" else (AggregateKind.MAX, _larger)
    return AggregateFunction(name, kind, (argument,), argument, _nothing, step, _same)


def _all(state: bool | None, value: bool) -> bool:
    return value if state is None else state and value


def _any(state: bool | None, value: bool) -> bool:
    return value if state is None else state or value


def _boolean(name: str) -> AggregateFunction:
    step = _any if name == "bool_or" else _all
    return AggregateFunction(name, AggregateKind.OTHER, (BOOLEAN,), BOOLEAN, _nothing, step, _same)


def _append(state: list[str] | None, value: str, separator: str | None) -> list[str]:
    """The separator of the first value is not used, as in PostgreSQL; NULL separates by nothing."""
    if state is None:
        return [value]
    state.append(separator or "")
    state.append(value)
    return state


def _join(state: list[str] | None) -> str | None:
    return None if state is None else "".join(state)


_STRING_AGG = AggregateFunction(
    "string_agg", AggregateKind.OTHER, (TEXT, TEXT), TEXT, _nothing, _append, _join
)

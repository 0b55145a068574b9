"""Scalar functions: choosing one by its name and the types of its arguments.

A name has one or more overloads, each a `ScalarFunction`. An overload fits when every
argument may be cast to its type unasked. Of those that fit, the one that needs the fewest
casts is taken, an UNKNOWN not counted; then the one declared first, as sqrt(DOUBLE) is for
sqrt(2).

greatest, least, concat and concat_ws take any number of arguments and are made to measure.
coalesce and nullif are no functions: they do not evaluate all of their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.errors import UndefinedFunction
from ferrisdb.query.types import TEXT, Kind, SqlType, Value
from ferrisdb.query.values.casts import CastContext, can_cast
from ferrisdb.query.values.function import ScalarFunction
from ferrisdb.query.values.functions_date import DATE_FUNCTIONS
from ferrisdb.query.values.functions_number import NUMBER_FUNCTIONS
from ferrisdb.query.values.functions_text import TEXT_FUNCTIONS
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.query.values.texts import format_value
from ferrisdb.query.values.type_names import common_type

_OVERLOADS: dict[str, list[ScalarFunction]] = {}
for _function in (*NUMBER_FUNCTIONS, *TEXT_FUNCTIONS, *DATE_FUNCTIONS):
    _OVERLOADS.setdefault(_function.name, []).append(_function)

_VARIADIC = ("greatest", "least", "concat", "concat_ws")
_TAUGHT_ELSEWHERE = ("coalesce", "nullif", "ifnull", "count", "sum", "avg", "min", "max")


def function_names() -> list[str]:
    """Every scalar function's name, sorted."""
    return sorted([*_OVERLOADS, *_VARIADIC])


def scalar_function(name: str, argument_types: Sequence[SqlType]) -> ScalarFunction:
    """The function for arguments of these types.

    Raises UndefinedFunction with what it does take, or with the nearest name.
    """
    if name in _VARIADIC and argument_types:
        found = _variadic(name, argument_types)
        if found is not None:
            return found
    fitting = [
        (cost, order, overload)
        for order, overload in enumerate(_OVERLOADS.get(name, ()))
        if (cost := _cost(argument_types, overload.argument_types)) is not None
    ]
    if fitting:
        return min(fitting, key=lambda entry: entry[:2])[2]
    shown = ", ".join(str(argument) for argument in argument_types)
    raise UndefinedFunction(f"function {name}({shown}) does not exist", hint=_hint(name))


def _hint(name: str) -> str | None:
    overloads = _OVERLOADS.get(name)
    if overloads:
        takes = [f"{name}({', '.join(map(str, overload.argument_types))})" for overload in overloads]
        return "there is " + ", ".join(dict.fromkeys(takes))
    if name in _VARIADIC:
        return f"{name} takes one or more arguments" + (", a TEXT first" if name == "concat_ws" else "")
    return did_you_mean(name, [*function_names(), *_TAUGHT_ELSEWHERE])


def _cost(given: Sequence[SqlType], wanted: Sequence[SqlType]) -> int | None:
    """How many casts it takes; None when one of them does not happen unasked."""
    if len(given) != len(wanted):
        return None
    casts = [
        (source, target)
        for source, target in zip(given, wanted, strict=True)
        if source.kind is not target.kind
    ]
    if not all(can_cast(source, target, CastContext.IMPLICIT) for source, target in casts):
        return None
    return sum(source.kind is not Kind.UNKNOWN for source, _ in casts)


# --- any number of arguments ------------------------------------------------------------


def _variadic(name: str, argument_types: Sequence[SqlType]) -> ScalarFunction | None:
    if name in ("greatest", "least"):
        common = common_type(argument_types, name.upper())
        call = _greatest if name == "greatest" else _least
        return ScalarFunction(name, (common,) * len(argument_types), common, call, is_strict=False)
    types = tuple(TEXT if given.kind is Kind.UNKNOWN else given for given in argument_types)
    if name == "concat":
        return ScalarFunction(name, types, TEXT, _concat, is_strict=False)
    if types[0].kind is not Kind.TEXT:
        return None
    return ScalarFunction(name, types, TEXT, _concat_ws, is_strict=False)


def _greatest(*values: Value) -> Value:
    present = [value for value in values if value is not None]
    return max(present) if present else None  # type: ignore[type-var]


def _least(*values: Value) -> Value:
    present = [value for value in values if value is not None]
    return min(present) if present else None  # type: ignore[type-var]


def _concat(*values: Value) -> str:
    return "".join(format_value(value) for value in values if value is not None)


def _concat_ws(separator: str | None, *values: Value) -> str | None:
    if separator is None:
        return None
    return separator.join(format_value(value) for value in values if value is not None)

"""Functions of numbers. Each keeps the kind it is given where PostgreSQL's mathematics allow.

abs, sign, floor, ceil, round, trunc of an INTEGER stay INTEGER; sqrt, power of an INTEGER
are DOUBLE. round of a DOUBLE takes a tie to the even side (the machine's rint), of a NUMERIC
away from zero. round(DOUBLE, places), which PostgreSQL lacks and SQLite has, rounds the
number as it is printed, so that round(2.675, 2) is 2.68.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from decimal import Decimal

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.query.types import DOUBLE, INTEGER, NUMERIC, SqlType, Value
from ferrisdb.query.values import numbers
from ferrisdb.query.values.function import ScalarFunction
from ferrisdb.query.values.numbers import (
    MIN_SIGNIFICANT_DIGITS,
    checked_double,
    checked_integer,
    numeric_overflow,
    round_numeric,
    scale_of,
)

_MAX_PLACES = 1000


def _same(value: Value) -> Value:
    return value


def _absolute_integer(value: int) -> int:
    return checked_integer(abs(value))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _sign_double(value: float) -> float:
    return float((value > 0) - (value < 0))


def _sign_numeric(value: Decimal) -> Decimal:
    return Decimal((value > 0) - (value < 0))


# --- rounding ---------------------------------------------------------------------------


def _places(places: int) -> int:
    return max(-_MAX_PLACES, min(_MAX_PLACES, places))


def _round_double(value: float) -> float:
    return float(round(value)) or 0.0


def _round_double_places(value: float, places: int) -> float:
    return checked_double(float(round_numeric(Decimal(repr(value)), _places(places))))


def _round_numeric_places(value: Decimal, places: int) -> Decimal:
    return round_numeric(value, _places(places))


def _round_integer_places(value: int, places: int) -> int:
    return value if places >= 0 else checked_integer(int(round_numeric(value, _places(places))))


def _trunc_double_places(value: float, places: int) -> float:
    return float(round_numeric(Decimal(repr(value)), _places(places), decimal.ROUND_DOWN))


def _trunc_numeric_places(value: Decimal, places: int) -> Decimal:
    return round_numeric(value, _places(places), decimal.ROUND_DOWN)


def _trunc_integer_places(value: int, places: int) -> int:
    return value if places >= 0 else int(round_numeric(value, _places(places), decimal.ROUND_DOWN))


def _to_whole(rounding: str) -> Callable[[Decimal], Decimal]:
    return lambda value: round_numeric(value, 0, rounding)


def _whole_double(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(function(value))


# --- roots and powers -------------------------------------------------------------------


def _sqrt_double(value: float) -> float:
    if value < 0:
        raise InvalidParameterValue("cannot take square root of a negative number")
    return math.sqrt(value)


def _sqrt_numeric(value: Decimal) -> Decimal:
    """At least 16 significant digits, with PostgreSQL's number of places."""
    if value < 0:
        raise InvalidParameterValue("cannot take square root of a negative number")
    weight = value.adjusted() // 4 if value else 0
    result_weight = (weight + 1) * 2 - 1
    places = max(MIN_SIGNIFICANT_DIGITS - result_weight, scale_of(value), 0)
    # In whole numbers, and so rounded once: a root that is rounded to more digits first can land
    # on a half that it was below (sqrt(1000000000000.001) is 1000000.00000000049999...).
    numerator, denominator = value.as_integer_ratio()
    halves = math.isqrt(4 * numerator * 10 ** (2 * places) // denominator)
    return Decimal((halves + 1) // 2).scaleb(-places, numbers.NUMERIC_CONTEXT)


def _power_double(base: float, exponent: float) -> float:
    _check_power(base, exponent)
    try:
        return checked_double(math.pow(base, exponent))
    except OverflowError:
        numbers.double_overflow(math.inf)


def _power_numeric(base: Decimal, exponent: Decimal) -> Decimal:
    """16 significant digits, and never fewer places than an operand shows."""
    _check_power(base, exponent)
    shown = max(scale_of(base), scale_of(exponent))
    if not base or not exponent:
        return round_numeric(Decimal(0 if exponent else 1), max(MIN_SIGNIFICANT_DIGITS, shown))
    # log10 of the result, to know how many digits stand before the point.
    weight = float(exponent) * (math.log10(abs(base.scaleb(-base.adjusted()))) + base.adjusted())
    if weight > numbers.NUMERIC_DIGITS:
        raise numeric_overflow()
    if weight < -numbers.MAX_DISPLAY_SCALE:
        return round_numeric(0, numbers.MAX_DISPLAY_SCALE)
    places = min(max(MIN_SIGNIFICANT_DIGITS - int(weight), shown, 0), numbers.MAX_DISPLAY_SCALE)
    digits = max(int(weight), 0) + places + 25
    return round_numeric(numbers.working_context(digits).power(base, exponent), places)


def _check_power(base: Decimal | float, exponent: Decimal | float) -> None:
    if not base and exponent < 0:
        raise InvalidParameterValue("zero raised to a negative power is undefined")
    if base < 0 and exponent != int(exponent):
        raise InvalidParameterValue("a negative number raised to a non-integer power yields a complex result")


def _define(
    name: str, argument_types: tuple[SqlType, ...], result: SqlType, call: Callable[..., Value]
) -> ScalarFunction:
    return ScalarFunction(name, argument_types, result, call)


_I, _N, _D = (INTEGER,), (NUMERIC,), (DOUBLE,)

NUMBER_FUNCTIONS: tuple[ScalarFunction, ...] = (
    _define("abs", _I, INTEGER, _absolute_integer),
    _define("abs", _N, NUMERIC, Decimal.copy_abs),
    ScalarFunction("abs", _D, DOUBLE, abs, template="abs({0})", names={"abs": abs}),
    _define("sign", _I, INTEGER, _sign),
    _define("sign", _N, NUMERIC, _sign_numeric),
    _define("sign", _D, DOUBLE, _sign_double),
    *(_define(name, _I, INTEGER, _same) for name in ("floor", "ceil", "ceiling", "round", "trunc")),
    _define("floor", _N, NUMERIC, _to_whole(decimal.ROUND_FLOOR)),
    _define("floor", _D, DOUBLE, _whole_double(math.floor)),
    *(_define(name, _N, NUMERIC, _to_whole(decimal.ROUND_CEILING)) for name in ("ceil", "ceiling")),
    *(_define(name, _D, DOUBLE, _whole_double(math.ceil)) for name in ("ceil", "ceiling")),
    _define("round", _N, NUMERIC, _to_whole(decimal.ROUND_HALF_UP)),
    _define("round", _D, DOUBLE, _round_double),
    _define("round", (INTEGER, INTEGER), INTEGER, _round_integer_places),
    _define("round", (NUMERIC, INTEGER), NUMERIC, _round_numeric_places),
    _define("round", (DOUBLE, INTEGER), DOUBLE, _round_double_places),
    _define("trunc", _N, NUMERIC, _to_whole(decimal.ROUND_DOWN)),
    _define("trunc", _D, DOUBLE, _whole_double(math.trunc)),
    _define("trunc", (INTEGER, INTEGER), INTEGER, _trunc_integer_places),
    _define("trunc", (NUMERIC, INTEGER), NUMERIC, _trunc_numeric_places),
    _define("trunc", (DOUBLE, INTEGER), DOUBLE, _trunc_double_places),
    _define("mod", (INTEGER, INTEGER), INTEGER, numbers.modulo_integer),
    _define("mod", (NUMERIC, NUMERIC), NUMERIC, numbers.modulo_numeric),
    _define("sqrt", _D, DOUBLE, _sqrt_double),
    _define("sqrt", _N, NUMERIC, _sqrt_numeric),
    *(_define(name, (DOUBLE, DOUBLE), DOUBLE, _power_double) for name in ("power", "pow")),
    *(_define(name, (NUMERIC, NUMERIC), NUMERIC, _power_numeric) for name in ("power", "pow")),
)

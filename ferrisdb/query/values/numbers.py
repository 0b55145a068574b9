"""Arithmetic with PostgreSQL's answers: checked, exact, and rounding half away from zero.

INTEGER is 64 bit. Python's int has no end, so every result is compared with both ends.
Division truncates toward zero and % takes the sign of the dividend; Python's `//` and `%`
floor, which differs as soon as one side is negative.

NUMERIC is exact. `decimal` rounds silently to the precision of its context, 28 digits by
default; `NUMERIC_CONTEXT` has room for 16384 and traps `Inexact`, so an answer that does
not fit is an error and never a wrong digit. What must round (division, sqrt, NUMERIC(p,s))
says to how many places and does it here, in contexts of its own.

The scale of a quotient follows PostgreSQL's select_div_scale: at least 16 significant
digits, and never fewer places than either operand shows. 1 / 3.0 is 0.33333333333333333333,
2 / 1.0 is 2.0000000000000000.

The contexts are shared by all threads. Threads write only their flags, which nobody reads.
"""

from __future__ import annotations

import decimal
import functools
import math
import sys
from decimal import Decimal
from typing import NoReturn

from ferrisdb.errors import DivisionByZero, Error, NumericValueOutOfRange
from ferrisdb.query.types import INTEGER_MAX, INTEGER_MIN

NUMERIC_DIGITS = 16_384
MAX_DISPLAY_SCALE = 1000
MIN_SIGNIFICANT_DIGITS = 16
DOUBLE_MAX = sys.float_info.max

_TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]


def _context(precision: int, rounding: str, traps: list[type[decimal.DecimalException]]) -> decimal.Context:
    return decimal.Context(
        prec=precision,
        rounding=rounding,
        # Without an end to the exponent 1E+16000 could be squared in two digits.
        Emin=-NUMERIC_DIGITS,
        Emax=NUMERIC_DIGITS - 1,
        capitals=1,
        clamp=0,
        flags=[],
        traps=traps,
    )


NUMERIC_CONTEXT = _context(NUMERIC_DIGITS, decimal.ROUND_HALF_UP, [*_TRAPS, decimal.Inexact])
"""The executor runs statements inside `decimal.localcontext(NUMERIC_CONTEXT)`."""

ROUNDING_CONTEXT = _context(NUMERIC_DIGITS, decimal.ROUND_HALF_UP, _TRAPS)
"""For `quantize`, which rounds on purpose."""


def arithmetic_error(error: ArithmeticError) -> Error:
    """What an ArithmeticError out of compiled code or a NUMERIC operation is in SQL."""
    if isinstance(error, ZeroDivisionError):
        return DivisionByZero("division by zero")
    if isinstance(error, decimal.DecimalException):
        return numeric_overflow()
    return NumericValueOutOfRange("value out of range")


def numeric_overflow() -> NumericValueOutOfRange:
    return NumericValueOutOfRange(
        "value overflows NUMERIC", detail=f"NUMERIC holds at most {NUMERIC_DIGITS} digits."
    )


# --- INTEGER ----------------------------------------------------------------------------


def integer_overflow(value: int) -> NoReturn:
    raise NumericValueOutOfRange(
        "INTEGER out of range",
        detail=f"The result {value} does not fit in 64 bits." if value.bit_length() < 200 else None,
        hint="cast an operand to NUMERIC",
    )


def checked_integer(value: int) -> int:
    """`value`, when it fits in 64 bits."""
    if INTEGER_MIN <= value <= INTEGER_MAX:
        return value
    integer_overflow(value)


def divide_integer(left: int, right: int) -> int:
    if right > 0 <= left:
        return left // right
    if not right:
        raise DivisionByZero("division by zero")
    quotient = abs(left) // abs(right)
    return checked_integer(quotient if (left < 0) == (right < 0) else -quotient)


def modulo_integer(left: int, right: int) -> int:
    if right > 0 <= left:
        return left % right
    if not right:
        raise DivisionByZero("division by zero")
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


# --- DOUBLE -----------------------------------------------------------------------------


def double_overflow(value: float) -> NoReturn:
    raise NumericValueOutOfRange("DOUBLE out of range: overflow")


def checked_double(value: float) -> float:
    """`value`, when it is finite."""
    if -DOUBLE_MAX <= value <= DOUBLE_MAX:
        return value
    double_overflow(value)


def divide_double(left: float, right: float) -> float:
    if not right:
        raise DivisionByZero("division by zero")
    return checked_double(left / right)


def modulo_double(left: float, right: float) -> float:
    if not right:
        raise DivisionByZero("division by zero")
    return math.fmod(left, right)


# --- NUMERIC ----------------------------------------------------------------------------


def divide_numeric(left: Decimal | int, right: Decimal | int) -> Decimal:
    dividend, divisor = Decimal(left), Decimal(right)
    if not divisor:
        raise DivisionByZero("division by zero")
    scale = division_scale(dividend, divisor)
    digits = dividend.adjusted() - divisor.adjusted() + scale + 3
    # Cut off, not rounded, with digits to spare: half-up below then sees true digits, and
    # no number is rounded twice.
    quotient = working_context(max(digits, 20)).divide(dividend, divisor)
    return round_numeric(quotient, scale)


def division_scale(dividend: Decimal, divisor: Decimal) -> int:
    """Decimal places of a quotient, as PostgreSQL's select_div_scale counts them."""
    weight, first = _leading_group(dividend)
    divisor_weight, divisor_first = _leading_group(divisor)
    quotient_weight = weight - divisor_weight - (first <= divisor_first)
    wanted = max(MIN_SIGNIFICANT_DIGITS - 4 * quotient_weight, scale_of(dividend), scale_of(divisor), 0)
    return min(wanted, MAX_DISPLAY_SCALE)


def _leading_group(value: Decimal) -> tuple[int, int]:
    """PostgreSQL keeps base 10000 digits: the weight of the first one, and the digit."""
    if not value:
        return 0, 0
    weight = value.adjusted() // 4
    return weight, abs(int(ROUNDING_CONTEXT.scaleb(value, -4 * weight)))


def modulo_numeric(left: Decimal | int, right: Decimal | int) -> Decimal:
    if not right:
        raise DivisionByZero("division by zero")
    try:
        return NUMERIC_CONTEXT.remainder(Decimal(left), Decimal(right))
    except decimal.DecimalException:
        raise numeric_overflow() from None


def scale_of(value: Decimal) -> int:
    """Decimal places that the value shows."""
    if not value.is_finite():
        return 0
    exponent = value.as_tuple().exponent
    return max(0, -int(exponent))


def round_numeric(value: Decimal | int, places: int, rounding: str = decimal.ROUND_HALF_UP) -> Decimal:
    """To `places` decimals, half away from zero; a negative `places` rounds before the point."""
    value = Decimal(value)
    try:
        rounded = value.quantize(_quantum(places), rounding, ROUNDING_CONTEXT)
        if places < 0:
            rounded = ROUNDING_CONTEXT.quantize(rounded, _quantum(0))
    except decimal.DecimalException:
        raise numeric_overflow() from None
    # Decimal keeps the sign of a zero; SQL has one zero.
    return rounded if rounded else abs(rounded)


def plain(value: Decimal) -> Decimal:
    """The same number without a positive exponent or a negative zero: 1E+2 becomes 100."""
    if not value:
        return ROUNDING_CONTEXT.abs(value) if scale_of(value) else Decimal(0)
    return ROUNDING_CONTEXT.quantize(value, _quantum(0)) if int(value.as_tuple().exponent) > 0 else value


@functools.lru_cache(maxsize=256)
def _quantum(places: int) -> Decimal:
    return Decimal((0, (1,), -places))


@functools.lru_cache(maxsize=64)
def working_context(digits: int) -> decimal.Context:
    """For results that never end: so many digits, the rest cut off."""
    return _context(digits, decimal.ROUND_DOWN, _TRAPS)


# --- from one kind of number to another -------------------------------------------------


def integer_from_double(value: float) -> int:
    """The nearest integer; a tie goes to the even one, as PostgreSQL's rint."""
    return checked_integer(round(value))


def integer_from_numeric(value: Decimal) -> int:
    """The nearest integer; a tie goes away from zero."""
    if value.adjusted() > 20:
        raise NumericValueOutOfRange("INTEGER out of range")
    return checked_integer(int(round_numeric(value, 0)))


def double_from_numeric(value: Decimal) -> float:
    return checked_double(float(value))


def numeric_from_double(value: float) -> Decimal:
    """15 significant digits, as PostgreSQL: 0.1 + 0.2 becomes 0.3."""
    return plain(Decimal(f"{value:.15g}"))


def fit_numeric(value: Decimal | int, precision: int, scale: int) -> Decimal:
    """Round to `scale` places; an error when more than precision - scale digits stand before the point."""
    rounded = round_numeric(value, scale)
    if rounded and rounded.adjusted() >= precision - scale:
        bound = "1" if precision == scale else f"10^{precision - scale}"
        raise NumericValueOutOfRange(
            "numeric field overflow",
            detail=f"A field with precision {precision}, scale {scale} must round to an absolute value"
            f" less than {bound}.",
        )
    return rounded

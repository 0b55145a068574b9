"""Operators: which types an operator takes, and what it computes.

Two number kinds meet in the wider one, INTEGER -> NUMERIC -> DOUBLE. INTEGER and NUMERIC,
and INTEGER and DOUBLE in a comparison, meet without a cast: Python compares them exactly.
An UNKNOWN operand (a quoted literal, a str parameter, NULL) takes the other side's type;
two of them are TEXT to `||` and to comparisons, INTEGER to arithmetic.

DOUBLE holds finite numbers only (types.py), so a result outside the finite range is always
an overflow, and `<` of Python is `<` of SQL.
"""

from __future__ import annotations

import decimal
import functools
import operator as python
from collections.abc import Callable
from decimal import Decimal

from ferrisdb.errors import UndefinedFunction
from ferrisdb.query.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    NUMBER_KINDS,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    UNKNOWN,
    Kind,
    SqlType,
    Value,
)
from ferrisdb.query.values import dates, numbers
from ferrisdb.query.values.function import ScalarFunction
from ferrisdb.query.values.texts import format_value

_COMPARISONS: dict[str, tuple[Callable[..., bool], str]] = {
    "=": (python.eq, "({0} == {1})"),
    "<>": (python.ne, "({0} != {1})"),
    "<": (python.lt, "({0} < {1})"),
    "<=": (python.le, "({0} <= {1})"),
    ">": (python.gt, "({0} > {1})"),
    ">=": (python.ge, "({0} >= {1})"),
}
_ARITHMETIC = ("+", "-", "*", "/", "%")

_CHECKED_INTEGER = (
    "(_i if -9223372036854775808 <= (_i := {0} %s {1}) <= 9223372036854775807 else integer_overflow(_i))"
)
_CHECKED_DOUBLE = "(_f if -DOUBLE_MAX <= (_f := {0} %s {1}) <= DOUBLE_MAX else double_overflow(_f))"
_INTEGER_NAMES: dict[str, object] = {"integer_overflow": numbers.integer_overflow}
_DOUBLE_NAMES: dict[str, object] = {
    "double_overflow": numbers.double_overflow,
    "DOUBLE_MAX": numbers.DOUBLE_MAX,
}


def _integer(function: Callable[[int, int], int]) -> Callable[..., Value]:
    return lambda left, right: numbers.checked_integer(function(left, right))


def _double(function: Callable[[float, float], float]) -> Callable[..., Value]:
    return lambda left, right: numbers.checked_double(function(left, right))


def _numeric(function: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., Value]:
    def exact(left: Decimal, right: Decimal) -> Decimal:
        try:
            return function(left, right)
        except decimal.DecimalException:
            raise numbers.numeric_overflow() from None

    return exact


_CALLS: dict[tuple[str, Kind], Callable[..., Value]] = {
    ("+", Kind.INTEGER): _integer(python.add),
    ("-", Kind.INTEGER): _integer(python.sub),
    ("*", Kind.INTEGER): _integer(python.mul),
    ("/", Kind.INTEGER): numbers.divide_integer,
    ("%", Kind.INTEGER): numbers.modulo_integer,
    ("+", Kind.DOUBLE): _double(python.add),
    ("-", Kind.DOUBLE): _double(python.sub),
    ("*", Kind.DOUBLE): _double(python.mul),
    ("/", Kind.DOUBLE): numbers.divide_double,
    ("%", Kind.DOUBLE): numbers.modulo_double,
    ("+", Kind.NUMERIC): _numeric(numbers.NUMERIC_CONTEXT.add),
    ("-", Kind.NUMERIC): _numeric(numbers.NUMERIC_CONTEXT.subtract),
    ("*", Kind.NUMERIC): _numeric(numbers.NUMERIC_CONTEXT.multiply),
    ("/", Kind.NUMERIC): numbers.divide_numeric,
    ("%", Kind.NUMERIC): numbers.modulo_numeric,
}


@functools.lru_cache(maxsize=1024)
def binary_operator(operator: str, left: SqlType, right: SqlType) -> ScalarFunction:
    """The operator for operands of these types. Raises UndefinedFunction when there is none."""
    first, second = _without_modifiers(left), _without_modifiers(right)
    if operator == "||":
        found = _concatenation(first, second)
    else:
        first, second = _settle_unknown(operator, first, second)
        found = _comparison(operator, first, second) if operator in _COMPARISONS else None
        if operator in _ARITHMETIC:
            found = _arithmetic(operator, first, second) or _date_arithmetic(operator, first, second)
    if found is None:
        raise UndefinedFunction(
            f"operator does not exist: {left} {operator} {right}", hint=_hint(operator, first, second)
        )
    return found


@functools.lru_cache(maxsize=64)
def unary_operator(operator: str, operand: SqlType) -> ScalarFunction:
    """Minus or plus a number. Raises UndefinedFunction."""
    number = INTEGER if operand.kind is Kind.UNKNOWN else _without_modifiers(operand)
    if operator not in ("-", "+") or not number.is_number:
        raise UndefinedFunction(
            f"operator does not exist: {operator} {operand}",
            hint="only numbers have a sign; a cast may be needed",
        )
    if operator == "+":
        return ScalarFunction("+", (number,), number, _same, template="{0}")
    if number == INTEGER:
        return ScalarFunction(
            "-",
            (number,),
            number,
            lambda value: numbers.checked_integer(-value),
            template=_CHECKED_INTEGER.replace("{0} %s {1}", "-{0}"),
            names=_INTEGER_NAMES,
        )
    if number == NUMERIC:
        return ScalarFunction("-", (number,), number, negate_numeric)
    return ScalarFunction("-", (number,), number, python.neg, template="(-{0})")


def negate_numeric(value: Decimal) -> Decimal:
    # Not `-value`: that rounds to the precision of whatever context is current.
    return value.copy_negate() if value else value


def _same(value: Value) -> Value:
    return value


def _without_modifiers(type: SqlType) -> SqlType:
    return SqlType(type.kind) if type.has_modifiers else type


def _settle_unknown(operator: str, left: SqlType, right: SqlType) -> tuple[SqlType, SqlType]:
    if left.kind is Kind.UNKNOWN and right.kind is Kind.UNKNOWN:
        return (INTEGER, INTEGER) if operator in _ARITHMETIC else (TEXT, TEXT)
    if left.kind is Kind.UNKNOWN:
        return right, right
    if right.kind is Kind.UNKNOWN:
        return left, left
    return left, right


def _comparison(operator: str, left: SqlType, right: SqlType) -> ScalarFunction | None:
    if left.is_number and right.is_number:
        # An exact Decimal against a binary float: DOUBLE decides, or 0.1 = 0.1 were false.
        mixed = {left.kind, right.kind} == {Kind.NUMERIC, Kind.DOUBLE}
        types = (DOUBLE, DOUBLE) if mixed else (left, right)
    elif left.kind is right.kind:
        types = (left, right)
    elif {left.kind, right.kind} == {Kind.DATE, Kind.TIMESTAMP}:
        types = (TIMESTAMP, TIMESTAMP)
    else:
        return None
    call, template = _COMPARISONS[operator]
    return ScalarFunction(operator, types, BOOLEAN, call, template=template)


def _arithmetic(operator: str, left: SqlType, right: SqlType) -> ScalarFunction | None:
    if not (left.is_number and right.is_number):
        return None
    result = SqlType(max(left.kind, right.kind, key=NUMBER_KINDS.index))
    call = _CALLS[operator, result.kind]
    types = (DOUBLE, DOUBLE) if result == DOUBLE else (left, right)
    if operator in ("/", "%"):
        return ScalarFunction(operator, types, result, call)
    if result == NUMERIC:
        return ScalarFunction(operator, types, result, call, template=f"({{0}} {operator} {{1}})")
    checked, names = (
        (_CHECKED_INTEGER, _INTEGER_NAMES) if result == INTEGER else (_CHECKED_DOUBLE, _DOUBLE_NAMES)
    )
    return ScalarFunction(operator, types, result, call, template=checked % operator, names=names)


def _date_arithmetic(operator: str, left: SqlType, right: SqlType) -> ScalarFunction | None:
    if operator == "-" and left == DATE and right == DATE:
        return ScalarFunction("-", (DATE, DATE), INTEGER, dates.days_between)
    if operator == "-" and left == DATE and right == INTEGER:
        return ScalarFunction("-", (DATE, INTEGER), DATE, dates.subtract_days)
    if operator == "+" and left == DATE and right == INTEGER:
        return ScalarFunction("+", (DATE, INTEGER), DATE, dates.add_days)
    if operator == "+" and left == INTEGER and right == DATE:
        return ScalarFunction("+", (INTEGER, DATE), DATE, lambda days, start: dates.add_days(start, days))
    return None


def _concatenation(left: SqlType, right: SqlType) -> ScalarFunction | None:
    """TEXT || anything; one side must be text, so that 1 || 2 stays a mistake."""
    textual = (Kind.TEXT, Kind.UNKNOWN)
    if left.kind not in textual and right.kind not in textual:
        return None
    first = TEXT if left.kind is Kind.UNKNOWN else left
    second = TEXT if right.kind is Kind.UNKNOWN else right
    if first == TEXT == second:
        return ScalarFunction("||", (TEXT, TEXT), TEXT, python.add, template="({0} + {1})")
    return ScalarFunction("||", (first, second), TEXT, _concatenate)


def _concatenate(left: Value, right: Value) -> str:
    return format_value(left) + format_value(right)


def _hint(operator: str, left: SqlType, right: SqlType) -> str:
    if operator == "+" and TEXT in (left, right):
        return "|| concatenates text"
    if operator == "-" and TIMESTAMP in (left, right):
        return "timestamps cannot be subtracted; cast both to DATE for a number of days"
    if UNKNOWN in (left, right):
        return "cast the quoted literal to the type that is meant"
    return "cast one side to the other's type"

"""Casts: which type becomes which, how far it may happen unasked, and what it does.

    IMPLICIT     in an expression: only where nothing is lost
    ASSIGNMENT   into a column: also what may fail or round
    EXPLICIT     CAST(x AS t): also what changes the nature of the value

                  to INTEGER  NUMERIC  DOUBLE  TEXT  BOOLEAN  DATE  TIMESTAMP
    INTEGER          -        I        I       A     E
    NUMERIC          A        -        I       A
    DOUBLE           A        A        -       A
    TEXT             E        E        E       -     E        E     E
    BOOLEAN          E                         A     -
    DATE                                       A              -     I
    TIMESTAMP                                  A              A     -
    (unknown)        I        I        I       I     I        I     I

As in PostgreSQL: DOUBLE to INTEGER rounds a tie to even, NUMERIC to INTEGER away from
zero; a value too long for VARCHAR(n) is an error when assigned, unless the excess is
blanks, and is cut when cast; NUMERIC(p,s) rounds to s places and then must fit.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from ferrisdb.errors import CannotCoerce, DatatypeMismatch, StringTooLong
from ferrisdb.query.types import Kind, SqlType, Value
from ferrisdb.query.values import dates, numbers, texts
from ferrisdb.query.values.function import ScalarFunction


class CastContext(enum.IntEnum):
    """How far a cast may go; a higher one allows all that a lower one does."""

    IMPLICIT = 0
    ASSIGNMENT = 1
    EXPLICIT = 2


Convert = Callable[..., Value]

_I, _A, _E = CastContext.IMPLICIT, CastContext.ASSIGNMENT, CastContext.EXPLICIT

_CASTS: dict[tuple[Kind, Kind], tuple[CastContext, Convert]] = {
    (Kind.INTEGER, Kind.NUMERIC): (_I, Decimal),
    (Kind.INTEGER, Kind.DOUBLE): (_I, float),
    (Kind.INTEGER, Kind.BOOLEAN): (_E, bool),
    (Kind.NUMERIC, Kind.DOUBLE): (_I, numbers.double_from_numeric),
    (Kind.NUMERIC, Kind.INTEGER): (_A, numbers.integer_from_numeric),
    (Kind.DOUBLE, Kind.INTEGER): (_A, numbers.integer_from_double),
    (Kind.DOUBLE, Kind.NUMERIC): (_A, numbers.numeric_from_double),
    (Kind.BOOLEAN, Kind.INTEGER): (_E, int),
    (Kind.DATE, Kind.TIMESTAMP): (_I, dates.timestamp_from_date),
    (Kind.TIMESTAMP, Kind.DATE): (_A, datetime.date),
    (Kind.TEXT, Kind.INTEGER): (_E, texts.parse_integer),
    (Kind.TEXT, Kind.NUMERIC): (_E, texts.parse_numeric),
    (Kind.TEXT, Kind.DOUBLE): (_E, texts.parse_double),
    (Kind.TEXT, Kind.BOOLEAN): (_E, texts.parse_boolean),
    (Kind.TEXT, Kind.DATE): (_E, dates.parse_date),
    (Kind.TEXT, Kind.TIMESTAMP): (_E, dates.parse_timestamp),
}

# Constructors that cannot fail on their kind; compiled code calls them without a frame.
_TEMPLATES: dict[tuple[Kind, Kind], str] = {
    (Kind.INTEGER, Kind.NUMERIC): "Decimal({0})",
    (Kind.INTEGER, Kind.DOUBLE): "float({0})",
    (Kind.INTEGER, Kind.BOOLEAN): "({0} != 0)",
    (Kind.BOOLEAN, Kind.INTEGER): "int({0})",
}
_TEMPLATE_NAMES = {"Decimal": Decimal, "float": float, "int": int}


@functools.lru_cache(maxsize=1024)
def cast_function(source: SqlType, target: SqlType, context: CastContext) -> ScalarFunction | None:
    """What makes a `target` of a `source`; None when nothing needs to be done.

    Raises CannotCoerce when no cast of the two exists at all, DatatypeMismatch when it
    exists but does not happen in this `context`.
    """
    if target.kind is Kind.UNKNOWN or source == target:
        return None
    convert = _conversion(source, target, context)
    fit = _modifier(target, context) if target.has_modifiers else None
    if convert is None and fit is None:
        return None
    template = None
    if fit is None:
        template = _TEMPLATES.get((source.kind, target.kind))
    return ScalarFunction(
        name=f"CAST({source} AS {target})",
        argument_types=(source,),
        result_type=target,
        call=_compose(convert, fit),
        template=template,
        names=_TEMPLATE_NAMES if template else {},
    )


def can_cast(source: SqlType, target: SqlType, context: CastContext) -> bool:
    """Whether `cast_function` would succeed."""
    if source.kind in (target.kind, Kind.UNKNOWN) or target.kind is Kind.UNKNOWN:
        return True
    if target.kind is Kind.TEXT:
        return context >= CastContext.ASSIGNMENT
    known = _CASTS.get((source.kind, target.kind))
    return known is not None and context >= known[0]


def _conversion(source: SqlType, target: SqlType, context: CastContext) -> Convert | None:
    """From kind to kind; None where the Python value stays as it is."""
    if source.kind is target.kind:
        return None
    if source.kind is Kind.UNKNOWN:
        return None if target.kind is Kind.TEXT else _CASTS[Kind.TEXT, target.kind][1]
    if not can_cast(source, target, CastContext.EXPLICIT):
        raise CannotCoerce(f"cannot cast type {source} to {target}")
    if not can_cast(source, target, context):
        raise DatatypeMismatch(
            f"a value of type {target} is needed here, not {source}", hint=f"write CAST(... AS {target})"
        )
    return texts.format_value if target.kind is Kind.TEXT else _CASTS[source.kind, target.kind][1]


def _modifier(target: SqlType, context: CastContext) -> Convert | None:
    if target.kind is Kind.NUMERIC and target.precision is not None:
        precision, scale = target.precision, target.scale or 0
        return lambda value: numbers.fit_numeric(value, precision, scale)
    if target.kind is Kind.TEXT and target.length is not None:
        length = target.length
        if context is CastContext.EXPLICIT:
            return lambda value: value[:length]
        return lambda value: fit_text(value, length)
    return None


def fit_text(value: str, length: int) -> str:
    """`value`, when it has at most `length` characters or only blanks after them."""
    if len(value) <= length:
        return value
    if value[length:].strip(" "):
        raise StringTooLong(
            f"value too long for type VARCHAR({length})", detail=f"It has {len(value)} characters."
        )
    return value[:length]


def _compose(convert: Convert | None, fit: Convert | None) -> Convert:
    if convert is None or fit is None:
        return convert or fit or (lambda value: value)
    first, then = convert, fit
    return lambda value: then(first(value))

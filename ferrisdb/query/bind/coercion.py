"""Casts that nobody wrote: making an expression the type that its place asks for.

A quoted literal, a str parameter and NULL are UNKNOWN and become whatever stands beside
them (PostgreSQL's rule): `d < '1995-01-01'` compares dates. A literal is converted here and
now, so a bad one is an error of the statement with its position, not of some row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ferrisdb.errors import DatatypeMismatch, Error
from ferrisdb.query import types
from ferrisdb.query.bind.expressions import Cast, Constant, Expression
from ferrisdb.query.types import Kind, SqlType
from ferrisdb.query.values import CastContext, cast_function, common_type


@contextmanager
def located(position: int) -> Iterator[None]:
    """Give an error from within a position in the statement, unless it has one."""
    try:
        yield
    except Error as error:
        if error.position is None:
            error.position = position
        raise


def coerce(
    expression: Expression,
    type: SqlType,
    position: int,
    context: CastContext = CastContext.IMPLICIT,
) -> Expression:
    """The expression as the type. Raises CannotCoerce or DatatypeMismatch when it can't be."""
    source = expression.type
    if source == type or (source.kind is type.kind and not type.has_modifiers):
        return expression
    if isinstance(expression, Constant) and expression.value is None:
        return Constant(None, type)
    try:
        function = cast_function(source, type, context)
    except Error as error:
        if error.position is None:
            error.position = position
        raise
    if not isinstance(expression, Constant):
        return Cast(expression, type, context is not CastContext.EXPLICIT, function)
    if function is None:
        return Constant(expression.value, type)
    if source.kind is not Kind.UNKNOWN:
        return Cast(expression, type, context is not CastContext.EXPLICIT, function)
    with located(position):
        return Constant(function.call(expression.value), type)


def as_boolean(expression: Expression, what: str, position: int) -> Expression:
    """A condition. Raises DatatypeMismatch: `WHERE 1` is no condition."""
    if expression.type.kind is Kind.BOOLEAN:
        return expression
    if expression.type.kind is Kind.UNKNOWN:
        return coerce(expression, types.BOOLEAN, position)
    raise DatatypeMismatch(f"argument of {what} must be BOOLEAN, not {expression.type}", position=position)


def unified(expressions: Sequence[Expression], what: str, position: int) -> list[Expression]:
    """All of one type, the common one."""
    with located(position):
        found = [expression.type for expression in expressions]
        type = common_type(found, what)
    if any(one != type for one in found):
        # VARCHAR(3) beside a longer literal: they are compared as text, nothing is cut.
        type = SqlType(type.kind)
    return [coerce(expression, type, position) for expression in expressions]


def without_unknown(expression: Expression, position: int) -> Expression:
    """A result that nothing gave a type is TEXT."""
    if expression.type.kind is Kind.UNKNOWN:
        return coerce(expression, types.TEXT, position)
    return expression

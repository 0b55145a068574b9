"""Names of types, types of values, and the type that several types meet in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

from ferrisdb.errors import (
    DataError,
    DatatypeMismatch,
    InterfaceError,
    InvalidParameterValue,
    NumericValueOutOfRange,
    SqlSyntaxError,
    UndefinedObject,
)
from ferrisdb.query import ast
from ferrisdb.query.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGER_MAX,
    INTEGER_MIN,
    NUMBER_KINDS,
    NUMERIC,
    NUMERIC_MAX_PRECISION,
    TEXT,
    TIMESTAMP,
    UNKNOWN,
    Kind,
    SqlType,
)
from ferrisdb.query.values.numbers import NUMERIC_DIGITS
from ferrisdb.query.values.suggest import did_you_mean

_PLAIN_NAMES = {
    **dict.fromkeys(
        ("integer", "int", "int2", "int4", "int8", "bigint", "smallint", "tinyint", "mediumint"), INTEGER
    ),
    **dict.fromkeys(("double precision", "double", "float", "float4", "float8", "real"), DOUBLE),
    **dict.fromkeys(("text", "string", "clob"), TEXT),
    **dict.fromkeys(("boolean", "bool"), BOOLEAN),
    "date": DATE,
    **dict.fromkeys(("timestamp", "timestamp without time zone", "datetime"), TIMESTAMP),
}
_NUMERIC_NAMES = ("numeric", "decimal", "dec")
_VARCHAR_NAMES = ("varchar", "character varying", "char varying")
_CHAR_NAMES = ("char", "character")
_KNOWN_NAMES = (*_PLAIN_NAMES, *_NUMERIC_NAMES, *_VARCHAR_NAMES, *_CHAR_NAMES)
_MAX_LENGTH = 10_485_760


def resolve_type(name: ast.TypeName) -> SqlType:
    """The type that a name in SQL means.

    CHAR(n) is VARCHAR(n): it limits the length and does not pad. Raises UndefinedObject
    for an unknown name, InvalidParameterValue for modifiers out of range.
    """
    plain = _PLAIN_NAMES.get(name.name)
    if plain is not None:
        # FLOAT(24) says a precision in bits, TIMESTAMP(3) one in digits; INTEGER(11) is MySQL's.
        if name.arguments and plain.kind is not Kind.DOUBLE:
            raise SqlSyntaxError(
                f'type modifier is not allowed for type "{name.name}"', position=name.position
            )
        return plain
    if name.name in _NUMERIC_NAMES:
        return _numeric(name)
    if name.name in _VARCHAR_NAMES or name.name in _CHAR_NAMES:
        return _varchar(name)
    raise UndefinedObject(
        f'type "{name.name}" does not exist',
        position=name.position,
        hint=did_you_mean(name.name, _KNOWN_NAMES),
    )


def _numeric(name: ast.TypeName) -> SqlType:
    if not name.arguments:
        return NUMERIC
    if len(name.arguments) > 2:
        raise InvalidParameterValue("NUMERIC takes a precision and a scale", position=name.position)
    precision, scale = (*name.arguments, 0)[:2]
    if not 1 <= precision <= NUMERIC_MAX_PRECISION:
        raise InvalidParameterValue(
            f"NUMERIC precision {precision} must be between 1 and {NUMERIC_MAX_PRECISION}",
            position=name.position,
        )
    if not 0 <= scale <= precision:
        raise InvalidParameterValue(
            f"NUMERIC scale {scale} must be between 0 and precision {precision}", position=name.position
        )
    return SqlType(Kind.NUMERIC, precision=precision, scale=scale)


def _varchar(name: ast.TypeName) -> SqlType:
    if len(name.arguments) > 1:
        raise InvalidParameterValue(f"{name.name.upper()} takes one length", position=name.position)
    if name.arguments:
        length = name.arguments[0]
    elif name.name in _CHAR_NAMES:
        length = 1
    else:
        return TEXT
    if not 1 <= length <= _MAX_LENGTH:
        raise InvalidParameterValue(
            f"length for type {name.name} must be between 1 and {_MAX_LENGTH}", position=name.position
        )
    return SqlType(Kind.TEXT, length=length)


# --- types of Python values -------------------------------------------------------------


def type_of_value(value: object) -> SqlType:
    """The type of a parameter that a user passed. Every value passes here before it is used.

    A str is UNKNOWN: as a quoted literal it becomes what its place needs. Raises
    InterfaceError for a Python type that SQL has no word for, DataError for a value that
    its SQL type cannot hold.
    """
    if value is None:
        return UNKNOWN
    exact = _TYPES_OF_PYTHON.get(type(value))
    if exact is None:
        exact = _type_of_subclass(value)
    if exact is INTEGER and not INTEGER_MIN <= value <= INTEGER_MAX:  # type: ignore[operator]
        raise NumericValueOutOfRange(
            "parameter out of range for type INTEGER", hint="pass a decimal.Decimal for larger numbers"
        )
    if exact is UNKNOWN and not value.isascii():  # type: ignore[attr-defined]
        _check_unicode(str(value))
    if exact is DOUBLE and not math.isfinite(value):  # type: ignore[arg-type]
        raise _not_finite(value, exact)
    if exact is NUMERIC:
        _check_numeric(value)  # type: ignore[arg-type]
    if exact is TIMESTAMP and value.tzinfo is not None:  # type: ignore[attr-defined]
        raise DataError(
            "parameter has a time zone, TIMESTAMP has none",
            hint="convert it first: value.astimezone(datetime.UTC).replace(tzinfo=None)",
        )
    return exact


_TYPES_OF_PYTHON: dict[type, SqlType] = {
    bool: BOOLEAN,
    int: INTEGER,
    float: DOUBLE,
    Decimal: NUMERIC,
    str: UNKNOWN,
    datetime: TIMESTAMP,
    date: DATE,
}


def _type_of_subclass(value: object) -> SqlType:
    """IntEnum is an int; datetime stands before date, as it is one."""
    for python_type, sql_type in _TYPES_OF_PYTHON.items():
        if isinstance(value, python_type):
            return sql_type
    name = type(value).__name__
    raise InterfaceError(
        f"cannot pass a Python {name} as a parameter",
        hint="use int, float, Decimal, str, bool, date, datetime or None",
    )


def _check_numeric(value: Decimal) -> None:
    if not value.is_finite():
        raise _not_finite(value, NUMERIC)
    if abs(value.adjusted()) >= NUMERIC_DIGITS:
        raise NumericValueOutOfRange(
            "parameter out of range for type NUMERIC",
            detail=f"NUMERIC holds at most {NUMERIC_DIGITS} digits.",
        )


def _not_finite(value: object, type: SqlType) -> DataError:
    return DataError(
        f"parameter {value} does not fit: {type} holds finite numbers only", hint="pass None to store NULL"
    )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "parameter is not valid text",
            detail=f"It has a lone surrogate, {text[error.start]!a}, which UTF-8 cannot write.",
        ) from None


# --- where types meet -------------------------------------------------------------------


def common_type(types: Sequence[SqlType], what: str) -> SqlType:
    """The type that CASE arms, COALESCE, IN lists and VALUES columns take together.

    Numbers meet in the wider kind, DATE and TIMESTAMP in TIMESTAMP, UNKNOWN gives way, and
    all UNKNOWN is TEXT. Modifiers stay only where all agree. Raises DatatypeMismatch, which
    says `what` ("CASE", "COALESCE") could not be matched.
    """
    found = UNKNOWN
    for candidate in types:
        if candidate.kind is Kind.UNKNOWN or candidate == found:
            continue
        found = candidate if found is UNKNOWN else _meet(found, candidate, what)
    return TEXT if found is UNKNOWN else found


def _meet(left: SqlType, right: SqlType, what: str) -> SqlType:
    if left.kind is right.kind:
        return SqlType(left.kind)
    if left.is_number and right.is_number:
        wider = max(left.kind, right.kind, key=NUMBER_KINDS.index)
        return SqlType(wider)
    if {left.kind, right.kind} == {Kind.DATE, Kind.TIMESTAMP}:
        return TIMESTAMP
    raise DatatypeMismatch(
        f"{what} types {left} and {right} cannot be matched", hint="cast one of them to the other's type"
    )

"""Values as text: how PostgreSQL prints them, and how it reads them back.

    INTEGER    -7                      NUMERIC    1.50, never 1.5E+2
    DOUBLE     1, 0.1, 1e+20           shortest text that reads back as the same bits
    BOOLEAN    true                    DATE       1994-01-01
    TIMESTAMP  2020-01-01 10:00:00.25

Text that does not read is InvalidTextRepresentation (22P02) and is quoted in the message.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal

from ferrisdb.errors import InvalidTextRepresentation, NumericValueOutOfRange
from ferrisdb.query.types import INTEGER_MAX, INTEGER_MIN, Value
from ferrisdb.query.values.numbers import NUMERIC_DIGITS, plain

_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE]([+-]?\d+))?\s*", re.ASCII)
_NOT_FINITE = re.compile(r"\s*[+-]?(nan|inf|infinity)\s*", re.ASCII | re.IGNORECASE)
_SHOWN_CHARACTERS = 200

# Every beginning of these words that is not shared by both; `o` alone could be on or off.
_TRUE_TEXTS = frozenset({"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})
_FALSE_TEXTS = frozenset({"f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"})


def format_value(value: Value) -> str:
    """The text of a value that is not NULL, as PostgreSQL prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_double(value)
    if isinstance(value, Decimal):
        return format(plain(value), "f")
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def format_double(value: float) -> str:
    """Shortest round trip. The exponent form starts at 1e+15, where Python's starts at 1e+16."""
    text = repr(value)
    if text.endswith(".0"):
        text = text[:-2]
    digits = text.lstrip("-")
    whole = digits.partition(".")[0]
    if len(whole) < 16 or "e" in text:
        return text
    significant = digits.replace(".", "").rstrip("0")
    mantissa = significant[0] + ("." + significant[1:] if len(significant) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e+{len(whole) - 1}"


def format_timestamp(value: datetime) -> str:
    text = value.isoformat(" ")
    return text.rstrip("0") if value.microsecond else text


def quoted(text: str) -> str:
    """For messages: long text is cut."""
    return f'"{text}"' if len(text) <= _SHOWN_CHARACTERS else f'"{text[:_SHOWN_CHARACTERS]}..."'


def _not_a(type_name: str, text: str) -> InvalidTextRepresentation:
    finite_only = _NOT_FINITE.fullmatch(text) and type_name != "INTEGER"
    return InvalidTextRepresentation(
        f"invalid input syntax for type {type_name}: {quoted(text)}",
        hint=f"{type_name} holds finite numbers only" if finite_only else None,
    )


def _out_of_range(type_name: str, text: str) -> NumericValueOutOfRange:
    return NumericValueOutOfRange(f"value {quoted(text)} is out of range for type {type_name}")


def parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _not_a("INTEGER", text)
    # int() refuses thousands of digits with an error of its own.
    significant = text.strip().lstrip("+-").lstrip("0")
    if len(significant) > 19 or not INTEGER_MIN <= (value := int(text)) <= INTEGER_MAX:
        raise _out_of_range("INTEGER", text)
    return value


def parse_double(text: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise _not_a("DOUBLE", text)
    value = float(text)
    if value in (float("inf"), float("-inf")) or (value == 0 and match[1].strip("0.")):
        raise _out_of_range("DOUBLE", text)
    return value


def parse_numeric(text: str) -> Decimal:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise _not_a("NUMERIC", text)
    exponent = match[3] or "0"
    if (
        len(match[1]) > NUMERIC_DIGITS
        or len(exponent.lstrip("+-0")) > 5
        or abs(int(exponent)) >= NUMERIC_DIGITS
    ):
        raise _out_of_range("NUMERIC", text)
    return plain(Decimal(text.strip()))


def parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE_TEXTS:
        return True
    if word in _FALSE_TEXTS:
        return False
    raise _not_a("BOOLEAN", text)

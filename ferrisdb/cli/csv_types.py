"""From the texts of a CSV column to a SQL type, and to values of it.

A type is inferred only when each of its values would be printed as the same thing again:

    INTEGER    0  -7                 not 007, +49, 1_000: those are codes or telephone numbers
    NUMERIC    17.00  -0.5           and whole numbers beyond 64 bits
    DOUBLE     1e10  2.5E-3          numbers with an exponent, and plain ones among them
    BOOLEAN    true  false           in any case of letters; not 0, 1, yes, t
    DATE       1994-01-01            a day that exists
    TIMESTAMP  1994-01-01 10:00:00   also with a T, with a fraction, or a bare date among them
    TEXT       all else, and columns without any value

The first type of this list that takes every value of the column is it. NULLs say nothing.

Values are converted a column of a chunk at a time: one look at the characters, then one C
loop. Only when that fails is each value read as SQL itself reads it, to find the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from ferrisdb.errors import Error
from ferrisdb.query.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    Kind,
    SqlType,
    Value,
)
from ferrisdb.query.values.dates import parse_date, parse_timestamp
from ferrisdb.query.values.texts import parse_boolean, parse_double, parse_integer, parse_numeric

Texts = Sequence[str | None]


def _column_of(value_pattern: str) -> re.Pattern[str]:
    """Matches values that each end with a newline: one call for a whole column."""
    return re.compile(rf"(?:{value_pattern}\n)*", re.ASCII)


_DAY = r"\d{4}-\d\d-\d\d"
_LADDER: list[tuple[SqlType, re.Pattern[str]]] = [
    (INTEGER, _column_of(r"-?(?:0|[1-9][0-9]{0,18})")),
    (NUMERIC, _column_of(r"-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{1,299})?")),
    (DOUBLE, _column_of(r"-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{1,299})?(?:[eE][+-]?[0-9]{1,3})?")),
    (BOOLEAN, _column_of(r"(?i:true|false)")),
    (DATE, _column_of(_DAY)),
    (TIMESTAMP, _column_of(_DAY + r"(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?")),
]


def _takes(type: SqlType, pattern: re.Pattern[str], texts: list[str], joined: str) -> bool:
    if not pattern.fullmatch(joined):
        return False
    if type.kind is Kind.DOUBLE:  # without an exponent, 300 digits do not overflow
        texts = [text for text in texts if "e" in text or "E" in text]
    elif type.kind is Kind.NUMERIC:
        return True
    try:  # 30 February, and 20 digits
        convert_column(type.kind, texts)
    except Error:
        return False
    return True


class TypeInference:
    """Shown every value of a column, it knows the type."""

    def __init__(self) -> None:
        self._candidates = list(_LADDER)
        self._has_values = False

    def see(self, texts: Texts) -> None:
        present = [text for text in texts if text is not None]
        if not self._candidates or not present:
            return
        self._has_values = True
        joined = "\n".join(present) + "\n"
        if joined.count("\n") > len(present):  # a value holds a line end: it is text
            self._candidates = []
        self._candidates = [
            (t, pattern) for t, pattern in self._candidates if _takes(t, pattern, present, joined)
        ]

    @property
    def type(self) -> SqlType:
        return self._candidates[0][0] if self._candidates and self._has_values else TEXT


_PARSERS: dict[Kind, Callable[[str], Value]] = {
    Kind.INTEGER: parse_integer,
    Kind.DOUBLE: parse_double,
    Kind.NUMERIC: parse_numeric,
    Kind.BOOLEAN: parse_boolean,
    Kind.DATE: parse_date,
    Kind.TIMESTAMP: parse_timestamp,
}

# Where a whole column keeps to these characters, Python's own reading is SQL's.
_FAST: dict[Kind, tuple[re.Pattern[str], Callable[[str], Value]]] = {
    Kind.INTEGER: (re.compile(r"[0-9\n-]*"), int),
    Kind.NUMERIC: (re.compile(r"[0-9.\n-]*"), Decimal),
    Kind.DATE: (re.compile(r"[0-9\n-]*"), date.fromisoformat),
    Kind.TIMESTAMP: (re.compile(r"[0-9: \n.-]*"), datetime.fromisoformat),
}
_FAST_CHARACTERS = 18
"""The longest text that `int` and `Decimal` may read unasked: it fits in 64 bits."""


def convert_column(kind: Kind, texts: Texts) -> Iterable[Value]:
    """The values of some texts; None stays None. Raises Error when one does not read."""
    if kind in {Kind.TEXT, Kind.UNKNOWN}:
        return texts
    present = [text for text in texts if text is not None]
    values = _converted(kind, present)
    if len(present) == len(texts):
        return values
    remaining = iter(values)
    return [None if text is None else next(remaining) for text in texts]


def _converted(kind: Kind, texts: list[str]) -> list[Value]:
    fast = _FAST.get(kind)
    if fast is not None and texts:
        characters, read = fast
        longest = 10 if kind is Kind.DATE else 26 if kind is Kind.TIMESTAMP else _FAST_CHARACTERS
        if len(max(texts, key=len)) <= longest and characters.fullmatch("\n".join(texts)):
            try:
                return list(map(read, texts))
            except (ValueError, ArithmeticError):
                pass  # below it is found which one, and said why
    parse = _PARSERS[kind]
    return [parse(text) for text in texts]


def first_misfit(kind: Kind, texts: Texts) -> tuple[int, str, Error] | None:
    """Place, text and error of the first value that does not read."""
    parse = _PARSERS.get(kind)
    for place, text in enumerate(texts):
        if parse is not None and text is not None:
            try:
                parse(text)
            except Error as error:
                return place, text, error
    return None

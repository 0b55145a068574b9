"""Casts: what becomes of a value on its way into another type."""

from __future__ import annotations

import decimal
import math
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb import errors
from ferrisdb.query.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    UNKNOWN,
    Kind,
    SqlType,
    Value,
)
from ferrisdb.query.values import CastContext, cast_function, format_value

IMPLICIT, ASSIGNMENT, EXPLICIT = CastContext
VARCHAR3 = SqlType(Kind.TEXT, length=3)
NUMERIC52 = SqlType(Kind.NUMERIC, 5, 2)


def cast(value: Value, source: SqlType, target: SqlType, context: CastContext = EXPLICIT) -> Value:
    function = cast_function(source, target, context)
    return value if function is None else function.call(value)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        (" 42 ", INTEGER, 42),
        ("-9223372036854775808", INTEGER, -(2**63)),
        ("1.5e3", DOUBLE, 1500.0),
        (".5", NUMERIC, Decimal("0.5")),
        ("1.50", NUMERIC, Decimal("1.50")),
        ("1e2", NUMERIC, Decimal(100)),
        ("t", BOOLEAN, True),
        ("YES", BOOLEAN, True),
        ("on", BOOLEAN, True),
        ("1", BOOLEAN, True),
        ("false", BOOLEAN, False),
        ("of", BOOLEAN, False),
        ("1994-1-2", DATE, date(1994, 1, 2)),
        ("19940102", DATE, date(1994, 1, 2)),
        ("1994-01-02 23:59:59", DATE, date(1994, 1, 2)),
        ("2020-01-01", TIMESTAMP, datetime(2020, 1, 1)),
        ("2020-01-01T10:00", TIMESTAMP, datetime(2020, 1, 1, 10)),
        ("2020-01-01 10:00:00.25", TIMESTAMP, datetime(2020, 1, 1, 10, 0, 0, 250_000)),
        ("2020-01-01 23:59:59.9999999", TIMESTAMP, datetime(2020, 1, 2)),
    ],
)
def test_text_reads_as_every_type(text: str, target: SqlType, expected: Value) -> None:
    for source in (TEXT, UNKNOWN):
        found = cast(text, source, target)
        assert (found, type(found), str(found)) == (expected, type(expected), str(expected))


@pytest.mark.parametrize(
    ("text", "target", "sqlstate"),
    [
        ("abc", INTEGER, "22P02"),
        ("1.5", INTEGER, "22P02"),
        ("1_000", INTEGER, "22P02"),
        ("٣", INTEGER, "22P02"),
        ("", INTEGER, "22P02"),
        ("9223372036854775808", INTEGER, "22003"),
        ("9" * 10_000, INTEGER, "22003"),
        ("1e400", DOUBLE, "22003"),
        ("1e-400", DOUBLE, "22003"),
        ("nan", DOUBLE, "22P02"),
        ("Infinity", NUMERIC, "22P02"),
        ("1e999999999", NUMERIC, "22003"),
        ("o", BOOLEAN, "22P02"),
        ("2", BOOLEAN, "22P02"),
        ("yesterday", DATE, "22007"),
        ("1994-02-30", DATE, "22008"),
        ("10000-01-01", DATE, "22008"),
        ("2020-01-01 25:00:00", TIMESTAMP, "22008"),
        ("2020-01-01 10:00:00Z", TIMESTAMP, "22007"),
        ("9999-12-31 23:59:59.9999999", TIMESTAMP, "22008"),
    ],
)
def test_text_that_does_not_read_is_quoted_in_the_error(text: str, target: SqlType, sqlstate: str) -> None:
    with pytest.raises(errors.DataError) as caught:
        cast(text, UNKNOWN, target, IMPLICIT)
    assert caught.value.sqlstate == sqlstate
    assert f'"{text[:50]}' in str(caught.value)


def test_a_time_zone_is_an_error_that_says_so() -> None:
    with pytest.raises(errors.InvalidDatetimeFormat) as caught:
        cast("2020-01-01 10:00+02", UNKNOWN, TIMESTAMP)
    assert caught.value.hint == "it has a time zone; TIMESTAMP has none"


@pytest.mark.parametrize(
    ("value", "source", "shown"),
    [
        (-7, INTEGER, "-7"),
        (1.0, DOUBLE, "1"),
        (0.1, DOUBLE, "0.1"),
        (1e14, DOUBLE, "100000000000000"),
        (1e15, DOUBLE, "1e+15"),
        (-1234567890123456.0, DOUBLE, "-1.234567890123456e+15"),
        (123456789012345.6, DOUBLE, "123456789012345.6"),
        (0.0001, DOUBLE, "0.0001"),
        (1e-5, DOUBLE, "1e-05"),
        (1e300, DOUBLE, "1e+300"),
        (Decimal("1.50"), NUMERIC, "1.50"),
        (Decimal("1E+3"), NUMERIC, "1000"),
        (Decimal("1E-10"), NUMERIC, "0.0000000001"),
        (Decimal("-0.00"), NUMERIC, "0.00"),
        (True, BOOLEAN, "true"),
        (date(994, 1, 1), DATE, "0994-01-01"),
        (datetime(2020, 1, 1, 10), TIMESTAMP, "2020-01-01 10:00:00"),
        (datetime(2020, 1, 1, 10, 0, 0, 250_000), TIMESTAMP, "2020-01-01 10:00:00.25"),
    ],
)
def test_values_become_the_text_that_postgresql_prints(value: Value, source: SqlType, shown: str) -> None:
    assert cast(value, source, TEXT) == shown == format_value(value)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
OF_KIND: dict[SqlType, st.SearchStrategy[Value]] = {
    INTEGER: st.integers(-(2**63), 2**63 - 1),
    DOUBLE: FINITE,
    NUMERIC: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    BOOLEAN: st.booleans(),
    DATE: st.dates(),
    TIMESTAMP: st.datetimes(),
}


@pytest.mark.parametrize("kind", OF_KIND, ids=str)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_what_is_printed_reads_back_the_same(kind: SqlType, data: st.DataObject) -> None:
    value = data.draw(OF_KIND[kind])
    text = cast(value, kind, TEXT, ASSIGNMENT)
    assert cast(text, TEXT, kind) == value


def test_integer_from_fractions_rounds_as_postgresql() -> None:
    # A DOUBLE tie goes to the even side, a NUMERIC tie away from zero.
    assert [cast(value, DOUBLE, INTEGER, ASSIGNMENT) for value in (0.5, 1.5, 2.5, -0.5)] == [0, 2, 2, 0]
    tied = [Decimal("0.5"), Decimal("1.5"), Decimal("2.5"), Decimal("-0.5")]
    assert [cast(value, NUMERIC, INTEGER, ASSIGNMENT) for value in tied] == [1, 2, 3, -1]


@pytest.mark.parametrize(
    ("value", "source"), [(1e19, DOUBLE), (Decimal("1e19"), NUMERIC), (Decimal("1e9000"), NUMERIC)]
)
def test_integer_from_large_numbers_is_out_of_range(value: Value, source: SqlType) -> None:
    with pytest.raises(errors.NumericValueOutOfRange):
        cast(value, source, INTEGER)


def test_numeric_from_double_has_15_digits() -> None:
    assert str(cast(0.1 + 0.2, DOUBLE, NUMERIC)) == "0.3"
    assert str(cast(1e20, DOUBLE, NUMERIC)) == "100000000000000000000"


def test_double_from_a_numeric_beyond_it_is_out_of_range() -> None:
    with pytest.raises(errors.NumericValueOutOfRange):
        cast(Decimal("1e400"), NUMERIC, DOUBLE)


@given(OF_KIND[NUMERIC])
@settings(deadline=None)
def test_numeric_5_2_rounds_half_away_from_zero_and_then_must_fit(value: Value) -> None:
    assert isinstance(value, Decimal)
    with decimal.localcontext(prec=200):
        expected = (abs(value) * 100 + Decimal("0.5")) // 1 / 100
    if expected >= 1000:
        with pytest.raises(errors.NumericValueOutOfRange, match="numeric field overflow"):
            cast(value, NUMERIC, NUMERIC52, ASSIGNMENT)
        return
    found = cast(value, NUMERIC, NUMERIC52, ASSIGNMENT)
    assert isinstance(found, Decimal)
    assert abs(found) == expected
    assert found == 0 or (found < 0) == (value < 0)
    assert found.as_tuple().exponent == -2


def test_a_modifier_applies_to_what_another_cast_gives() -> None:
    assert str(cast("2.345", UNKNOWN, NUMERIC52)) == "2.35"
    assert cast(12345, INTEGER, VARCHAR3) == "123"
    with pytest.raises(errors.StringTooLong):
        cast(12345, INTEGER, VARCHAR3, ASSIGNMENT)


def test_varchar_cuts_when_cast_and_refuses_when_assigned() -> None:
    assert cast("abcdef", TEXT, VARCHAR3, EXPLICIT) == "abc"
    assert cast("abc   ", TEXT, VARCHAR3, ASSIGNMENT) == "abc"
    with pytest.raises(errors.StringTooLong, match=r"VARCHAR\(3\)"):
        cast("abcd", UNKNOWN, VARCHAR3, ASSIGNMENT)


def test_nothing_to_do_is_none() -> None:
    assert cast_function(INTEGER, INTEGER, IMPLICIT) is None
    assert cast_function(UNKNOWN, TEXT, IMPLICIT) is None
    assert cast_function(VARCHAR3, TEXT, IMPLICIT) is None
    assert cast_function(NUMERIC52, NUMERIC, IMPLICIT) is None


# Rows are sources, columns targets: I(mplicit), A(ssignment), E(xplicit), . is none, = nothing to do.
MATRIX = """
          INTEGER NUMERIC DOUBLE TEXT BOOLEAN DATE TIMESTAMP
INTEGER   =       I       I      A    E       .    .
NUMERIC   A       =       I      A    .       .    .
DOUBLE    A       A       =      A    .       .    .
TEXT      E       E       E      =    E       E    E
BOOLEAN   E       .       .      A    =       .    .
DATE      .       .       .      A    .       =    I
TIMESTAMP .       .       .      A    .       A    =
UNKNOWN   I       I       I      =    I       I    I
"""


def test_the_matrix_of_casts() -> None:
    header, *lines = [line.split() for line in MATRIX.strip().splitlines()]
    for source, *cells in lines:
        for target, expected in zip(header, cells, strict=True):
            assert cast_rule(SqlType(Kind[source]), SqlType(Kind[target])) == expected, (source, target)


def cast_rule(source: SqlType, target: SqlType) -> str:
    for context, letter in ((IMPLICIT, "I"), (ASSIGNMENT, "A"), (EXPLICIT, "E")):
        try:
            return letter if cast_function(source, target, context) else "="
        except errors.DatatypeMismatch:
            assert context is not EXPLICIT
        except errors.CannotCoerce:
            return "."
    raise AssertionError("no context allows it")


TEMPLATED = [
    (source, target)
    for source in OF_KIND
    for target in OF_KIND
    if cast_rule(source, target) in "IAE"
    and (function := cast_function(source, target, EXPLICIT)) is not None
    and function.template is not None
]


@given(st.data())
@settings(deadline=None)
def test_the_compiled_form_of_a_cast_is_the_called_one(data: st.DataObject) -> None:
    source, target = data.draw(st.sampled_from(TEMPLATED))
    function = cast_function(source, target, EXPLICIT)
    assert function is not None
    assert function.template is not None
    value = data.draw(OF_KIND[source])
    compiled = eval(f"lambda a: {function.template.format('a')}", dict(function.names))
    assert compiled(value) == function.call(value)


def test_double_has_no_infinity() -> None:
    assert not math.isfinite(float("1e400"))
    with pytest.raises(errors.InvalidTextRepresentation) as caught:
        cast("inf", TEXT, DOUBLE)
    assert caught.value.hint == "DOUBLE holds finite numbers only"

"""Scalar functions and aggregates, against PostgreSQL's answers and Python as an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
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
    SqlType,
    Value,
)
from ferrisdb.query.values import (
    AggregateKind,
    CastContext,
    aggregate_function,
    cast_function,
    function_names,
    scalar_function,
    type_of_value,
)


def call(name: str, *arguments: Value) -> Value:
    """As the binder does it: choose by the types, cast, skip a strict function at NULL, call."""
    types = [type_of_value(argument) for argument in arguments]
    function = scalar_function(name, types)
    converted = []
    for value, source, target in zip(arguments, types, function.argument_types, strict=True):
        cast = None if value is None else cast_function(source, target, CastContext.IMPLICIT)
        converted.append(value if cast is None else cast.call(value))
    if function.is_strict and None in converted:
        return None
    return function.call(*converted)


N = Decimal


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("abs", (-5,), "5"),
        ("abs", (N("-1.50"),), "1.50"),
        ("sign", (-2.5,), "-1.0"),
        ("sign", (N("3.2"),), "1"),
        ("floor", (N("-1.5"),), "-2"),
        ("ceil", (N("1.2"),), "2"),
        ("ceiling", (-1.5,), "-1.0"),
        ("floor", (7,), "7"),
        ("round", (2.5,), "2.0"),
        ("round", (N("2.5"),), "3"),
        ("round", (N("-2.5"),), "-3"),
        ("round", (N("2.675"), 2), "2.68"),
        ("round", (2.675, 2), "2.68"),
        ("round", (N("1234.5"), -2), "1200"),
        ("round", (1250, -2), "1300"),
        ("round", (7, 2), "7"),
        ("trunc", (-1.9,), "-1.0"),
        ("trunc", (N("-1.999"), 2), "-1.99"),
        ("trunc", (1299, -2), "1200"),
        ("mod", (-7, 2), "-1"),
        ("mod", (N("7.5"), 2), "1.5"),
        ("power", (2, 10), "1024.0"),
        ("power", (N("2.0"), 3), "8.0000000000000000"),
        ("power", (N("2"), N("0.5")), "1.4142135623730950"),
        ("power", (N("0"), 0), "1.0000000000000000"),
        ("sqrt", (16,), "4.0"),
        ("sqrt", (N("2.0"),), "1.414213562373095"),
        ("sqrt", (N("0"),), "0E-15"),
        ("length", ("grün",), "4"),
        ("upper", ("grün",), "GRÜN"),
        ("lower", ("ABC",), "abc"),
        ("trim", ("  a b  ",), "a b"),
        ("btrim", ("xyaxy", "yx"), "a"),
        ("ltrim", ("xxa", "x"), "a"),
        ("rtrim", ("axx", ""), "axx"),
        ("substr", ("alphabet", 3), "phabet"),
        ("substring", ("alphabet", 3, 2), "ph"),
        ("substr", ("alphabet", -1, 4), "al"),
        ("substr", ("alphabet", 0), "alphabet"),
        ("substr", ("abc", 10, 5), ""),
        ("replace", ("abcabc", "b", "XX"), "aXXcaXXc"),
        ("replace", ("abc", "", "X"), "abc"),
        ("position", ("c", "abc"), "3"),
        ("strpos", ("abc", "z"), "0"),
        ("left", ("abcde", 2), "ab"),
        ("left", ("abcde", -2), "abc"),
        ("right", ("abcde", 2), "de"),
        ("right", ("abcde", -2), "cde"),
        ("right", ("abcde", 0), ""),
        ("right", ("ab", -5), ""),
        ("lpad", ("hi", 5, "xy"), "xyxhi"),
        ("lpad", ("hello", 2), "he"),
        ("lpad", ("hi", 5, ""), "hi"),
        ("lpad", ("hi", -1), ""),
        ("rpad", ("hi", 5, "xy"), "hixyx"),
        ("rpad", ("hello", 2), "he"),
        ("reverse", ("abc",), "cba"),
        ("repeat", ("ab", 3), "ababab"),
        ("repeat", ("ab", -1), ""),
        ("concat", ("a", None, 1, True), "a1true"),
        ("concat_ws", (",", "a", None, "b"), "a,b"),
        ("greatest", (1, N("2.5"), None), "2.5"),
        ("least", (date(2020, 1, 1), "2019-01-01"), "2019-01-01"),
        ("extract", ("year", date(1994, 3, 1)), "1994"),
        ("extract", ("MONTH", datetime(1994, 3, 1)), "3"),
        ("extract", ("second", datetime(2020, 1, 1, 0, 0, 12, 345_678)), "12.345678"),
        ("extract", ("dow", date(2024, 2, 18)), "0"),
        ("extract", ("isodow", date(2024, 2, 18)), "7"),
        ("extract", ("doy", date(2024, 12, 31)), "366"),
        ("extract", ("week", date(2005, 1, 1)), "53"),
        ("extract", ("isoyear", date(2005, 1, 1)), "2004"),
        ("extract", ("quarter", date(2005, 4, 1)), "2"),
        ("extract", ("century", date(2000, 12, 16)), "20"),
        ("extract", ("epoch", date(1970, 1, 2)), "86400"),
        ("extract", ("epoch", datetime(1970, 1, 1, 0, 0, 1, 500_000)), "1.500000"),
        ("date_part", ("hour", datetime(2020, 1, 1, 13)), "13.0"),
        ("date_trunc", ("month", datetime(2020, 5, 17, 13)), "2020-05-01 00:00:00"),
        ("date_trunc", ("week", date(2024, 2, 18)), "2024-02-12 00:00:00"),
        ("date_trunc", ("hour", datetime(2020, 5, 17, 13, 59)), "2020-05-17 13:00:00"),
    ],
)
def test_the_answers_of_postgresql(name: str, arguments: Sequence[Value], expected: str) -> None:
    assert str(call(name, *arguments)) == expected


def test_any_null_makes_a_strict_function_null() -> None:
    assert call("length", None) is None
    assert call("substr", "abc", None) is None
    assert call("greatest", None, None) is None
    assert call("concat", None) == ""
    assert call("concat_ws", None, "a") is None


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("sqrt", (-1,), errors.InvalidParameterValue),
        ("sqrt", (N("-1"),), errors.InvalidParameterValue),
        ("power", (0, -1), errors.InvalidParameterValue),
        ("power", (-8, 0.5), errors.InvalidParameterValue),
        ("power", (10, 400), errors.NumericValueOutOfRange),
        ("power", (N(10), 400_000), errors.NumericValueOutOfRange),
        ("mod", (1, 0), errors.DivisionByZero),
        ("abs", (-(2**63),), errors.NumericValueOutOfRange),
        ("round", (2**63 - 1, -1), errors.NumericValueOutOfRange),
        ("substr", ("abc", 1, -1), errors.InvalidParameterValue),
        ("repeat", ("abc", 2**62), errors.InvalidParameterValue),
        ("lpad", ("abc", 2**62), errors.InvalidParameterValue),
        ("replace", ("a" * 20_000, "a", "b" * 20_000), errors.InvalidParameterValue),
        ("extract", ("hour", date(2020, 1, 1)), errors.InvalidParameterValue),
        ("extract", ("yaer", datetime(2020, 1, 1)), errors.InvalidParameterValue),
        ("date_trunc", ("fortnight", datetime(2020, 1, 1)), errors.InvalidParameterValue),
    ],
)
def test_arguments_out_of_range_are_one_clear_error(
    name: str, arguments: Sequence[Value], error: type[errors.Error]
) -> None:
    with pytest.raises(error):
        call(name, *arguments)


@given(
    st.text(max_size=5),
    st.integers(-(2**63), 2**63 - 1) | st.integers(-8, 8),
    st.integers(0, 2**63 - 1) | st.integers(0, 8),
)
def test_substring_is_the_characters_at_these_positions(text: str, start: int, length: int) -> None:
    expected = [character for place, character in enumerate(text, 1) if start <= place < start + length]
    assert call("substr", text, start, length) == "".join(expected)


@given(st.decimals(1, 10**12, places=3), st.decimals(-3, 8, places=2))
@settings(deadline=None, max_examples=60)
def test_a_numeric_power_has_16_digits(base: Decimal, exponent: Decimal) -> None:
    found = call("power", base, exponent)
    assert isinstance(found, Decimal)
    assert float(found) == pytest.approx(float(base) ** float(exponent), rel=1e-12, abs=1e-15)


@given(st.decimals(0, 10**25, places=3))
@example(Decimal("1000000000000.001"))
@settings(deadline=None)
def test_a_numeric_square_root_is_the_nearest_with_its_places(value: Decimal) -> None:
    found = call("sqrt", value)
    assert isinstance(found, Decimal)
    half = Fraction(10) ** int(found.as_tuple().exponent) / 2
    low, high = max(Fraction(found) - half, Fraction(0)), Fraction(found) + half
    assert low**2 <= Fraction(value) <= high**2


@pytest.mark.parametrize(
    ("name", "types", "chosen"),
    [
        ("sqrt", [INTEGER], (DOUBLE,)),
        ("power", [INTEGER, INTEGER], (DOUBLE, DOUBLE)),
        ("power", [INTEGER, NUMERIC], (NUMERIC, NUMERIC)),
        ("mod", [INTEGER, NUMERIC], (NUMERIC, NUMERIC)),
        ("date_part", [UNKNOWN, UNKNOWN], (TEXT, TIMESTAMP)),
        ("date_part", [UNKNOWN, DATE], (TEXT, DATE)),
        ("length", [UNKNOWN], (TEXT,)),
        ("abs", [UNKNOWN], (INTEGER,)),
        ("greatest", [INTEGER, DOUBLE], (DOUBLE, DOUBLE)),
    ],
)
def test_the_overload_with_the_fewest_casts_is_chosen(
    name: str, types: list[SqlType], chosen: tuple[SqlType, ...]
) -> None:
    assert scalar_function(name, types).argument_types == chosen


@pytest.mark.parametrize(
    ("name", "types", "message", "hint"),
    [
        ("lenght", [TEXT], "function lenght(TEXT) does not exist", "did you mean length?"),
        ("sqrt", [TEXT], "function sqrt(TEXT) does not exist", "there is sqrt(DOUBLE), sqrt(NUMERIC)"),
        ("upper", [], "function upper() does not exist", "there is upper(TEXT)"),
        ("greatest", [], "function greatest() does not exist", "greatest takes one or more arguments"),
        ("qqqqq", [INTEGER], "function qqqqq(INTEGER) does not exist", None),
    ],
)
def test_an_unknown_function_helps(name: str, types: list[SqlType], message: str, hint: str | None) -> None:
    with pytest.raises(errors.UndefinedFunction) as caught:
        scalar_function(name, types)
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_templates_agree_with_calls() -> None:
    for name, value in [("length", "grün"), ("upper", "aß"), ("lower", "AB"), ("abs", -1.5)]:
        function = scalar_function(name, [type_of_value(value)])
        assert function.template is not None
        compiled = eval(f"lambda a: {function.template.format('a')}", dict(function.names))
        assert compiled(value) == function.call(value)


def test_names_are_known_to_the_shell() -> None:
    assert {"substr", "concat", "date_trunc"} <= set(function_names())


# --- aggregates -------------------------------------------------------------------------


def fold(name: str, type: SqlType, values: Sequence[Value]) -> Value:
    function = aggregate_function(name, [type], is_star=False)
    assert function is not None
    state = function.initial()
    for value in values:
        if value is not None:
            state = function.step(state, value)
    return function.finish(state)


@pytest.mark.parametrize(
    ("name", "type", "values", "expected"),
    [
        ("count", TEXT, ["a", None, "b"], "2"),
        ("count", TEXT, [], "0"),
        ("sum", INTEGER, [1, None, 2], "3"),
        ("sum", INTEGER, [], "None"),
        ("sum", NUMERIC, [N("0.10"), N("0.2")], "0.30"),
        ("sum", DOUBLE, [0.5, 0.25], "0.75"),
        ("avg", INTEGER, [1, 2], "1.5000000000000000"),
        ("avg", NUMERIC, [N("1.0"), N("1.0"), N("0.0")], "0.66666666666666666667"),
        ("avg", DOUBLE, [1.0, 2.0], "1.5"),
        ("avg", INTEGER, [None], "None"),
        ("min", DATE, [date(2020, 1, 2), date(2020, 1, 1)], "2020-01-01"),
        ("max", TEXT, ["a", "Z"], "a"),
        ("max", BOOLEAN, [False, True], "True"),
        ("total", INTEGER, [], "0.0"),
        ("bool_and", BOOLEAN, [True, False], "False"),
        ("bool_or", BOOLEAN, [True, False], "True"),
        ("every", BOOLEAN, [], "None"),
    ],
)
def test_aggregates(name: str, type: SqlType, values: Sequence[Value], expected: str) -> None:
    assert str(fold(name, type, values)) == expected


def test_count_star_counts_rows() -> None:
    function = aggregate_function("count", [], is_star=True)
    assert function is not None
    assert function.kind is AggregateKind.COUNT_STAR
    assert function.finish(function.step(function.step(function.initial()))) == 2


def test_string_agg_joins_with_each_values_own_separator() -> None:
    function = aggregate_function("string_agg", [TEXT, UNKNOWN], is_star=False)
    assert function is not None
    state = function.initial()
    for value, separator in [("a", ";"), ("b", ","), ("c", None)]:
        state = function.step(state, value, separator)
    assert function.finish(state) == "a,bc"


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_an_integer_sum_is_exact_or_out_of_range(values: list[int]) -> None:
    exact = sum(values)
    if not values:
        assert fold("sum", INTEGER, values) is None
    elif -(2**63) <= exact < 2**63:
        assert fold("sum", INTEGER, values) == exact
    else:
        with pytest.raises(errors.NumericValueOutOfRange):
            fold("sum", INTEGER, values)


@given(st.lists(st.decimals(-(10**20), 10**20, places=6), min_size=1))
def test_a_numeric_sum_is_exact_in_any_order(values: list[Decimal]) -> None:
    found = fold("sum", NUMERIC, values)
    assert found == fold("sum", NUMERIC, values[::-1])
    assert isinstance(found, Decimal)
    assert Fraction(found) == sum(map(Fraction, values))


def test_an_infinite_double_sum_is_out_of_range() -> None:
    with pytest.raises(errors.NumericValueOutOfRange):
        fold("sum", DOUBLE, [1e308, 1e308])


def test_what_is_no_aggregate_is_none_and_wrong_arguments_are_an_error() -> None:
    assert aggregate_function("upper", [TEXT], is_star=False) is None
    for name, types, is_star in [
        ("sum", [TEXT], False),
        ("sum", [], True),
        ("min", [INTEGER, INTEGER], False),
    ]:
        with pytest.raises(errors.UndefinedFunction, match=name):
            aggregate_function(name, types, is_star)
    with pytest.raises(errors.UndefinedFunction) as caught:
        aggregate_function("max", [INTEGER, INTEGER], is_star=False)
    assert caught.value.hint == "max takes one argument; greatest takes several"
    assert aggregate_function("max", [TIMESTAMP], is_star=False) is not None

"""Operators: PostgreSQL's answers, and the compiled form the same as the called one."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb import errors
from ferrisdb.query.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGER_MAX,
    INTEGER_MIN,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    UNKNOWN,
    SqlType,
    Value,
)
from ferrisdb.query.values import (
    NUMERIC_CONTEXT,
    CastContext,
    ScalarFunction,
    arithmetic_error,
    binary_operator,
    cast_function,
    like_matcher,
    type_of_value,
    unary_operator,
)

INTEGERS = st.integers(INTEGER_MIN, INTEGER_MAX) | st.integers(-20, 20)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=4)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def evaluate(left: Value, operator: str, right: Value) -> Value:
    """As the binder does it: choose by the types, cast, call."""
    types = [type_of_value(left), type_of_value(right)]
    function = binary_operator(operator, *types)
    arguments = []
    for value, source, target in zip((left, right), types, function.argument_types, strict=True):
        cast = cast_function(source, target, CastContext.IMPLICIT)
        arguments.append(value if cast is None else cast.call(value))
    return function.call(*arguments)


@pytest.mark.parametrize(
    ("left", "operator", "right", "expected"),
    [
        (7, "/", 2, "3"),
        (-7, "/", 2, "-3"),
        (7, "/", -2, "-3"),
        (-7, "%", 2, "-1"),
        (7, "%", -2, "1"),
        (1, "/", Decimal("3.0"), "0.33333333333333333333"),
        (2, "/", Decimal("1.0"), "2.0000000000000000"),
        (Decimal(100000), "/", 3, "33333.333333333333"),
        (Decimal("1.0"), "/", 1, "1.00000000000000000000"),
        # ...577614995 goes on: rounded to 577615 first, it would become ...78.
        (Decimal(1), "/", 9283, "0.00010772379618657761"),
        (Decimal("1.10"), "+", Decimal("2.2"), "3.30"),
        (Decimal("1.10"), "*", Decimal("2.2"), "2.420"),
        (Decimal("-7.5"), "%", 2, "-1.5"),
        (1, "+", 0.5, "1.5"),
        (Decimal("0.1"), "+", 0.2, "0.30000000000000004"),
        (date(1994, 3, 1), "-", date(1994, 2, 1), "28"),
        (date(1994, 2, 28), "+", 1, "1994-03-01"),
        (1, "+", date(1999, 12, 31), "2000-01-01"),
        (date(2000, 1, 1), "-", 1, "1999-12-31"),
        (date(1994, 3, 1), "-", "1994-02-01", "28"),
        ("a", "||", "b", "ab"),
        ("n=", "||", 5, "n=5"),
        (True, "||", "!", "true!"),
    ],
)
def test_the_answers_of_postgresql(left: Value, operator: str, right: Value, expected: str) -> None:
    assert str(evaluate(left, operator, right)) == expected


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        (1, "=", 1.0),
        (1, "=", Decimal("1.00")),
        (Decimal("0.1"), "=", 0.1),
        (2, "<", Decimal("2.5")),
        (2**53 + 1, ">", float(2**53)),
        (date(2020, 1, 1), "=", datetime(2020, 1, 1)),
        (date(2020, 1, 1), "<", datetime(2020, 1, 1, 1)),
        ("1994-01-01", "<=", date(1994, 1, 1)),
        ("5", "=", 5),
        ("Z", "<", "a"),
        (False, "<", True),
        (0.0, "=", -0.0),
    ],
)
def test_comparisons_that_are_true(left: Value, operator: str, right: Value) -> None:
    assert evaluate(left, operator, right) is True


@given(INTEGERS, INTEGERS.filter(bool))
def test_integer_division_truncates_and_the_remainder_completes_it(left: int, right: int) -> None:
    exact = Fraction(left, right)
    quotient = int(exact)
    if quotient > INTEGER_MAX:
        with pytest.raises(errors.NumericValueOutOfRange):
            evaluate(left, "/", right)
    else:
        assert evaluate(left, "/", right) == quotient
    assert evaluate(left, "%", right) == left - right * quotient


@given(INTEGERS, st.sampled_from("+-*"), INTEGERS)
def test_integer_arithmetic_is_exact_or_out_of_range(left: int, operator: str, right: int) -> None:
    exact = {"+": left + right, "-": left - right, "*": left * right}[operator]
    if INTEGER_MIN <= exact <= INTEGER_MAX:
        assert evaluate(left, operator, right) == exact
    else:
        with pytest.raises(errors.NumericValueOutOfRange, match="INTEGER out of range"):
            evaluate(left, operator, right)


@given(DECIMALS, DECIMALS.filter(bool))
def test_a_numeric_quotient_has_16_digits_and_is_rounded_once(left: Decimal, right: Decimal) -> None:
    found = evaluate(left, "/", right)
    assert isinstance(found, Decimal)
    exponent = found.as_tuple().exponent
    assert isinstance(exponent, int)
    error = abs(Fraction(left) / Fraction(right) - Fraction(found))
    assert error <= Fraction(10) ** exponent / 2
    assert exponent <= -4
    assert not found or found.adjusted() - exponent + 1 >= 13


@pytest.mark.parametrize("operator", ["/", "%"])
@pytest.mark.parametrize("left", [1, 1.0, Decimal(1)])
@pytest.mark.parametrize("right", [0, 0.0, Decimal("0.00")])
def test_division_by_zero(left: Value, operator: str, right: Value) -> None:
    with pytest.raises(errors.DivisionByZero, match="division by zero"):
        evaluate(left, operator, right)


@pytest.mark.parametrize(
    ("left", "operator", "right", "error"),
    [
        (1e308, "*", 10.0, errors.NumericValueOutOfRange),
        (-1e308, "-", 1e308, errors.NumericValueOutOfRange),
        (1e308, "/", 1e-10, errors.NumericValueOutOfRange),
        (date(9999, 12, 31), "+", 1, errors.DatetimeOverflow),
        (date(1, 1, 1), "-", 2**62, errors.DatetimeOverflow),
        (Decimal("1e16000"), "*", Decimal("1.1e10000"), errors.NumericValueOutOfRange),
        (Decimal("1e16000"), "+", Decimal("1e-16000"), errors.NumericValueOutOfRange),
    ],
)
def test_results_beyond_the_type_are_errors(
    left: Value, operator: str, right: Value, error: type[errors.Error]
) -> None:
    with pytest.raises(error):
        evaluate(left, operator, right)


def test_no_digit_is_lost_whatever_the_current_decimal_context_is() -> None:
    with decimal.localcontext(prec=3):
        assert str(evaluate(Decimal("123456.789"), "+", Decimal("0.0001"))) == "123456.7891"
        assert str(evaluate(Decimal(1), "/", Decimal(3))) == "0.33333333333333333333"
        assert str(unary_operator("-", NUMERIC).call(Decimal("123456.789"))) == "-123456.789"


@pytest.mark.parametrize(
    ("operator", "left", "right", "message"),
    [
        ("+", INTEGER, BOOLEAN, "operator does not exist: INTEGER + BOOLEAN"),
        ("=", INTEGER, TEXT, "operator does not exist: INTEGER = TEXT"),
        ("-", TIMESTAMP, TIMESTAMP, "operator does not exist: TIMESTAMP - TIMESTAMP"),
        ("+", DATE, DATE, "operator does not exist: DATE + DATE"),
        ("||", INTEGER, INTEGER, "operator does not exist: INTEGER || INTEGER"),
        ("<", BOOLEAN, DATE, "operator does not exist: BOOLEAN < DATE"),
    ],
)
def test_an_operator_that_does_not_exist_names_the_types(
    operator: str, left: SqlType, right: SqlType, message: str
) -> None:
    with pytest.raises(errors.UndefinedFunction) as caught:
        binary_operator(operator, left, right)
    assert str(caught.value) == message
    assert caught.value.hint
    assert caught.value.sqlstate == "42883"


def test_two_unknowns_are_text_to_comparisons_and_integers_to_arithmetic() -> None:
    assert binary_operator("=", UNKNOWN, UNKNOWN).argument_types == (TEXT, TEXT)
    assert binary_operator("+", UNKNOWN, UNKNOWN).result_type == INTEGER
    assert evaluate("2", "+", "3") == 5


def test_signs() -> None:
    assert unary_operator("-", INTEGER).call(5) == -5
    assert unary_operator("+", DOUBLE).call(1.5) == 1.5
    assert str(unary_operator("-", NUMERIC).call(Decimal("0.00"))) == "0.00"
    with pytest.raises(errors.NumericValueOutOfRange):
        unary_operator("-", INTEGER).call(INTEGER_MIN)
    with pytest.raises(errors.UndefinedFunction, match="operator does not exist: - TEXT"):
        unary_operator("-", TEXT)


# --- the compiled form ------------------------------------------------------------------

VALUES: dict[SqlType, st.SearchStrategy[Value]] = {INTEGER: INTEGERS, NUMERIC: DECIMALS, DOUBLE: FLOATS}


def outcome(function: Callable[..., Value], *arguments: Value) -> object:
    """The value, or the SQLSTATE of the error that a user would see."""
    try:
        return function(*arguments)
    except errors.Error as error:
        return error.sqlstate
    except ArithmeticError as error:
        return arithmetic_error(error).sqlstate


def compiled(function: ScalarFunction, *names: str) -> Callable[..., Value]:
    assert function.template is not None
    source = f"lambda {', '.join(names)}: {function.template.format(*names)}"
    result: Callable[..., Value] = eval(source, dict(function.names))
    return result


@given(st.data(), st.sampled_from(["+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">="]))
@settings(deadline=None, max_examples=400)
def test_the_compiled_form_of_an_operator_is_the_called_one(data: st.DataObject, operator: str) -> None:
    left, right = data.draw(st.sampled_from(list(VALUES))), data.draw(st.sampled_from(list(VALUES)))
    function = binary_operator(operator, left, right)
    if function.template is None:
        return
    first, second = (data.draw(VALUES[type]) for type in function.argument_types)
    with decimal.localcontext(NUMERIC_CONTEXT):
        inline = outcome(compiled(function, "a", "b"), first, second)
    called = outcome(function.call, first, second)
    assert (inline, type(inline)) == (called, type(called))


@given(INTEGERS, INTEGERS, INTEGERS)
def test_templates_nest(a: int, b: int, c: int) -> None:
    # (a - b) + -(b * c): each uses the same variable inside.
    plus, minus = (binary_operator(operator, INTEGER, INTEGER) for operator in "+-")
    times, negative = binary_operator("*", INTEGER, INTEGER), unary_operator("-", INTEGER)
    assert plus.template and minus.template and times.template and negative.template
    source = plus.template.format(
        minus.template.format("a", "b"), negative.template.format(times.template.format("b", "c"))
    )
    inline = outcome(eval(f"lambda a, b, c: {source}", dict(plus.names)), a, b, c)
    called = outcome(lambda: plus.call(minus.call(a, b), negative.call(times.call(b, c))))
    assert inline == called


# --- LIKE -------------------------------------------------------------------------------


def like_oracle(text: str, pattern: str) -> bool:
    """LIKE as its definition says it, by trying every way."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like_oracle(text[skip:], pattern[1:]) for skip in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like_oracle(text[1:], pattern[1:])


@given(st.text("ab\n.", max_size=8), st.text("ab%_.", max_size=6))
@settings(deadline=None, max_examples=500)
def test_like_does_what_its_definition_says(text: str, pattern: str) -> None:
    assert like_matcher(pattern, None, False)(text) is like_oracle(text, pattern)
    assert like_matcher(pattern, None, True)(text.upper()) is like_oracle(text, pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "escape", "expected"),
    [
        ("100%", r"100\%", None, True),
        ("100x", r"100\%", None, False),
        ("a_b", "a!_b", "!", True),
        ("axb", "a!_b", "!", False),
        ("a\\b", "a\\b", "", True),
        ("%", "%%", "%", True),
        ("x" * 5000, "%x%" * 20 + "y", None, False),
    ],
)
def test_like_escapes(text: str, pattern: str, escape: str | None, expected: bool) -> None:
    assert like_matcher(pattern, escape, False)(text) is expected


@pytest.mark.parametrize(("pattern", "escape"), [("a\\", None), ("a!", "!"), ("a", "ab")])
def test_a_wrong_escape_is_22025(pattern: str, escape: str | None) -> None:
    with pytest.raises(errors.InvalidEscape):
        like_matcher(pattern, escape, False)

"""Names of types, types of parameters, and where several types meet."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from ferrisdb import errors
from ferrisdb.query import ast
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
)
from ferrisdb.query.values import common_type, resolve_type, type_of_value


def named(name: str, *arguments: int) -> SqlType:
    return resolve_type(ast.TypeName(name, arguments, 7))


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        ("integer", (), "INTEGER"),
        ("bigint", (), "INTEGER"),
        ("smallint", (), "INTEGER"),
        ("double precision", (), "DOUBLE"),
        ("float", (24,), "DOUBLE"),
        ("real", (), "DOUBLE"),
        ("numeric", (), "NUMERIC"),
        ("decimal", (10,), "NUMERIC(10,0)"),
        ("numeric", (12, 2), "NUMERIC(12,2)"),
        ("text", (), "TEXT"),
        ("varchar", (), "TEXT"),
        ("character varying", (25,), "VARCHAR(25)"),
        ("char", (), "VARCHAR(1)"),
        ("bool", (), "BOOLEAN"),
        ("date", (), "DATE"),
        ("timestamp without time zone", (), "TIMESTAMP"),
        ("datetime", (), "TIMESTAMP"),
    ],
)
def test_a_name_means_a_type(name: str, arguments: tuple[int, ...], shown: str) -> None:
    assert str(named(name, *arguments)) == shown


def test_an_unknown_name_is_an_error_that_points_and_suggests() -> None:
    with pytest.raises(errors.UndefinedObject, match='type "interger" does not exist') as caught:
        named("interger")
    assert caught.value.position == 7
    assert caught.value.hint == "did you mean integer?"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("numeric", (0,)),
        ("numeric", (5, 6)),
        ("numeric", (2000, 0)),
        ("numeric", (5, 2, 1)),
        ("varchar", (0,)),
        ("char", (3, 4)),
    ],
)
def test_modifiers_out_of_range_are_refused(name: str, arguments: tuple[int, ...]) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        named(name, *arguments)
    assert caught.value.position == 7


def test_a_modifier_where_none_belongs_is_a_syntax_error() -> None:
    with pytest.raises(errors.SqlSyntaxError):
        named("integer", 11)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, UNKNOWN),
        ("1994-01-01", UNKNOWN),
        ("grün", UNKNOWN),
        (True, BOOLEAN),
        (2**63 - 1, INTEGER),
        (Colour.RED, INTEGER),
        (1.5, DOUBLE),
        (Decimal("1.5"), NUMERIC),
        (date(1994, 1, 1), DATE),
        (datetime(1994, 1, 1), TIMESTAMP),
    ],
)
def test_a_parameter_has_the_type_of_its_python_value(value: object, expected: SqlType) -> None:
    assert type_of_value(value) == expected


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (2**63, errors.NumericValueOutOfRange),
        (float("nan"), errors.DataError),
        (float("inf"), errors.DataError),
        (Decimal("NaN"), errors.DataError),
        (Decimal("sNaN"), errors.DataError),
        (Decimal("1e99999"), errors.NumericValueOutOfRange),
        (datetime(2020, 1, 1, tzinfo=UTC), errors.DataError),
        ("\ud800", errors.DataError),
        (b"bytes", errors.InterfaceError),
        ([1], errors.InterfaceError),
        (1j, errors.InterfaceError),
    ],
)
def test_a_parameter_that_no_type_can_hold_is_one_clear_error(
    value: object, error: type[errors.Error]
) -> None:
    with pytest.raises(error) as caught:
        type_of_value(value)
    assert str(caught.value).startswith(("parameter", "cannot pass"))


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([INTEGER, INTEGER], INTEGER),
        ([INTEGER, NUMERIC], NUMERIC),
        ([NUMERIC, DOUBLE, INTEGER], DOUBLE),
        ([UNKNOWN, DATE], DATE),
        ([DATE, TIMESTAMP], TIMESTAMP),
        ([UNKNOWN, UNKNOWN], TEXT),
        ([SqlType(Kind.NUMERIC, 5, 2), SqlType(Kind.NUMERIC, 5, 2)], SqlType(Kind.NUMERIC, 5, 2)),
        ([SqlType(Kind.NUMERIC, 5, 2), SqlType(Kind.NUMERIC, 9, 1)], NUMERIC),
        ([SqlType(Kind.TEXT, length=3), TEXT], TEXT),
    ],
)
def test_types_meet_in_one_that_holds_them_all(types: list[SqlType], expected: SqlType) -> None:
    assert common_type(types, "CASE") == expected
    assert common_type(types[::-1], "CASE") == expected


def test_types_that_cannot_meet_say_where() -> None:
    with pytest.raises(errors.DatatypeMismatch, match="COALESCE types INTEGER and TEXT cannot be matched"):
        common_type([INTEGER, TEXT], "COALESCE")

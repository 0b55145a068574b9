"""Rows as bytes: whatever the table, what was written is read, by every way of reading."""

from __future__ import annotations

import decimal
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb import errors
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.schema import Column
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
from ferrisdb.query.values import NUMERIC_CONTEXT

MONEY = SqlType(Kind.NUMERIC, 12, 2)
WIDE_NUMERIC = SqlType(Kind.NUMERIC, 30, 4)
OF_TYPE: dict[SqlType, st.SearchStrategy[Value]] = {
    INTEGER: st.integers(-(2**63), 2**63 - 1),
    DOUBLE: st.floats(allow_nan=False),
    NUMERIC: st.decimals(allow_nan=False, allow_infinity=False),
    MONEY: st.decimals(-(10**9), 10**9, places=2),
    WIDE_NUMERIC: st.decimals(-(10**25), 10**25, places=4),
    TEXT: st.text(max_size=20),
    BOOLEAN: st.booleans(),
    DATE: st.dates(),
    TIMESTAMP: st.datetimes(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], tuple[Value, ...]]:
    """Up to 20 columns, so that the null bitmap has up to three bytes, and a row for them."""
    types = draw(st.lists(st.sampled_from(list(OF_TYPE)), max_size=20))
    columns, values = [], []
    for number, type in enumerate(types):
        column = Column(f"c{number}", type, is_not_null=draw(st.booleans()))
        columns.append(column)
        values.append(draw(OF_TYPE[type] if column.is_not_null else st.none() | OF_TYPE[type]))
    return columns, tuple(values)


def exact(values: tuple[Value, ...]) -> list[tuple[type, str]]:
    """With the kind and the places of every value, as 1.0 == 1.00 == 1. A zero has no sign."""
    return [
        (type(value), str(value if value or not isinstance(value, Decimal) else abs(value)))
        for value in values
    ]


def read_inline(codec: RowCodec, positions: tuple[int, ...], data: bytes) -> tuple[Value, ...]:
    """As compiled queries do: lines in the middle of a function of theirs."""
    targets = [f"t{position}" for position in positions]
    lines, names = codec.inline_decoder(positions, "bytes_of_a", targets)
    body = "".join(f"    {line}\n" for line in lines)
    namespace = dict(names)
    exec(
        f"def read(bytes_of_a):\n{body}    return ({''.join(target + ', ' for target in targets)})", namespace
    )
    result: tuple[Value, ...] = namespace["read"](data)  # type: ignore[operator]
    return result


@given(tables(), st.data())
@settings(deadline=None, max_examples=120)
def test_what_was_written_is_read_whole_and_in_part(
    table: tuple[list[Column], tuple[Value, ...]], data: st.DataObject
) -> None:
    columns, values = table
    codec = RowCodec(columns)
    row = codec.encode(values)
    assert exact(codec.decode(row)) == exact(values)
    positions = tuple(data.draw(st.permutations(range(len(columns)))))[
        : data.draw(st.integers(0, len(columns)))
    ]
    wanted = tuple(values[position] for position in positions)
    assert exact(codec.decoder(positions)(row)) == exact(wanted)
    with decimal.localcontext(NUMERIC_CONTEXT):
        assert exact(read_inline(codec, positions, row)) == exact(wanted)


@given(tables(), st.integers(65_400, 70_000))
@settings(deadline=None, max_examples=25)
def test_rows_beyond_64_kib_are_read_the_same(
    table: tuple[list[Column], tuple[Value, ...]], length: int
) -> None:
    columns, values = table
    codec = RowCodec([Column("first", TEXT), *columns, Column("last", TEXT)])
    long_values = ("x" * length, *values, "end")
    row = codec.encode(long_values)
    assert exact(codec.decode(row)) == exact(long_values)
    last = len(columns) + 1
    assert codec.decoder((last, 0))(row) == ("end", "x" * length)
    assert read_inline(codec, (last,), row) == ("end",)


@pytest.mark.parametrize(
    ("row_bytes", "layout"), [(65_534, 0x01), (65_535, 0x01), (65_538, 0x81), (65_539, 0x81)]
)
def test_the_ends_grow_when_they_must(row_bytes: int, layout: int) -> None:
    codec = RowCodec([Column("a", TEXT)])
    head = 4 if layout == 1 else 6
    value = "x" * (row_bytes - head)
    row = codec.encode((value,))
    assert (len(row), row[0]) == (row_bytes, layout)
    assert codec.decode(row) == (value,)


@given(tables(), st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_bytes_are_a_row_or_a_corruption_error(
    table: tuple[list[Column], tuple[Value, ...]], data: st.DataObject
) -> None:
    columns, values = table
    codec = RowCodec(columns)
    row = bytearray(codec.encode(values))
    if data.draw(st.booleans()):
        row = row[: data.draw(st.integers(0, len(row)))]
    else:
        row[data.draw(st.integers(0, len(row) - 1))] ^= data.draw(st.integers(1, 255))
    for position in range(len(columns)):
        try:
            assert len(codec.decoder((position,))(bytes(row))) == 1
        except errors.CorruptionError:
            continue
    try:
        assert len(codec.decode(bytes(row))) == len(columns)
    except errors.CorruptionError as error:
        assert error.file == "table row"


def test_a_row_that_is_cut_anywhere_in_its_last_columns_is_noticed() -> None:
    codec = RowCodec([Column("a", INTEGER), Column("b", TEXT), Column("c", TEXT)])
    row = codec.encode((7, "hello", "world"))
    for length in range(len(row)):
        with pytest.raises(errors.CorruptionError, match="cannot be read"):
            codec.decode(row[:length])
    with pytest.raises(errors.CorruptionError):
        codec.decode(row + b"!")


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    codec = RowCodec([Column("a", INTEGER)])
    with pytest.raises(errors.CorruptionError, match="layout 9 is unknown"):
        codec.decode(b"\x09" + codec.encode((1,))[1:])


def test_the_bytes_are_as_the_format_says() -> None:
    # docs/formats.md: these bytes lie in users' files, so they may never change.
    columns = [Column("id", INTEGER), Column("name", TEXT), Column("price", MONEY), Column("day", DATE)]
    codec = RowCodec([*columns, Column("note", TEXT), Column("exact", NUMERIC), Column("at", TIMESTAMP)])
    values = (1, "ab", Decimal("-1.50"), date(1, 1, 2), None, Decimal("1.5"), datetime(1970, 1, 1, 0, 0, 1))
    assert codec.encode(values) == bytes.fromhex(
        "01"  # layout
        "10"  # null bitmap: column 4
        "0100000000000000"  # id
        "6affffffffffffff"  # price, -150 hundredths
        "02000000"  # day
        "40420f0000000000"  # at, a million microseconds
        "2600 2600 2900"  # ends of name, note, exact
        "6162 312e35"  # their bytes
    )


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (INTEGER, 2**63),
        (INTEGER, None),
        (INTEGER, "1"),
        (TEXT, 5),
        (DATE, "2020-01-01"),
        (MONEY, Decimal("0.001")),
    ],
)
def test_a_value_that_was_not_cast_first_is_a_bug_and_says_so(type: SqlType, value: Value) -> None:
    with pytest.raises(errors.InvariantViolation, match="a row must fit its columns"):
        RowCodec([Column("a", type, is_not_null=True)]).encode((value,))


def test_a_decoder_is_made_once() -> None:
    codec = RowCodec([Column("a", INTEGER), Column("b", TEXT)])
    assert codec.decoder((1,)) is codec.decoder([1])
    assert codec.decoder(())(codec.encode((1, "x"))) == ()
    assert codec.decoder((1, 0, 1))(codec.encode((1, "x"))) == ("x", 1, "x")


def test_numerics_are_exact_whatever_the_current_decimal_context_is() -> None:
    codec = RowCodec([Column("a", MONEY)])
    with decimal.localcontext(prec=3):
        row = codec.encode((Decimal("1234567.89"),))
        assert codec.decode(row) == (Decimal("1234567.89"),)

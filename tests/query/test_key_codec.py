"""Keys as bytes: bytes are ordered as SQL orders the values, and equal exactly when they are."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cmp_to_key

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb import errors
from ferrisdb.query import keyspace
from ferrisdb.query.encoding.key_codec import KeyCodec, encode_key, prefix_range
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

DECIMALS = (
    st.decimals(allow_nan=False, allow_infinity=False)
    | st.decimals(-100, 100, places=2)
    | st.sampled_from([Decimal("1.0"), Decimal("1.00"), Decimal("1E+2"), Decimal("100"), Decimal("-0.0")])
)
OF_TYPE: dict[SqlType, st.SearchStrategy[Value]] = {
    INTEGER: st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    DOUBLE: st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0]),
    NUMERIC: DECIMALS,
    TEXT: st.text(max_size=6) | st.text("\x00\x01\x02ab", max_size=5),
    BOOLEAN: st.booleans(),
    DATE: st.dates(),
    TIMESTAMP: st.datetimes(),
}


def compare(left: Value, right: Value) -> int:
    """SQL's ascending order: NULL is after everything, and beside itself."""
    if left is None or right is None:
        return (left is None) - (right is None)
    return int(left > right) - int(left < right)  # type: ignore[operator]


def compare_rows(left: tuple[Value, ...], right: tuple[Value, ...]) -> int:
    return next((order for a, b in zip(left, right, strict=True) if (order := compare(a, b))), 0)


@pytest.mark.parametrize("type", OF_TYPE, ids=str)
@given(data=st.data())
@settings(deadline=None, max_examples=250)
def test_bytes_are_ordered_as_values(type: SqlType, data: st.DataObject) -> None:
    values = st.none() | OF_TYPE[type]
    left, right = data.draw(values), data.draw(values)
    first, second = encode_key([type], [left]), encode_key([type], [right])
    assert (first > second) - (first < second) == compare(left, right)


@st.composite
def keys(draw: st.DrawFn) -> tuple[list[SqlType], list[tuple[Value, ...]]]:
    types = draw(st.lists(st.sampled_from(list(OF_TYPE)), min_size=1, max_size=4))
    row = st.tuples(*(st.none() | OF_TYPE[type] for type in types))
    return types, draw(st.lists(row, min_size=2, max_size=6))


@given(keys())
@settings(deadline=None, max_examples=200)
def test_tuples_sort_column_by_column_and_read_back(
    table: tuple[list[SqlType], list[tuple[Value, ...]]],
) -> None:
    types, rows = table
    codec = KeyCodec(types, prefix=b"\xfft")
    in_sql_order = sorted(rows, key=cmp_to_key(compare_rows))
    in_byte_order = sorted(rows, key=codec.encode)
    assert [compare_rows(a, b) for a, b in zip(in_sql_order, in_byte_order, strict=True)] == [0] * len(rows)
    for row in rows:
        data = codec.encode(row)
        assert data == b"\xfft" + encode_key(types, row)
        assert codec.decode(data) == row


@given(keys(), st.data())
@settings(deadline=None, max_examples=200)
def test_a_prefix_range_holds_exactly_the_keys_with_these_first_values(
    table: tuple[list[SqlType], list[tuple[Value, ...]]], data: st.DataObject
) -> None:
    types, rows = table
    codec = KeyCodec(types, prefix=b"\xfft\x05\x00")
    length = data.draw(st.integers(0, len(types)))
    lo, hi = prefix_range(KeyCodec(types[:length], codec.prefix).encode(rows[0][:length]))
    for row in rows:
        is_inside = lo <= codec.encode(row) < hi
        assert is_inside == (compare_rows(row[:length], rows[0][:length]) == 0)


def test_equal_numbers_are_one_key() -> None:
    one = {encode_key([NUMERIC], [Decimal(text)]) for text in ("1", "1.0", "1.00", "10E-1")}
    assert len(one) == 1
    assert encode_key([DOUBLE], [0.0]) == encode_key([DOUBLE], [-0.0])


def test_a_numeric_reads_back_with_the_places_of_its_column() -> None:
    money = KeyCodec([SqlType(Kind.NUMERIC, 12, 2)])
    texts = ["0.00", "100.00", "-1.50", "0.05"]
    assert [str(money.decode(money.encode((Decimal(text),)))[0]) for text in texts] == texts
    plain = KeyCodec([NUMERIC])
    assert [str(plain.decode(plain.encode((Decimal(text),)))[0]) for text in texts] == [
        "0",
        "100",
        "-1.5",
        "0.05",
    ]


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [
        (INTEGER, None, "02"),
        (INTEGER, 5, "01 8000000000000005"),
        (INTEGER, -1, "01 7fffffffffffffff"),
        (DOUBLE, 1.0, "01 bff0000000000000"),
        (DOUBLE, -1.0, "01 400fffffffffffff"),
        (BOOLEAN, True, "01 01"),
        (DATE, date(1, 1, 1), "01 00000001"),
        (TIMESTAMP, datetime(1970, 1, 1), "01 8000000000000000"),
        (TEXT, "a\x00b\x01", "01 61 0101 62 0102 00"),
        (NUMERIC, Decimal("0.00"), "01 02"),
        (NUMERIC, Decimal("123"), "01 03 8002 2340"),
        (NUMERIC, Decimal("0.12"), "01 03 7fff 2300"),
        (NUMERIC, Decimal("-123"), "01 01 7ffd dcbf"),
    ],
)
def test_the_bytes_are_as_the_format_says(type: SqlType, value: Value, expected: str) -> None:
    # docs/formats.md: these bytes lie in users' files, so they may never change.
    assert encode_key([type], [value]) == bytes.fromhex(expected)


@given(keys(), st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_bytes_are_a_key_or_a_corruption_error(
    table: tuple[list[SqlType], list[tuple[Value, ...]]], data: st.DataObject
) -> None:
    types, rows = table
    codec = KeyCodec(types)
    damaged = bytearray(codec.encode(rows[0]))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert len(codec.decode(bytes(damaged))) == len(types)
    except errors.CorruptionError as error:
        assert error.file == "table key"


def test_a_value_of_another_type_is_a_bug_and_says_so() -> None:
    with pytest.raises(errors.InvariantViolation, match="a key must have the types of its columns"):
        KeyCodec([INTEGER]).encode(("1",))


# --- the keyspace -----------------------------------------------------------------------


def test_the_keys_of_a_small_database_are_short() -> None:
    assert keyspace.row_prefix(5).hex(" ") == "ff 74 05 00"
    assert keyspace.index_prefix(5, 2).hex(" ") == "ff 74 05 02"
    assert keyspace.row_prefix(300).hex(" ") == "ff 74 f9 01 2c 00"


@given(st.integers(1, 2**32 - 1) | st.integers(240, 260), st.integers(1, 2**32 - 1) | st.integers(240, 260))
def test_ids_are_ordered_as_their_numbers(left: int, right: int) -> None:
    first, second = keyspace.ordered_id(left), keyspace.ordered_id(right)
    assert (first < second) == (left < right)
    assert first == second or not second.startswith(first)


@given(
    st.integers(1, 2**32 - 2) | st.integers(240, 260),
    st.integers(1, 2**32 - 2) | st.integers(240, 260),
    st.integers(1, 2**32 - 2) | st.integers(1, 260),
    st.binary(max_size=4),
)
def test_a_range_holds_its_own_keys_and_no_others(table: int, other: int, index: int, key: bytes) -> None:
    row, entry = keyspace.row_prefix(table) + key, keyspace.index_prefix(table, index) + key

    def inside(bounds: tuple[bytes, bytes], data: bytes) -> bool:
        return bounds[0] <= data < bounds[1]

    assert inside(keyspace.row_range(table), row)
    assert not inside(keyspace.row_range(table), entry)
    assert inside(keyspace.index_range(table, index), entry)
    assert not inside(keyspace.index_range(table, index), row)
    assert not inside(keyspace.index_range(table, index + 1), entry)
    assert inside(keyspace.table_range(table), row)
    assert inside(keyspace.table_range(table), entry)
    assert inside(keyspace.table_range(other), row) == (table == other)
    assert not inside(keyspace.names_range(), row)


def test_names_lie_in_the_names_range() -> None:
    lo, hi = keyspace.names_range()
    for name in ("", "a", "\U0010ffff"):
        assert lo <= keyspace.name_key(name) < hi
    assert not lo <= keyspace.CATALOG_VERSION < hi
    assert not lo <= keyspace.NEXT_TABLE_ID < hi

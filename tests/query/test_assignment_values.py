"""What goes in comes out: values on their way into columns do not depend on the caller's settings."""

from __future__ import annotations

import decimal
import itertools
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.errors import DivisionByZero, NumericValueOutOfRange
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore

TYPES = "i INTEGER, d DOUBLE, n NUMERIC(12,3), x NUMERIC, t TEXT, b BOOLEAN, a DATE, s TIMESTAMP"

rows = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**8), 10**8, places=3),
    st.decimals(allow_nan=False, allow_infinity=False, places=7),
    st.text(st.characters(codec="utf-8")),
    st.booleans(),
    st.dates(),
    st.datetimes(),
).flatmap(lambda row: st.tuples(*(st.none() | st.just(value) for value in row)))


@given(st.lists(rows, min_size=1, max_size=3))
def test_parameters_come_back_as_they_went_in(given_rows: list[tuple[object, ...]]) -> None:
    session = Session(LocalStore.in_memory(), SharedState())
    for table in ("one", "many"):
        session.execute(f"CREATE TABLE {table} ({TYPES})")
    places = ", ".join("?" * 8)
    for row in given_rows:
        session.execute(f"INSERT INTO one VALUES ({places})", row)
    assert session.execute_many(f"INSERT INTO many VALUES ({places})", given_rows) == len(given_rows)
    for table in ("one", "many"):
        assert session.execute(f"SELECT * FROM {table}").fetch_all() == given_rows


def test_the_callers_decimal_context_changes_nothing() -> None:
    session = Session(LocalStore.in_memory(), SharedState())
    session.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n NUMERIC(12,2), x NUMERIC UNIQUE)")
    with decimal.localcontext(decimal.Context(prec=3, traps=[])):
        session.execute("INSERT INTO t VALUES (1, -12345.678, -123456789.123456789)")
        session.execute(
            "INSERT INTO t VALUES (2, ?, ?)", (Decimal("12345.678"), Decimal("123456789.123456789"))
        )
        session.execute("UPDATE t SET n = n + 0.01 WHERE x > 0")
        with pytest.raises(NumericValueOutOfRange):
            session.execute("INSERT INTO t (id, n) VALUES (3, 1e11)")
        rows = session.execute("SELECT n, x FROM t ORDER BY id").fetch_all()
    assert rows == [
        (Decimal("-12345.68"), Decimal("-123456789.123456789")),
        (Decimal("12345.69"), Decimal("123456789.123456789")),
    ]


def test_numbers_that_are_one_key_are_one_key() -> None:
    session = Session(LocalStore.in_memory(), SharedState())
    session.execute("CREATE TABLE t (x NUMERIC UNIQUE, day DATE)")
    session.execute("INSERT INTO t VALUES (1.0, '2024-01-01')")
    with pytest.raises(Exception, match="duplicate key"):
        session.execute("INSERT INTO t VALUES (1.00, NULL)")
    session.execute("UPDATE t SET day = ?", (datetime(2024, 5, 6, 7, 8),))
    assert session.execute("SELECT day FROM t").fetch_all() == [(date(2024, 5, 6),)]


def test_a_default_is_computed_by_each_statement_and_once_for_all_of_its_rows() -> None:
    ticks = itertools.count()
    store = LocalStore.in_memory()
    shared = SharedState(clock=lambda: datetime(2024, 1, 1) + timedelta(seconds=next(ticks)))
    session = Session(store, shared)
    session.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
    session.execute("INSERT INTO t (id) VALUES (1), (2)")
    session.execute("INSERT INTO t (id) SELECT id + 2 FROM t")
    session.execute_many("INSERT INTO t (id) VALUES (?)", [(5,), (6,)])
    session.execute("INSERT INTO t VALUES (7, DEFAULT), (8, NULL)")
    moments = dict(session.execute("SELECT id, at FROM t").fetch_all())
    assert moments[1] == moments[2] < moments[3] == moments[4] < moments[5] == moments[6] < moments[7]
    assert moments[8] is None


def test_a_default_that_fails_now_fails_only_where_it_is_used() -> None:
    ticks = itertools.count()
    shared = SharedState(clock=lambda: datetime(2024, 1, 1) + timedelta(days=next(ticks)))
    session = Session(LocalStore.in_memory(), shared)
    today = "CAST(extract(day FROM CURRENT_TIMESTAMP) AS INTEGER)"
    session.execute(f"CREATE TABLE t (id INTEGER, n INTEGER DEFAULT 1 / (2 - {today}))")
    with pytest.raises(DivisionByZero):
        session.execute("INSERT INTO t (id) VALUES (1)")
    session.execute("INSERT INTO t (id) SELECT 2")
    session.execute("INSERT INTO t (id, n) VALUES (3, 0)")
    assert session.execute("SELECT id, n FROM t").fetch_all() == [(2, -1), (3, 0)]

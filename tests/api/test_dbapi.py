"""PEP 249, paragraph by paragraph."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import ferrisdb


@pytest.fixture
def con() -> Iterator[ferrisdb.Connection]:
    connection = ferrisdb.connect(":memory:")
    connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, balance NUMERIC(10,2))")
    connection.executemany(
        "INSERT INTO account VALUES (?, ?, ?)",
        [(1, "Ada", Decimal("10.50")), (2, "Bob", Decimal("0.00")), (3, None, None)],
    )
    connection.commit()
    yield connection
    connection.close()


def test_the_module_says_what_it_is() -> None:
    assert (ferrisdb.apilevel, ferrisdb.threadsafety, ferrisdb.paramstyle) == ("2.0", 1, "qmark")


def test_the_errors_form_the_tree_and_hang_on_the_connection() -> None:
    tree = {
        "InterfaceError": "Error",
        "DatabaseError": "Error",
        "DataError": "DatabaseError",
        "OperationalError": "DatabaseError",
        "IntegrityError": "DatabaseError",
        "InternalError": "DatabaseError",
        "ProgrammingError": "DatabaseError",
        "NotSupportedError": "DatabaseError",
    }
    for name, parent in tree.items():
        assert issubclass(getattr(ferrisdb, name), getattr(ferrisdb, parent))
        assert getattr(ferrisdb.Connection, name) is getattr(ferrisdb, name)
    assert issubclass(ferrisdb.Error, Exception)
    assert issubclass(ferrisdb.Warning, Exception)


def test_description_names_and_types_each_column(con: ferrisdb.Connection) -> None:
    cur = con.execute("SELECT id, owner, balance, id = 1 AS is_first, DATE '1994-01-01' AS day FROM account")
    assert cur.description is not None
    assert [column[0] for column in cur.description] == ["id", "owner", "balance", "is_first", "day"]
    assert all(len(column) == 7 for column in cur.description)
    families = [ferrisdb.NUMBER, ferrisdb.STRING, ferrisdb.NUMBER, ferrisdb.BOOLEAN, ferrisdb.DATETIME]
    assert [column[1] == family for column, family in zip(cur.description, families, strict=True)] == [
        True
    ] * 5
    assert cur.description[0][1] != ferrisdb.STRING
    assert str(cur.description[2][1]) == "NUMERIC(10,2)"
    assert cur.description[2][4:6] == (10, 2)


def test_a_statement_without_rows_has_no_description_and_nothing_to_fetch(con: ferrisdb.Connection) -> None:
    cur = con.cursor()
    with pytest.raises(ferrisdb.InterfaceError):
        cur.fetchone()
    cur.execute("UPDATE account SET balance = 1")
    assert cur.description is None
    assert cur.rowcount == 3
    for fetch in (cur.fetchone, cur.fetchall, cur.fetchmany):
        with pytest.raises(ferrisdb.InterfaceError, match="no rows to fetch"):
            fetch()


def test_fetching_by_one_by_many_and_all(con: ferrisdb.Connection) -> None:
    cur = con.execute("SELECT id FROM account ORDER BY id")
    assert cur.fetchone() == (1,)
    assert cur.fetchmany(1) == [(2,)]
    assert cur.fetchall() == [(3,)]
    assert cur.fetchone() is None
    assert cur.fetchall() == []
    cur.execute("SELECT id FROM account ORDER BY id")
    cur.arraysize = 2
    assert cur.fetchmany() == [(1,), (2,)]
    assert cur.fetchmany() == [(3,)]
    assert cur.fetchmany() == []
    assert list(cur.execute("SELECT id FROM account ORDER BY id")) == [(1,), (2,), (3,)]
    with pytest.raises(ferrisdb.DataError):
        cur.fetchmany(-1)


def test_fetching_is_the_same_in_whatever_portions(con: ferrisdb.Connection) -> None:
    con.execute("CREATE TABLE n (i INTEGER PRIMARY KEY)")
    con.executemany("INSERT INTO n VALUES (?)", [(i,) for i in range(1000)])
    for portion in (1, 7, 256, 257, 1000, 2000):
        cur = con.execute("SELECT i FROM n ORDER BY i")
        taken = []
        while rows := cur.fetchmany(portion):
            assert len(rows) <= portion
            taken += rows
        assert taken == [(i,) for i in range(1000)]


def test_parameters_by_question_mark_and_by_name(con: ferrisdb.Connection) -> None:
    assert con.execute("SELECT owner FROM account WHERE id = ?", (2,)).fetchone() == ("Bob",)
    assert con.execute("SELECT owner FROM account WHERE id = ?", [1]).fetchone() == ("Ada",)
    assert con.execute("SELECT owner FROM account WHERE id = :id", {"id": 2}).fetchone() == ("Bob",)
    with pytest.raises(ferrisdb.Error):
        con.execute("SELECT owner FROM account WHERE id = ?", ())


def test_values_come_back_as_they_went_in(con: ferrisdb.Connection) -> None:
    con.execute("CREATE TABLE v (i INTEGER, d DOUBLE, n NUMERIC, t TEXT, b BOOLEAN, day DATE, at TIMESTAMP)")
    row = (
        -(2**63),
        0.1,
        Decimal("123456789012345678901234567890.5"),
        "it's; -- é\x00",
        True,
        datetime.date(1, 1, 1),
        datetime.datetime(2020, 2, 29, 23, 59, 59, 999999),
    )
    con.execute("INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    con.execute("INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?)", [None] * 7)
    found = con.execute("SELECT * FROM v").fetchall()
    assert found == [row, (None,) * 7]
    assert [type(value) for value in found[0]] == [type(value) for value in row]


def test_a_transaction_begins_by_itself_and_rollback_undoes_it(con: ferrisdb.Connection) -> None:
    con.execute("DELETE FROM account")
    assert con.in_transaction
    con.rollback()
    assert not con.in_transaction
    assert con.execute("SELECT count(*) FROM account").fetchone() == (3,)
    con.commit()
    con.commit()  # nothing is open: nothing happens
    con.rollback()


def test_closing_rolls_back(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    with ferrisdb.connect(path) as con:
        con.execute("CREATE TABLE t (a INTEGER)")
    con = ferrisdb.connect(path)
    con.execute("INSERT INTO t VALUES (1)")
    con.close()
    con.close()
    with ferrisdb.connect(path) as again:
        assert again.execute("SELECT * FROM t").fetchall() == []


def test_with_commits_and_closes_or_rolls_back_and_closes(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    with ferrisdb.connect(path) as con:
        con.execute("CREATE TABLE t (a INTEGER)")
        con.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(ferrisdb.InterfaceError, match="closed"):
        con.cursor()
    with pytest.raises(ZeroDivisionError), ferrisdb.connect(path) as con:
        con.execute("INSERT INTO t VALUES (2)")
        1 / 0  # noqa: B018
    with ferrisdb.connect(path) as con:
        assert con.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_a_transaction_that_the_program_began_is_not_committed_for_it(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    for autocommit in (False, True):
        with ferrisdb.connect(path) as con:
            con.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER)")
        with (
            pytest.raises(ferrisdb.InternalError, match="BEGIN"),
            ferrisdb.connect(path, autocommit=autocommit) as con,
        ):
            con.execute("-- ours\n /* our own */ BEGIN")
            con.execute("INSERT INTO t VALUES (1)")
        with ferrisdb.connect(path) as con:
            assert con.execute("SELECT * FROM t").fetchall() == []
            con.rollback()
            con.execute("BEGIN")
            con.execute("SELECT 1")
            con.execute("COMMIT")


def test_autocommit_makes_each_statement_its_own_transaction(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    a, b = ferrisdb.connect(path, autocommit=True), ferrisdb.connect(path, autocommit=True)
    a.execute("CREATE TABLE t (a INTEGER)")
    a.execute("INSERT INTO t VALUES (1)")
    assert b.execute("SELECT a FROM t").fetchall() == [(1,)]
    a.execute("BEGIN")
    a.execute("INSERT INTO t VALUES (2)")
    assert b.execute("SELECT a FROM t").fetchall() == [(1,)]
    with pytest.raises(ferrisdb.InternalError):
        a.autocommit = False
    a.execute("COMMIT")
    assert b.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (2,)]
    a.close()
    b.close()


def test_after_an_error_only_rollback_goes_on(con: ferrisdb.Connection) -> None:
    con.execute("UPDATE account SET balance = 7")
    with pytest.raises(ferrisdb.ProgrammingError):
        con.execute("SELECT nothing FROM account")
    with pytest.raises(ferrisdb.InternalError) as failed:
        con.execute("SELECT 1")
    assert failed.value.sqlstate == "25P02"
    with pytest.raises(ferrisdb.InternalError):
        con.commit()
    assert con.execute("SELECT balance FROM account WHERE id = 2").fetchone() == (Decimal("0.00"),)


def test_one_statement_at_a_time(con: ferrisdb.Connection) -> None:
    assert con.execute("SELECT 1;").fetchone() == (1,)
    assert con.execute(" SELECT ';' ; -- done").fetchone() == (";",)
    with pytest.raises(ferrisdb.ProgrammingError, match="one statement; this text holds 2") as several:
        con.execute("SELECT 1; DELETE FROM account")
    assert several.value.position is not None
    con.rollback()
    assert con.execute("SELECT count(*) FROM account").fetchone() == (3,)


def test_executemany_is_all_or_nothing(con: ferrisdb.Connection) -> None:
    con.autocommit = True
    cur = con.cursor()
    with pytest.raises(ferrisdb.IntegrityError):
        cur.executemany("INSERT INTO account VALUES (?, 'x', 0)", [(7,), (8,), (1,)])
    assert con.execute("SELECT count(*) FROM account").fetchone() == (3,)
    assert cur.executemany("INSERT INTO account VALUES (?, 'x', 0)", ((n,) for n in (7, 8))).rowcount == 2


def test_a_result_shows_what_was_true_when_it_ran(con: ferrisdb.Connection) -> None:
    con.execute("CREATE TABLE n (i INTEGER PRIMARY KEY)")
    con.executemany("INSERT INTO n VALUES (?)", [(i,) for i in range(600)])
    seen = 0
    for (i,) in con.execute("SELECT i FROM n"):
        con.execute("INSERT INTO n VALUES (?)", (i + 1000,))
        seen += 1
    assert seen == 600
    cur = con.execute("SELECT i FROM n")
    con.commit()
    assert len(cur.fetchall()) == 1200


def test_a_closed_cursor_and_a_closed_connection_say_so(con: ferrisdb.Connection) -> None:
    with con.cursor() as cur:
        cur.execute("SELECT 1")
    for call in (cur.fetchone, lambda: cur.execute("SELECT 1")):
        with pytest.raises(ferrisdb.InterfaceError, match="cursor is closed"):
            call()
    cur.close()
    live = con.cursor()
    con.close()
    for call in (con.commit, con.rollback, con.cursor, lambda: live.execute("SELECT 1")):
        with pytest.raises(ferrisdb.InterfaceError, match="closed"):
            call()


def test_constructors_and_sizes(con: ferrisdb.Connection) -> None:
    assert ferrisdb.Date(2020, 2, 29) == datetime.date(2020, 2, 29)
    assert ferrisdb.Time(1, 2, 3) == datetime.time(1, 2, 3)
    assert ferrisdb.Timestamp(2020, 1, 1, 10, 0, 0) == datetime.datetime(2020, 1, 1, 10)
    assert ferrisdb.TimestampFromTicks(0.0) == datetime.datetime.fromtimestamp(0)
    assert ferrisdb.DateFromTicks(0.0) == datetime.date.fromtimestamp(0)
    assert ferrisdb.TimeFromTicks(0.0) == datetime.datetime.fromtimestamp(0).time()
    assert ferrisdb.Binary(b"x") == b"x"
    cur = con.cursor()
    cur.setinputsizes([10])
    cur.setoutputsize(10)
    assert cur.rowcount == -1


def test_wrong_arguments_are_interface_errors() -> None:
    with pytest.raises(ferrisdb.InterfaceError):
        ferrisdb.connect("")
    with pytest.raises(ferrisdb.InterfaceError):
        ferrisdb.connect(7)  # type: ignore[arg-type]
    with pytest.raises(ferrisdb.DataError, match="isolation level"):
        ferrisdb.connect(isolation="chaos")
    with ferrisdb.connect() as con, pytest.raises(ferrisdb.InterfaceError):
        con.execute(b"SELECT 1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "before", ["", " \n\t", "-- why\n", "/* a /* nested */ comment */", "/**/ -- one\n /* two */"]
)
def test_begin_is_known_behind_comments(con: ferrisdb.Connection, before: str) -> None:
    with pytest.raises(ferrisdb.InternalError, match="BEGIN had begun"), con:
        con.execute(f"{before}BEGIN")


def test_a_long_run_of_blanks_takes_no_time(con: ferrisdb.Connection) -> None:
    # With a pattern that tries each way to cut the blanks in pieces, 40 take days.
    assert con.execute(" " * 10_000 + "SELECT 1").fetchone() == (1,)
    with pytest.raises(ferrisdb.ProgrammingError, match="comment"):
        con.execute(" " * 10_000 + "/* never closed")

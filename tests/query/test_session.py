"""A session as a program drives it: results that are read late, many rows, one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import (
    ActiveTransaction,
    DivisionByZero,
    Error,
    InFailedTransaction,
    InterfaceError,
    NoActiveTransaction,
    NumericValueOutOfRange,
    ReadOnlyTransaction,
    SerializationFailure,
    UndefinedParameter,
    UndefinedTable,
    UniqueViolation,
)
from ferrisdb.query.define.drop import MAX_SINGLE_DELETES
from ferrisdb.query.guard import Guard
from ferrisdb.query.result import ROWS_MADE_AT_EXECUTE, RowSource
from ferrisdb.query.session import Result, ResultColumn, Session, SessionStatus, SharedState
from ferrisdb.query.types import INTEGER
from ferrisdb.txn.local import LocalStore

MANY = ROWS_MADE_AT_EXECUTE * 40


@pytest.fixture
def store() -> Iterator[LocalStore]:
    store = LocalStore.in_memory()
    yield store
    store.close()


@pytest.fixture
def shared() -> SharedState:
    return SharedState()


@pytest.fixture
def session(store: LocalStore, shared: SharedState) -> Session:
    session = Session(store, shared)
    session.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    return session


@pytest.fixture
def other(store: LocalStore, shared: SharedState) -> Session:
    return Session(store, shared)


@pytest.fixture
def filled(session: Session) -> Session:
    session.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "old") for n in range(MANY)))
    return session


def count(session: Session) -> object:
    return session.execute("SELECT count(*) FROM t").fetch_all()[0][0]


# --- results ----------------------------------------------------------------------------


def test_a_short_result_is_whole_at_once(session: Session) -> None:
    session.execute("INSERT INTO t VALUES (1, 'x')")
    result = session.execute("SELECT id, v FROM t")
    assert (result.row_count, result.tag) == (1, "SELECT 1")
    assert [column.name for column in result.columns] == ["id", "v"]
    session.close()
    assert result.fetch_all() == [(1, "x")]
    assert result.fetch_all() == []


def test_a_long_result_keeps_its_snapshot_until_it_is_read(filled: Session, other: Session) -> None:
    result = filled.execute("SELECT v FROM t")
    assert (result.row_count, result.tag) == (-1, "SELECT")
    filled.execute("UPDATE t SET v = 'new'")
    other.execute("DELETE FROM t")
    assert set(result.rows) == {("old",)}
    assert result.tag == f"SELECT {MANY}"


def test_a_result_in_a_transaction_shows_what_was_there_when_it_was_asked(filled: Session) -> None:
    filled.begin()
    before = filled.execute("SELECT v FROM t")
    filled.execute("UPDATE t SET v = 'new'")
    after = filled.execute("SELECT v FROM t")
    filled.commit()
    assert [row for row in before] == [("old",)] * MANY  # noqa: C416
    assert after.fetch_all() == [("new",)] * MANY


def test_rollback_takes_the_unread_rows_away(filled: Session) -> None:
    filled.begin()
    filled.execute("UPDATE t SET v = 'new'")
    result = filled.execute("SELECT v FROM t")
    filled.rollback()
    with pytest.raises(InterfaceError, match="rolled back"):
        result.fetch_all()


@pytest.mark.parametrize("go_on", [Result.fetch_batch, Result.settle])
def test_rows_lost_to_an_interrupt_are_not_the_end_of_the_result(go_on: Callable[[Result], object]) -> None:
    def batches() -> Iterator[list[tuple[int]]]:
        yield [(1,)]
        raise KeyboardInterrupt

    source = RowSource(batches(), Guard("result"), end=lambda error: None, abandon=lambda: None)
    result = Result("SELECT", (ResultColumn("n", INTEGER),), source=source)
    assert result.fetch_batch() == [(1,)]
    with pytest.raises(KeyboardInterrupt):
        go_on(result)
    with pytest.raises(InterfaceError, match="interrupted"):
        result.fetch_all()


def test_closing_a_result_ends_its_transaction(filled: Session, store: LocalStore) -> None:
    result = filled.execute("SELECT * FROM t")
    rows = result.rows
    next(rows)
    result.close()
    assert result.fetch_all() == []
    assert open_transactions(store) == 0


def test_a_dropped_result_is_cleaned_up_by_the_next_statement(filled: Session, store: LocalStore) -> None:
    filled.execute("SELECT * FROM t")
    filled.execute("SELECT 1")
    assert open_transactions(store) == 0


def test_closing_the_session_ends_its_open_results(filled: Session, store: LocalStore) -> None:
    result = filled.execute("SELECT * FROM t")
    filled.close()
    filled.close()
    with pytest.raises(InterfaceError, match="closed"):
        result.fetch_all()
    with pytest.raises(InterfaceError, match="closed"):
        filled.execute("SELECT 1")
    assert open_transactions(store) == 0


def test_an_error_far_down_comes_where_the_row_is(filled: Session, store: LocalStore) -> None:
    result = filled.execute(f"SELECT 1 / (id - {MANY - 1}) FROM t")
    with pytest.raises(DivisionByZero):
        result.fetch_all()
    with pytest.raises(DivisionByZero):
        result.fetch_all()
    assert open_transactions(store) == 0


def test_an_error_far_down_fails_the_open_transaction(filled: Session) -> None:
    filled.begin()
    result = filled.execute(f"SELECT 1 / (id - {MANY - 1}) FROM t")
    with pytest.raises(DivisionByZero):
        result.fetch_all()
    assert filled.status is SessionStatus.FAILED


def test_an_error_far_down_waits_for_the_reader_when_a_write_comes_first(filled: Session) -> None:
    filled.begin()
    result = filled.execute(f"SELECT 1 / (id - {MANY - 1}) FROM t")
    filled.execute("DELETE FROM t WHERE id = 0")
    filled.commit()
    with pytest.raises(DivisionByZero):
        result.fetch_all()


# --- many rows --------------------------------------------------------------------------


def test_execute_many_is_one_transaction(session: Session) -> None:
    with pytest.raises(UniqueViolation):
        session.execute_many("INSERT INTO t VALUES (?, ?)", [(n % 2500, "x") for n in range(2600)])
    assert count(session) == 0
    assert session.execute_many("INSERT INTO t VALUES (?, ?)", [(n, None) for n in range(2500)]) == 2500
    assert session.execute_many("UPDATE t SET v = ? WHERE id < ?", [("a", 10), ("b", 5)]) == 15
    assert session.execute_many("DELETE FROM t WHERE id = :n", [{"n": 1}, {"n": 1}, {"n": 2}]) == 2
    assert session.execute_many("INSERT INTO t VALUES (?, ?)", []) == 0


def test_execute_many_takes_parameters_of_different_kinds(session: Session) -> None:
    given = [(1, "a"), ("2", None), (Decimal("3.4"), 5), (4.0, True)]
    assert session.execute_many("INSERT INTO t VALUES (?, ?)", given) == 4
    rows = session.execute("SELECT * FROM t ORDER BY id").fetch_all()
    assert rows == [(1, "a"), (2, None), (3, "5"), (4, "true")]
    with pytest.raises(NumericValueOutOfRange):
        session.execute_many("INSERT INTO t VALUES (?, ?)", [(5, "a"), (2**63, "a")])
    with pytest.raises(UndefinedParameter):
        session.execute_many("INSERT INTO t VALUES (?, ?)", [(5, "a"), (6,)])
    with pytest.raises(UndefinedParameter):
        session.execute_many("INSERT INTO t VALUES (?, ?)", [(5, "a"), (6, "b", 7)])
    assert count(session) == 4


def test_each_run_of_execute_many_sees_the_runs_before(session: Session) -> None:
    sql = "INSERT INTO t VALUES ((SELECT coalesce(max(id), 0) FROM t) + 1, ?)"
    assert session.execute_many(sql, [("a",), ("b",), ("c",)]) == 3
    assert [row[0] for row in session.execute("SELECT id FROM t").rows] == [1, 2, 3]


def test_execute_many_refuses_what_holds_no_rows(session: Session) -> None:
    with pytest.raises(InterfaceError, match="iterable of parameters, not int"):
        session.execute_many("INSERT INTO t VALUES (?, ?)", 7)  # type: ignore[arg-type]
    assert session.status is SessionStatus.IDLE


def test_execute_many_refuses_what_changes_no_rows(session: Session) -> None:
    for sql in ("SELECT ?", "CREATE TABLE u (a INTEGER)", "BEGIN"):
        with pytest.raises(InterfaceError):
            session.execute_many(sql, [(1,)])
    assert session.status is SessionStatus.IDLE


def test_an_error_of_the_programs_own_iterator_undoes_the_rows(session: Session) -> None:
    def broken() -> Iterator[tuple[int, str]]:
        yield 1, "a"
        raise KeyError("the program's")

    with pytest.raises(KeyError):
        session.execute_many("INSERT INTO t VALUES (?, ?)", broken())
    assert count(session) == 0


# --- parameters and the cache -----------------------------------------------------------


def test_values_and_places_are_counted(session: Session) -> None:
    session.execute("INSERT INTO t VALUES (:id, :v)", {"id": 1, "v": "x", "unused": 3})
    with pytest.raises(UndefinedParameter, match="2 values were given for 1 parameter"):
        session.execute("SELECT ?", (1, 2))
    with pytest.raises(UndefinedParameter):
        session.execute("SELECT ?, ?", (1,))
    with pytest.raises(UndefinedParameter):
        session.execute("BEGIN", (1,))


def test_dropping_many_rows_is_one_deleted_range_and_can_be_taken_back(
    session: Session, other: Session, store: LocalStore
) -> None:
    count = MAX_SINGLE_DELETES + 1
    session.execute("CREATE INDEX by_v ON t (v)")
    session.begin()
    for number in range(count):
        session.execute("INSERT INTO t VALUES (?, ?)", (number, "v"))
    session.commit()
    session.begin()
    session.execute("DROP TABLE t")
    session.rollback()
    assert session.execute("SELECT COUNT(*) FROM t").fetch_all() == [(count,)]
    check_indexes(store.begin(read_only=True))

    other.begin()
    assert other.execute("SELECT COUNT(*) FROM t").fetch_all() == [(count,)]
    session.execute("DROP TABLE t")
    assert store.statistics().live_range_tombstones == 1
    assert other.execute("SELECT COUNT(v) FROM t").fetch_all() == [(count,)]
    other.rollback()
    with pytest.raises(UndefinedTable):
        other.execute("SELECT * FROM t")
    session.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    assert session.execute("SELECT * FROM t").fetch_all() == []
    check_indexes(store.begin(read_only=True))


def test_a_cached_plan_does_not_outlive_its_schema(session: Session, other: Session) -> None:
    session.execute("INSERT INTO t VALUES (1, 'x')")
    assert session.execute("SELECT * FROM t").fetch_all() == [(1, "x")]
    session.begin()
    session.execute("DROP TABLE t")
    session.execute("CREATE TABLE t (v TEXT, id INTEGER)")
    session.execute("INSERT INTO t VALUES ('y', 2)")
    assert session.execute("SELECT * FROM t").fetch_all() == [("y", 2)]
    assert other.execute("SELECT * FROM t").fetch_all() == [(1, "x")]
    session.rollback()
    assert session.execute("SELECT * FROM t").fetch_all() == [(1, "x")]


# --- transactions from Python -----------------------------------------------------------


def test_commit_of_a_failed_transaction_is_an_error_from_python(session: Session) -> None:
    session.begin()
    session.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(Error):
        session.execute("SELECT nonsense")
    assert session.status is SessionStatus.FAILED
    with pytest.raises(InFailedTransaction):
        session.commit()
    assert session.status is SessionStatus.IDLE
    assert count(session) == 0


def test_a_failed_transaction_holds_nobody_up(session: Session, other: Session) -> None:
    session.execute("INSERT INTO t VALUES (1, 'x')")
    session.begin()
    session.execute("UPDATE t SET v = 'y'")
    with pytest.raises(UniqueViolation):
        session.execute("INSERT INTO t VALUES (1, 'x')")
    other.execute("UPDATE t SET v = 'z'")
    session.rollback()
    assert session.execute("SELECT v FROM t").fetch_all() == [("z",)]


def test_a_transaction_that_the_store_ended_can_only_be_rolled_back(session: Session, other: Session) -> None:
    session.execute("INSERT INTO t VALUES (1, 'x')")
    session.begin()
    session.execute("SAVEPOINT s")
    session.execute("SELECT * FROM t")
    other.execute("UPDATE t SET v = 'y'")
    with pytest.raises(SerializationFailure):
        session.execute("UPDATE t SET v = 'z'")
    for sql in ("SELECT 1", "ROLLBACK TO s", "RELEASE s"):
        with pytest.raises(InFailedTransaction):
            session.execute(sql)
    assert session.execute("COMMIT").tag == "ROLLBACK"
    assert session.status is SessionStatus.IDLE


def test_begin_and_its_ends_are_paired(session: Session) -> None:
    with pytest.raises(NoActiveTransaction):
        session.commit()
    with pytest.raises(NoActiveTransaction):
        session.rollback()
    assert session.status is SessionStatus.IDLE
    session.begin(read_only=True)
    with pytest.raises(ActiveTransaction):
        session.begin()
    with pytest.raises(ReadOnlyTransaction):
        session.execute_many("INSERT INTO t VALUES (?, ?)", [(1, "x")])
    session.rollback()


# --- threads ----------------------------------------------------------------------------


def test_a_second_thread_is_turned_away(session: Session) -> None:
    inside, leave = threading.Event(), threading.Event()

    def rows() -> Iterator[tuple[int, str]]:
        yield 1, "a"
        inside.set()
        leave.wait(10)
        yield 2, "b"

    thread = threading.Thread(target=session.execute_many, args=("INSERT INTO t VALUES (?, ?)", rows()))
    thread.start()
    inside.wait(10)
    for use in (lambda: session.execute("SELECT 1"), session.begin, session.close):
        with pytest.raises(InterfaceError, match="another thread"):
            use()
    leave.set()
    thread.join(10)
    assert count(session) == 2


def test_rows_for_a_statement_cannot_come_from_its_own_session(session: Session) -> None:
    with pytest.raises(InterfaceError, match="middle of a statement"):
        session.execute_many(
            "INSERT INTO t VALUES (?, 'x')", (session.execute("SELECT 1").fetch_all() for _ in "ab")
        )
    assert session.status is SessionStatus.IDLE


def test_hidden_row_ids_of_many_threads_never_meet(store: LocalStore, shared: SharedState) -> None:
    # The rows were written by an earlier process: this one's allocator has not seen them.
    earlier = Session(store, SharedState())
    earlier.execute("CREATE TABLE log (thread INTEGER, n INTEGER)")
    earlier.execute_many("INSERT INTO log VALUES (?, ?)", [(-1, n) for n in range(50)])
    start = threading.Barrier(6)

    def work(number: int) -> None:
        session = Session(store, shared)
        start.wait(10)
        for n in range(30):
            session.begin()
            session.execute("INSERT INTO log VALUES (?, ?), (?, ?)", (number, n, number, -n))
            session.execute("ROLLBACK" if n % 3 == 0 else "COMMIT")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    rows = earlier.execute("SELECT thread, count(*) FROM log GROUP BY thread ORDER BY thread").fetch_all()
    assert rows == [(-1, 50), *((number, 40) for number in range(6))]


def test_an_index_built_beside_writers_misses_no_row(store: LocalStore, shared: SharedState) -> None:
    setup = Session(store, shared)
    setup.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    conflicts: list[int] = []
    failures: list[BaseException] = []

    def write(number: int) -> None:
        session = Session(store, shared)
        for n in range(60):
            try:
                session.execute("INSERT INTO t VALUES (?, ?)", (number * 1000 + n, n % 7))
            except SerializationFailure:
                conflicts.append(number)
            except BaseException as error:
                failures.append(error)

    def define() -> None:
        session = Session(store, shared)
        for _ in range(15):
            for sql in ("CREATE INDEX t_v ON t (v)", "DROP INDEX IF EXISTS t_v"):
                try:
                    session.execute(sql)
                except SerializationFailure:
                    conflicts.append(-1)
                except BaseException as error:
                    failures.append(error)
                check_indexes(store.begin(read_only=True))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=define))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    print(f"{len(conflicts)} statements met a conflict")
    # An index that stands because DROP met a conflict makes the next CREATE a duplicate.
    assert [error for error in failures if getattr(error, "sqlstate", "") != "42P07"] == []
    check_indexes(store.begin(read_only=True))


def test_an_open_writer_makes_create_index_wait(session: Session, other: Session) -> None:
    session.begin()
    session.execute("INSERT INTO t VALUES (1, 'x')")
    outcome: list[object] = []

    def build() -> None:
        try:
            outcome.append(other.execute("CREATE INDEX t_v ON t (v)").tag)
        except SerializationFailure as error:
            outcome.append(error.sqlstate)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join(0.2)
    assert outcome == [], "it waits while the writer is open"
    session.commit()
    thread.join(10)
    assert outcome == ["40001"]
    assert other.execute("CREATE INDEX t_v ON t (v)").tag == "CREATE INDEX"
    assert other.execute("SELECT id FROM t WHERE v = 'x'").fetch_all() == [(1,)]


def open_transactions(store: LocalStore) -> int:
    return len(store._open)

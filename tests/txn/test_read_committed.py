"""Read committed: a snapshot for each statement, and the last commit has the last word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ferrisdb import errors
from ferrisdb.query.session import Session, SharedState
from ferrisdb.storage.options import StorageOptions
from ferrisdb.txn.api import IsolationLevel, Locked, LockMode
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

READ_COMMITTED = IsolationLevel.READ_COMMITTED


@pytest.fixture
def store() -> Iterator[LocalStore]:
    opened = LocalStore.in_memory(StorageOptions(memtable_bytes=4096, block_bytes=256))
    yield opened
    opened.close()


def commit(store: LocalStore, **values: str | None) -> None:
    tx = store.begin()
    for name, value in values.items():
        if value is None:
            tx.delete(name.encode())
        else:
            tx.put(name.encode(), value.encode())
    tx.commit()


def begin(store: LocalStore) -> LocalTransaction:
    return store.begin(READ_COMMITTED)


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_statement_has_one_snapshot_and_the_next_another(store: LocalStore) -> None:
    commit(store, a="1")
    tx = begin(store)
    assert tx.get(b"a") == b"1"
    commit(store, a="2", b="born")
    assert tx.get_many([b"a", b"b"]) == [b"1", None]
    tx.begin_statement()
    assert list(tx.scan(b"", None)) == [(b"a", b"2"), (b"b", b"born")]


def test_own_writes_are_seen_over_what_others_commit(store: LocalStore) -> None:
    commit(store, a="1", c="1", d="1")
    tx = begin(store)
    tx.put(b"a", b"mine")
    tx.delete_range(b"c", b"d")
    commit(store, b="theirs", d="2")
    tx.begin_statement()
    assert list(tx.scan(b"", None)) == [(b"a", b"mine"), (b"b", b"theirs"), (b"d", b"2")]
    assert tx.get_newest(b"a") == b"mine"
    assert tx.get_newest(b"c") is None


def test_the_last_writer_wins(store: LocalStore) -> None:
    commit(store, a="100")
    tx = begin(store)
    assert tx.get(b"a") == b"100"
    commit(store, a="110", b="1")
    tx.put(b"a", b"120")
    tx.delete_range(b"b", None)
    tx.commit()
    assert list(store.begin().scan(b"", None)) == [(b"a", b"120")]


def test_a_lock_tells_what_has_changed_since_the_statement_began(store: LocalStore) -> None:
    commit(store, a="1", b="1")
    tx = begin(store)
    tx.get(b"a")
    commit(store, a="2")
    assert tx.lock([b"a", b"b"]) == Locked(changed=(b"a",))
    assert tx.get(b"a") == b"1", "the statement goes on in its snapshot"
    assert tx.get_newest(b"a") == b"2"
    tx.begin_statement()
    assert tx.lock([b"a", b"b"], LockMode.SHARE) == Locked()


def test_what_a_lock_waited_for_has_changed_unless_it_was_the_first_use(store: LocalStore) -> None:
    commit(store, a="1")
    for is_first_use in (False, True):
        holder, waiter = store.begin(), begin(store)
        if not is_first_use:
            waiter.get(b"a")
        holder.put(b"a", b"theirs")
        found: list[Locked] = []
        thread = beside(lambda waiter=waiter, found=found: found.append(waiter.lock([b"a"])))
        thread.join(0.05)
        assert thread.is_alive(), "it did not wait"
        holder.commit()
        thread.join(10)
        assert found == [Locked() if is_first_use else Locked(changed=(b"a",))]
        assert waiter.get_newest(b"a") == b"theirs"
        waiter.rollback()


def test_who_relied_on_a_key_does_not_stop_a_later_statement(store: LocalStore) -> None:
    tx = begin(store)
    tx.get(b"a")
    sharer = store.begin()
    sharer.lock([b"a"], LockMode.SHARE)
    sharer.put(b"b", b"1")
    sharer.commit()
    tx.put(b"a", b"2")
    tx.commit()


def test_a_deadlock_still_has_a_victim(store: LocalStore) -> None:
    a, b = begin(store), begin(store)
    a.put(b"x", b"a")
    holds = threading.Event()
    failures: list[errors.Error] = []

    def other() -> None:
        b.put(b"y", b"b")
        holds.set()
        try:
            b.put(b"x", b"b")
            b.commit()
        except errors.DeadlockDetected as error:
            failures.append(error)

    thread = beside(other)
    assert holds.wait(10)
    try:
        a.put(b"y", b"a")
        a.commit()
    except errors.DeadlockDetected as error:
        failures.append(error)
    thread.join(10)
    assert len(failures) == 1


def test_a_scan_keeps_its_snapshot_though_nothing_protects_it_from_the_collector(store: LocalStore) -> None:
    expected = [(b"key%04d" % number, b"old" * 10) for number in range(500)]
    writer = store.begin()
    for key, value in expected:
        writer.put(key, value)
    writer.commit()
    store.flush()
    tx = begin(store)
    scan = tx.scan(b"", None)
    taken = [next(scan)]
    for value in (b"new", b"newer"):
        writer = store.begin()
        for key, _ in expected:
            writer.put(key, value)
        writer.commit()
        store.flush()
    tx.begin_statement()
    store.wait_until_compacted()
    assert taken + list(scan) == expected
    assert tx.get(b"key0007") == b"newer"


def test_between_two_statements_a_transaction_holds_no_version_back(store: LocalStore) -> None:
    commit(store, a="1")
    tx = begin(store)
    tx.get(b"a")
    at = store._oldest_snapshot()
    commit(store, a="2")
    assert store._oldest_snapshot() == at
    tx.begin_statement()
    assert store._oldest_snapshot() == at + 1


# --- through SQL


class Sessions:
    def __init__(self, store: LocalStore) -> None:
        self.store, self.shared = store, SharedState()

    def begin(self, *statements: str) -> Session:
        session = Session(self.store, self.shared)
        for sql in ("BEGIN ISOLATION LEVEL READ COMMITTED", *statements):
            session.execute(sql)
        return session

    def alone(self, *statements: str) -> list[tuple[object, ...]]:
        session = Session(self.store, self.shared)
        rows: list[tuple[object, ...]] = []
        for sql in statements:
            rows = session.execute(sql).fetch_all()
        session.close()
        return rows


@pytest.fixture
def sql(store: LocalStore) -> Sessions:
    sessions = Sessions(store)
    sessions.alone("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 10)")
    return sessions


def test_a_result_that_is_still_read_shows_its_own_statement(sql: Sessions) -> None:
    sql.alone("INSERT INTO t SELECT id + 1, v FROM t")
    for doubled in (2, 4, 8, 16, 32, 64, 128, 256, 512):
        sql.alone(f"INSERT INTO t SELECT id + {doubled}, v FROM t")
    tx = sql.begin()
    result = tx.execute("SELECT a.id, b.v FROM t AS a JOIN t AS b ON a.id = b.id")
    first = result.fetch_batch()
    sql.alone("DELETE FROM t WHERE id > 3", "UPDATE t SET v = 11")
    assert tx.execute("SELECT v FROM t").fetch_all() == [(11,)] * 3
    assert sorted(first + result.fetch_all()) == [(number, 10) for number in range(1, 1025)]


def test_a_unique_key_is_one_even_where_the_statement_does_not_see_the_other_row(sql: Sessions) -> None:
    tx, other = sql.begin(), sql.begin("INSERT INTO t VALUES (2, 20)")
    outcome: list[object] = []

    def insert() -> None:
        try:
            outcome.append(tx.execute("INSERT INTO t VALUES (2, 21)").tag)
        except errors.UniqueViolation as error:
            outcome.append(error.detail)

    thread = beside(insert)
    thread.join(0.05)
    assert thread.is_alive(), "it did not wait"
    other.execute("COMMIT")
    thread.join(10)
    assert outcome == ["Key (id)=(2) already exists."]
    tx.execute("ROLLBACK")
    assert sql.alone("SELECT * FROM t") == [(1, 10), (2, 20)]


def test_an_index_has_the_rows_of_those_that_its_making_waited_for(sql: Sessions) -> None:
    tx, writer = sql.begin(), sql.begin("INSERT INTO t VALUES (2, 20)")
    thread = beside(lambda: tx.execute("CREATE INDEX by_v ON t (v)"))
    thread.join(0.05)
    assert thread.is_alive(), "it did not wait"
    writer.execute("COMMIT")
    thread.join(10)
    tx.execute("COMMIT")
    assert sql.alone("SELECT id FROM t WHERE v = 20") == [(2,)]


def test_who_waits_for_a_definition_writes_by_the_new_one(sql: Sessions) -> None:
    tx, definer = sql.begin("SELECT * FROM t"), sql.begin("CREATE INDEX by_v ON t (v)")
    thread = beside(lambda: tx.execute("INSERT INTO t VALUES (2, 20)"))
    thread.join(0.05)
    assert thread.is_alive(), "it did not wait"
    definer.execute("COMMIT")
    thread.join(10)
    tx.execute("COMMIT")
    assert sql.alone("SELECT id FROM t WHERE v = 20") == [(2,)]


def test_two_definitions_at_the_same_time_both_stand(sql: Sessions) -> None:
    first, second = sql.begin("CREATE INDEX by_v ON t (v)"), sql.begin("SELECT * FROM t")
    thread = beside(lambda: second.execute("CREATE INDEX by_both ON t (v, id)"))
    thread.join(0.05)
    assert thread.is_alive(), "it did not wait"
    first.execute("COMMIT")
    thread.join(10)
    second.execute("COMMIT")
    session = Session(sql.store, sql.shared)
    assert [index.name for index in session.tables()[0].indexes] == ["by_v", "by_both"]

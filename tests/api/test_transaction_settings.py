"""Levels and timeouts from Python: by database, by connection, by transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb import errors

SOON_S = 0.02


@pytest.fixture
def db() -> Iterator[ferrisdb.Database]:
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        db.execute("INSERT INTO account VALUES (1, 100), (2, 100)")
        yield db


def in_another_thread(work: Callable[[], None]) -> None:
    """Who waits for a transaction of his own thread is refused; here somebody else waits."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for ever"
    if raised:
        raise raised[0]


def level_of(holder: ferrisdb.Transaction | ferrisdb.Connection) -> object:
    if isinstance(holder, ferrisdb.Connection):
        return holder.execute("SHOW transaction_isolation").fetchone()
    return holder.query("SHOW transaction_isolation").one()


def test_a_database_is_opened_with_a_level_for_all_that_do_not_say_theirs(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with ferrisdb.open(path, isolation="serializable") as db, ferrisdb.open(path) as other:
        with db.transaction() as tx:
            assert level_of(tx) == ("serializable",)
        with db.transaction("read committed") as tx:
            assert level_of(tx) == ("read committed",)
        assert db.run(level_of) == ("serializable",)
        assert db.run(level_of, isolation="snapshot") == ("snapshot",)
        with db.connect() as connection:
            assert level_of(connection) == ("serializable",)
        with db.connect(isolation="repeatable read") as connection:
            assert level_of(connection) == ("snapshot",)
        assert db.query("SHOW transaction_isolation").one() == ("serializable",)
        # It is this object's: the other one of the same path has its own.
        with other.transaction() as tx:
            assert level_of(tx) == ("snapshot",)


def test_a_level_that_is_none_opens_nothing() -> None:
    with pytest.raises(errors.InvalidParameterValue, match="dirty"):
        ferrisdb.open(isolation="dirty")


def test_a_connection_keeps_the_level_that_its_session_was_given(db: ferrisdb.Database) -> None:
    with db.connect() as connection:
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # The transaction that PEP 249 began in front of it has its level already.
        assert level_of(connection) == ("snapshot",)
        connection.commit()
        assert level_of(connection) == ("read committed",)
        connection.rollback()
        connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert level_of(connection) == ("serializable",)
        connection.rollback()
        assert level_of(connection) == ("read committed",)


def test_a_transaction_that_has_been_used_keeps_its_level(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        tx.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        tx.put(b"key", b"value")
        assert tx.get(b"key") == b"value"
    for use in (lambda tx: tx.get(b"key"), lambda tx: tx.put(b"key", b""), lambda tx: list(tx.scan())):
        for level in ("snapshot", "read committed", "serializable"):
            tx = db.begin(level)
            use(tx)
            other = "SERIALIZABLE" if level != "serializable" else "SNAPSHOT"
            with pytest.raises(errors.ActiveTransaction):
                tx.execute(f"SET TRANSACTION ISOLATION LEVEL {other}")
            tx.rollback()
    # At read committed the next operation sees what was committed since.
    with db.transaction() as tx:
        tx.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        assert tx.get(b"key") == b"value"
        with db.transaction() as other_tx:
            other_tx.put(b"key", b"newer")
        assert tx.get(b"key") == b"newer"


def test_durability_outlives_a_change_of_the_level(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db, db.transaction(durability="off") as tx:
        tx.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        begun = tx._statements.transaction
        assert begun is not None and begun.durability is not None
        assert begun.durability.value == "off"


def test_a_set_that_would_be_lost_is_an_error(db: ferrisdb.Database) -> None:
    for sql in ("SET lock_timeout = 5", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"):
        with pytest.raises(errors.ProgrammingError, match="of its own sets nothing"):
            db.execute(sql)
    assert db.query("SHOW lock_timeout").one() == ("0",)


@pytest.mark.parametrize("wait", ["sql", "bytes", "range", "autocommit", "select"])
def test_a_wait_ends_after_the_lock_timeout_and_leaves_the_transaction_open(
    db: ferrisdb.Database, wait: str
) -> None:
    holder = db.begin()
    holder.execute("UPDATE account SET balance = 0 WHERE id = 1")
    holder.put(b"key", b"theirs")

    def wait_in_vain() -> None:
        if wait == "autocommit":
            with db.connect(autocommit=True) as connection:
                connection.execute(f"SET lock_timeout = '{SOON_S} s'")
                with pytest.raises(errors.LockNotAvailable) as caught:
                    connection.execute("DELETE FROM account WHERE id = 1")
                assert not caught.value.retryable
            return
        with db.transaction(lock_timeout_s=SOON_S) as tx:
            tx.put(b"other", b"mine")
            if wait == "bytes":
                with pytest.raises(errors.LockNotAvailable, match=r"waited 0\.02 s"):
                    tx.put(b"key", b"mine")
            elif wait == "range":
                with pytest.raises(errors.LockNotAvailable):
                    tx.delete_range(b"a", b"z")
            else:
                begin = tx.savepoint()
                sql = "SELECT id FROM account WHERE id = 1 FOR SHARE"
                with pytest.raises(errors.LockNotAvailable):
                    tx.execute(sql if wait == "select" else "DELETE FROM account WHERE id = 1")
                tx.rollback_to(begin)
            tx.put(b"third", b"mine")

    in_another_thread(wait_in_vain)
    holder.commit()
    if wait != "autocommit":
        with db.transaction(read_only=True) as tx:
            assert (tx.get(b"other"), tx.get(b"third"), tx.get(b"key")) == (b"mine", b"mine", b"theirs")


@pytest.mark.parametrize("bad", [-1, float("nan"), "1s", True])
def test_a_lock_timeout_is_a_number_of_seconds(db: ferrisdb.Database, bad: object) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="lock_timeout_s"):
        db.begin(lock_timeout_s=bad)  # type: ignore[arg-type]


def test_a_deadlock_between_threads_is_told_as_data(db: ferrisdb.Database) -> None:
    first = db.begin()
    first.execute("SELECT id FROM account WHERE id = 1 FOR UPDATE")
    is_first_asleep = threading.Event()
    caught: list[errors.DeadlockDetected] = []

    def second() -> None:
        tx = db.begin()
        tx.execute("SELECT id FROM account WHERE id = 2 FOR UPDATE")
        is_first_asleep.set()
        try:
            tx.execute("UPDATE account SET balance = 1 WHERE id = 1")
        except errors.DeadlockDetected as error:
            caught.append(error)
            tx.rollback()
        else:
            tx.commit()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert is_first_asleep.wait(30)
    try:
        first.execute("UPDATE account SET balance = 2 WHERE id = 2")
        first.commit()
    except errors.DeadlockDetected as error:
        caught.append(error)
        first.rollback()
    thread.join(30)
    assert not thread.is_alive()
    (error,) = caught
    assert error.conflict is not None
    ring = [(step.from_transaction, step.to_transaction, step.kind) for step in error.conflict.steps]
    assert len(ring) == 2 and ring[0][0] == ring[1][1] == error.conflict.victim
    assert {step.from_statement.split()[0] for step in error.conflict.steps} == {"UPDATE"}
    assert error.detail is not None and "waits for account(" in error.detail

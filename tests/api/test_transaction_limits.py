"""Limits of transactions: their size, their number, and how long they may lie idle."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import ferrisdb
from ferrisdb import errors
from ferrisdb.api import statements
from ferrisdb.api.idle_watch import IdleWatch
from ferrisdb.query.guard import Guard

NEVER_S = 1e6
SOON_S = 0.02


@pytest.fixture
def db() -> Iterator[ferrisdb.Database]:
    """Its transactions end when they are idle, but for the test to say when that is."""
    with ferrisdb.open(idle_in_transaction_timeout_s=NEVER_S) as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        db.execute("INSERT INTO account VALUES (1, 100)")
        yield db


def end_idle(tx: ferrisdb.Transaction, after_s: float = NEVER_S + 1) -> float | None:
    """What the watch does, `after_s` from now."""
    return tx._statements.end_if_idle(time.monotonic() + after_s)


# --- size and number


def test_a_transaction_that_writes_more_than_its_limit_is_told() -> None:
    with ferrisdb.open(max_transaction_bytes=2000) as db:
        with db.transaction() as tx:
            tx.put(b"k", b"v" * 900)
            with pytest.raises(errors.TransactionTooLarge):
                tx.put(b"l", b"v" * 900)
        with db.transaction() as tx:
            assert tx.get(b"k") is not None and tx.get(b"l") is None


def test_one_more_than_the_limit_is_refused_until_another_ends() -> None:
    with ferrisdb.open(max_open_transactions=2) as db:
        first, second = db.begin(), db.begin()
        with pytest.raises(errors.TooManyTransactions, match="2 transactions are open") as refused:
            db.begin()
        assert "max_open_transactions" in (refused.value.hint or "")
        first.rollback()
        db.begin().rollback()
        second.rollback()


@pytest.mark.parametrize(
    "options",
    [
        {"max_transaction_bytes": 0},
        {"max_transaction_bytes": 1 << 40},
        {"max_open_transactions": 0},
        {"idle_in_transaction_timeout_s": 0},
        {"idle_in_transaction_timeout_s": -1.0},
        {"idle_in_transaction_timeout_s": float("nan")},
        {"idle_in_transaction_timeout_s": float("inf")},
        {"idle_in_transaction_timeout_s": "5s"},
        {"max_open_transactions": "10"},
        {"max_open_transactions": 2.5},
        {"max_transaction_bytes": "1 MB"},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=next(iter(options))):
        ferrisdb.open(**options)


def test_who_shares_an_engine_gives_the_same_limits(tmp_path: object) -> None:
    path = f"{tmp_path}/db"
    with ferrisdb.open(path, max_open_transactions=5):
        ferrisdb.open(path, max_open_transactions=5).close()
        ferrisdb.open(path).close()
        with pytest.raises(errors.ProgrammingError, match="max_open_transactions = 5, not 6"):
            ferrisdb.open(path, max_open_transactions=6)


# --- idle transactions


def test_another_gets_the_locks_of_a_transaction_that_nobody_uses() -> None:
    with ferrisdb.open(idle_in_transaction_timeout_s=SOON_S) as db:
        forgotten = db.begin()
        forgotten.put(b"k", b"forgotten")
        # This waits for as long as the other one holds the lock.
        another = threading.Thread(target=lambda: db.run(lambda tx: tx.put(b"k", b"another")), daemon=True)
        another.start()
        another.join(30)
        assert not another.is_alive()
        with pytest.raises(errors.IdleInTransactionTimeout, match=r"not used for 0\.02 s") as told:
            forgotten.get(b"k")
        assert told.value.sqlstate == "25P03" and not told.value.retryable
        forgotten.rollback()
        with db.begin() as tx:
            assert tx.get(b"k") == b"another"


def test_also_one_that_the_program_has_dropped() -> None:
    with ferrisdb.open(idle_in_transaction_timeout_s=SOON_S) as db:
        dropped = db.begin()
        dropped.put(b"k", b"dropped")
        store = db._lease.engine.store
        del dropped
        gc.collect()
        deadline_s = time.monotonic() + 30
        while store._open and time.monotonic() < deadline_s:
            time.sleep(0.005)  # Nobody begins another one, which would tidy up, too.
        assert not store._open


def uses(tx: ferrisdb.Transaction) -> dict[str, object]:
    return {
        "get": lambda: tx.get(b"k"),
        "get_many": lambda: tx.get_many([b"k"]),
        "put": lambda: tx.put(b"k", b"v"),
        "delete": lambda: tx.delete(b"k"),
        "delete_range": lambda: tx.delete_range(b"k", b"l"),
        "scan": lambda: list(tx.scan()),
        "execute": lambda: tx.execute("UPDATE account SET balance = 0"),
        "query": lambda: tx.query("SELECT * FROM account").all(),
        "savepoint": tx.savepoint,
        "commit": tx.commit,
    }


@pytest.mark.parametrize("isolation", ["read committed", "snapshot"])
@pytest.mark.parametrize("has_used_sql", [False, True])
@pytest.mark.parametrize(
    "use", ["get", "put", "delete", "delete_range", "scan", "execute", "query", "commit"]
)
def test_whatever_the_program_does_next_it_is_told(
    db: ferrisdb.Database, use: str, has_used_sql: bool, isolation: str
) -> None:
    tx = db.begin(isolation)
    if has_used_sql:
        tx.execute("UPDATE account SET balance = 50 WHERE id = 1")
    tx.put(b"k", b"of the idle one")
    assert end_idle(tx) is None
    with pytest.raises(errors.IdleInTransactionTimeout):
        uses(tx)[use]()  # type: ignore[operator]
    if use != "commit":
        assert tx.is_open and tx.is_failed
        with pytest.raises(errors.IdleInTransactionTimeout):
            tx.commit()
    assert not tx.is_open
    with db.transaction() as after:
        assert after.get(b"k") is None
        assert after.query("SELECT balance FROM account").all() == [(100,)]


def test_each_use_makes_the_deadline_later(db: ferrisdb.Database) -> None:
    tx = db.begin()
    first = end_idle(tx, 0)
    for use in list(uses(tx).values())[:-1]:
        use()  # type: ignore[operator]
        later = end_idle(tx, 0)
        assert first is not None and later is not None and later >= first
        first = later
    tx.commit()
    assert end_idle(tx) is None, "nothing is left to watch"


def test_a_transaction_in_a_call_is_not_idle(db: ferrisdb.Database) -> None:
    holder, waiter = db.begin(), db.begin()
    holder.put(b"k", b"held")
    waits = threading.Thread(target=waiter.put, args=(b"k", b"v"), daemon=True)
    waits.start()
    while waiter._statements.transaction.lock_owner.waiting is None:  # type: ignore[union-attr]
        time.sleep(0.001)
    again_s = end_idle(waiter)
    assert again_s is not None and again_s > time.monotonic()
    holder.rollback()
    waits.join(30)
    waiter.commit()
    with db.transaction() as tx:
        assert tx.get(b"k") == b"v"


def test_rollback_and_savepoints_after_the_end(db: ferrisdb.Database) -> None:
    tx = db.begin()
    savepoint = tx.savepoint()
    end_idle(tx)
    with pytest.raises(errors.IdleInTransactionTimeout):
        tx.rollback_to(savepoint)
    tx.rollback()
    assert not tx.is_open

    with pytest.raises(errors.IdleInTransactionTimeout), db.transaction() as tx:
        end_idle(tx)

    tx = db.begin()
    end_idle(tx)
    tx.rollback()


def test_rows_that_were_not_taken_are_gone(db: ferrisdb.Database) -> None:
    db.execute_many("INSERT INTO account VALUES (?, 0)", [(number,) for number in range(2, 5000)])
    tx = db.begin()
    rows = iter(tx.query("SELECT * FROM account"))
    next(rows)
    end_idle(tx)
    with pytest.raises(errors.IdleInTransactionTimeout):
        list(rows)


def test_a_connection_is_watched_too() -> None:
    with ferrisdb.open(idle_in_transaction_timeout_s=NEVER_S) as db, db.connect() as connection:
        for begin in ("SELECT 1", "BEGIN"):
            connection.execute(begin)
            assert connection._statements.end_if_idle(time.monotonic() + NEVER_S + 1) is None
            with pytest.raises(errors.IdleInTransactionTimeout):
                connection.execute("SELECT 1")
            with pytest.raises(errors.IdleInTransactionTimeout):
                connection.commit()
            connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_timeout_that_is_set_on_the_session_counts_from_there(db: ferrisdb.Database) -> None:
    tx = db.begin()
    tx.execute("SET idle_in_transaction_session_timeout = 0")
    assert end_idle(tx) is None and not tx.is_failed
    tx.execute("SET idle_in_transaction_session_timeout = '20ms'")
    deadline_s = time.monotonic() + 30
    while not tx.is_failed and time.monotonic() < deadline_s:
        time.sleep(0.005)
    with pytest.raises(errors.IdleInTransactionTimeout):
        tx.commit()


def test_a_timeout_that_is_taken_back_and_set_again_is_watched_again(
    db: ferrisdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[object] = []
    monkeypatch.setattr(statements.idle_watch, "watch", lambda each, *_: watched.append(each))
    tx = db.begin()
    tx.execute("SET idle_in_transaction_session_timeout = '5s'")
    # Given that the watch has come by while there was none, and asks no more,
    tx.execute("SET idle_in_transaction_session_timeout = 0")
    assert end_idle(tx) is None
    watched.clear()
    # when the program sets it again,
    tx.execute("SET idle_in_transaction_session_timeout = '5s'")
    # then the watch hears of it.
    assert watched == [tx._statements]
    tx.rollback()


def test_without_a_timeout_nobody_watches() -> None:
    with ferrisdb.open() as db, db.begin() as tx:
        tx.put(b"k", b"v")
        assert not tx._statements.is_watched


def test_who_comes_back_while_it_is_being_ended_waits_and_is_told(db: ferrisdb.Database) -> None:
    # The program and the watch meet again and again; each time one of two things is true.
    for number in range(300):
        tx = db.begin()
        tx.put(b"k", b"%d" % number)
        watch = threading.Thread(target=end_idle, args=(tx,))
        watch.start()
        try:
            tx.put(b"l", b"%d" % number)
            tx.commit()
            is_committed = True
        except errors.IdleInTransactionTimeout:
            tx.rollback()
            is_committed = False
        watch.join()
        with db.transaction() as after:
            seen = after.get_many([b"k", b"l"])
            assert (seen == [b"%d" % number] * 2) == is_committed
    assert not db._lease.engine.store._locks._exclusive


def test_the_guard_keeps_out_a_second_thread_but_not_who_meets_the_watch() -> None:
    guard, entered = Guard("session"), threading.Event()

    def enter() -> None:
        with guard:
            entered.set()

    with guard.for_watch() as is_held:
        assert is_held
        comes_back = threading.Thread(target=enter)
        comes_back.start()
        assert not entered.wait(0.05)
    assert entered.wait(30)
    comes_back.join()

    with guard:
        with guard.for_watch() as is_held:
            assert not is_held, "somebody is at work"
        with pytest.raises(errors.InterfaceError), guard:
            pass


# --- the watch


class Idle:
    """Something that is watched; it says when it was asked."""

    def __init__(self, again: int = 0) -> None:
        self.asked: list[float] = []
        self.again = again
        self.has_been_asked = threading.Event()

    def end_if_idle(self, now_s: float) -> float | None:
        self.asked.append(now_s)
        if len(self.asked) > self.again:
            self.has_been_asked.set()
            return None
        return now_s


def no_sweep() -> None:
    raise AssertionError("it is still there")


def test_the_watch_asks_until_there_is_nothing_to_watch_and_ends() -> None:
    watch, watched = IdleWatch(), Idle(again=5)
    watch.watch(watched, time.monotonic(), no_sweep)
    assert watched.has_been_asked.wait(30)
    assert len(watched.asked) == 6
    while watch._thread is not None:
        time.sleep(0.001)
    second = Idle()
    watch.watch(second, time.monotonic(), no_sweep)
    assert second.has_been_asked.wait(30), "and begins again"


def test_an_earlier_deadline_wakes_the_watch() -> None:
    watch, late, early = IdleWatch(), Idle(), Idle()
    watch.watch(late, time.monotonic() + NEVER_S, no_sweep)
    watch.watch(early, time.monotonic() + 0.001, no_sweep)
    assert early.has_been_asked.wait(30)


def test_what_was_dropped_is_swept() -> None:
    watch, swept = IdleWatch(), threading.Event()
    watched = Idle()
    watch.watch(watched, time.monotonic() + SOON_S, swept.set)
    del watched
    assert swept.wait(30)

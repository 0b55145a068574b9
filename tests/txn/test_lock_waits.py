"""Who waits for whom: the question that the lock table answers."""

from __future__ import annotations

import threading
import time

import ferrisdb
from ferrisdb.conflict import KeyRange
from ferrisdb.txn.api import LockMode
from ferrisdb.txn.lock_waits import LockWait
from ferrisdb.txn.locks import LockOwner, LockTable

PATIENCE_S = 20


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def waits_of(table: LockTable, count: int) -> list[LockWait]:
    """The waits, when there are so many."""
    deadline = time.monotonic() + PATIENCE_S
    while len(waits := table.waits()) != count:
        assert time.monotonic() < deadline, waits
        time.sleep(0.001)
    return sorted(waits, key=lambda wait: wait.transaction_id)


def test_a_wait_names_the_thread_and_all_who_are_in_front() -> None:
    # Given a key that 1 holds, for which 2 waits, then 3; and a range with that key for 4
    table = LockTable(lambda: 0)
    owner = LockOwner(1)
    table.acquire(owner, b"k", LockMode.EXCLUSIVE)
    assert table.waits() == []
    owners: dict[int, LockOwner] = {}

    def ask(transaction_id: int, timeout_s: float | None) -> None:
        waiter = owners[transaction_id] = LockOwner(transaction_id)
        waiter.lock_timeout_s = timeout_s
        if transaction_id == 4:
            table.acquire_range(waiter, b"a", b"z")
        else:
            table.acquire(waiter, b"k", LockMode.EXCLUSIVE)
        table.release_all(waiter, None)

    threads = []
    for count, (transaction_id, timeout_s) in enumerate([(2, None), (3, 60.0), (4, None)], start=1):
        threads.append(in_thread(lambda a=transaction_id, b=timeout_s: ask(a, b)))
        waits_of(table, count)
    # When somebody asks
    second, third, fourth = waits_of(table, 3)
    # Then each is there, with those who must end first
    assert second == LockWait(2, threads[0].ident or 0, (1,), None, KeyRange.of_key(b"k"))
    assert third == LockWait(3, threads[1].ident or 0, (1, 2), 60.0, KeyRange.of_key(b"k"))
    assert fourth.what == KeyRange(b"a", b"z")
    assert (fourth.transaction_id, fourth.waits_for[0]) == (4, 1)
    # and once 1 has ended, nobody.
    table.release_all(owner, None)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert table.waits() == []


def test_a_database_tells_which_of_its_threads_wait() -> None:
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
        db.execute("INSERT INTO t VALUES (1, 0)")
        holder = db.begin()
        holder.execute("UPDATE t SET n = 1")
        assert db.lock_waits() == []
        # Also a statement that is a transaction of its own waits, and is seen.
        thread = in_thread(lambda: db.run(lambda tx: tx.execute("UPDATE t SET n = n + 1")))
        deadline = time.monotonic() + PATIENCE_S
        while not (waits := db.lock_waits()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert [wait.thread_id for wait in waits] == [thread.ident]
        holder.commit()
        thread.join(PATIENCE_S)
        assert db.lock_waits() == []
        assert db.query("SELECT n FROM t").all() == [(2,)]

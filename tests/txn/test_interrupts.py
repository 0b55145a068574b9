"""Ctrl-C anywhere: nothing is lost, nobody waits for ever, and no lock is left behind.

The interrupt is put before every line that the work runs, one run for each. Whatever had
been done by then, the next transaction, in another thread, gets an answer.
"""

import contextlib
import linecache
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from ferrisdb.errors import CommitUnknown, Error, SerializationFailure, StorageError
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.txn.api import LockMode
from ferrisdb.txn.local import LocalStore

TINY = StorageOptions(memtable_bytes=3000, block_bytes=200)
KEYS = [b"key%02d" % number for number in range(20)]


class Interrupt:
    """Raises KeyboardInterrupt before line `at`, counted in FerrisDB and what it calls in Python.

    Lines with `with` do not count: Python traces them once more when the block is left, before
    the lock is released, and there no signal is ever delivered.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def run(self, work: Callable[[], None]) -> None:
        sys.settrace(self._trace)
        try:
            work()
        except (KeyboardInterrupt, CommitUnknown, StorageError):
            pass  # The last two: it came while a group was published or a segment begun.
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in ("ferrisdb", "sortedcontainers")):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith("with "):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self._trace


def rows_of(store: LocalStore) -> dict[bytes, bytes]:
    transaction = store.begin(read_only=True)
    rows = dict(transaction.scan(b"", None))
    transaction.rollback()
    return rows


def in_another_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "somebody waits for ever"


@pytest.mark.parametrize("filling", [0, 60])
def test_whenever_a_transaction_is_interrupted_the_next_one_gets_an_answer(filling: int) -> None:
    """With `filling` the memtable is full: the commit begins a new segment."""
    at, refused = 0, 0
    while True:
        at += 1
        env = MemoryEnv()
        store = LocalStore(Engine.open(env, "db", TINY))
        first = store.begin()
        for key in KEYS:
            first.put(key, b"first" + b"-" * filling)
        first.commit()
        expected = rows_of(store)
        wanted = {**expected, **dict.fromkeys(KEYS[:3], b"second")}

        transaction = store.begin()

        def work(transaction: Any = transaction) -> None:
            transaction.lock(KEYS[5:7], LockMode.SHARE)
            for key in KEYS[:3]:
                transaction.put(key, b"second")
            transaction.commit()

        interrupt = Interrupt(at)
        interrupt.run(work)
        transaction.rollback()
        found: list[dict[bytes, bytes]] = []

        def next_one(store: LocalStore = store, found: list[dict[bytes, bytes]] = found) -> None:
            found.append(rows_of(store))
            later = store.begin()
            try:
                for key in KEYS:
                    later.put(key, b"third")
                later.commit()
            except (StorageError, SerializationFailure):
                found.append({})  # It refuses writes: what was half published is never seen.
            else:
                found.append(rows_of(store))

        in_another_thread(next_one)
        seen, last = found
        assert seen in (expected, wanted), f"line {at}"
        assert last in ({}, dict.fromkeys(KEYS, b"third")), f"line {at}"
        in_another_thread(store.close)
        reopened = LocalStore(Engine.open(env, "db", TINY))
        if last:
            assert rows_of(reopened) == last, f"line {at}"
        else:
            refused += 1
            assert rows_of(reopened) in (expected, wanted), f"line {at}"
        reopened.close()
        if interrupt.count < at:
            break
    assert at > 100
    assert refused < at / 2


@pytest.mark.parametrize("known", [0, 100])
def test_an_interrupted_scan_hides_no_row_from_the_next_one_nor_from_the_disk(known: int) -> None:
    """`known` keys are in order already when the scan merges the new ones in."""
    at = 0
    while True:
        at += 1
        env = MemoryEnv()
        engine = Engine.open(env, "db")
        rows = {b"known%03d" % number: b"" for number in range(known)}
        if rows:
            engine.commit(rows)
            assert sum(len(keys) for keys, _ in engine.scan(b"", None, 1)) == known
        rows |= {b"late%03d" % number: b"" for number in range(5)}
        timestamp = engine.commit({key: b"" for key in rows if key.startswith(b"late")})

        def scan(engine: Engine = engine, timestamp: int = timestamp) -> None:
            for _ in engine.scan(b"", None, timestamp):
                pass

        interrupt = Interrupt(at)
        interrupt.run(scan)
        assert [key for keys, _ in engine.scan(b"", None, timestamp) for key in keys] == sorted(rows)
        engine.flush()
        assert [key for keys, _ in engine.scan(b"", None, timestamp) for key in keys] == sorted(rows)
        engine.close()
        if interrupt.count < at:
            break
    assert at > 20


def test_an_interrupted_close_keeps_the_folder_until_nobody_writes_to_it_any_more() -> None:
    began, go_on = threading.Event(), threading.Event()

    class SlowEnv(MemoryEnv):
        def sync_directory(self, path: str) -> None:
            if threading.current_thread().name == "ferrisdb-flush":
                began.set()
                assert go_on.wait(20)
            super().sync_directory(path)

    env = SlowEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"k": b"v"})

    def flush() -> None:
        with contextlib.suppress(Error):  # It may be told that the database was closed meanwhile.
            engine.flush()

    flushing = threading.Thread(target=flush)
    flushing.start()
    assert began.wait(20)
    worker = engine._flusher._thread
    join, interrupts = worker.join, iter([True, True])

    def interrupted_join(timeout: float | None = None) -> None:
        if next(interrupts, False):
            raise KeyboardInterrupt
        go_on.set()
        join(timeout)

    worker.join = interrupted_join  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.close()
    assert not worker.is_alive()
    flushing.join()
    reopened = Engine.open(env, "db")
    assert reopened.read(b"k", reopened.visible_timestamp) == b"v"
    reopened.close()

"""Ctrl-C in the hands of a program: whatever line it hits, no lock is left that nobody can free.

The interrupt is put before every line of `ferrisdb.api` and of the session that the work runs. The
program lets go of its transaction, as an exception does; another one then wants the same keys.
"""

import gc
import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import ferrisdb
from ferrisdb.errors import Error

SEEN = ("ferrisdb/api", "ferrisdb/query/session", "ferrisdb/query/transaction_state")


class Interrupt:
    """Raises KeyboardInterrupt before line `at`. Lines with `with` are no place for a signal: Python
    traces them once more before the block is left; nor is `try:`, where nothing is done."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.has_come = False
        self._count = 0

    def run(self, work: Callable[[], object]) -> None:
        sys.settrace(self._trace)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not any(part in path for part in SEEN) or is_in_finaliser(frame):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith(("with ", "try:")):
            self._count += 1
            if self._count == self.at:
                self.has_come = True
                raise KeyboardInterrupt
        return self._trace


def is_in_finaliser(frame: FrameType | None) -> bool:
    """What is raised there is printed, and goes no further."""
    while frame is not None and frame.f_code.co_name not in {"__del__", "_remove"}:
        frame = frame.f_back
    return frame is not None


def put_in_a_block(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        tx.put(b"k", b"new")


def put_and_fail(db: ferrisdb.Database) -> None:
    try:
        with db.transaction() as tx:
            tx.put(b"k", b"new")
            raise LookupError
    except LookupError:
        pass


def change_a_row(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        tx.execute("UPDATE t SET n = 1")


def change_a_row_and_fail(db: ferrisdb.Database) -> None:
    try:
        with db.transaction() as tx:
            rows = tx.query("SELECT * FROM t")
            tx.execute("UPDATE t SET n = 1")
            raise LookupError
    except LookupError:
        rows.close()


def run_with_retries(db: ferrisdb.Database) -> None:
    db.run(lambda tx: tx.put(b"k", b"new"))


def take_all(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        tx.put(b"k", b"next")
        tx.execute("UPDATE t SET n = 2")


@pytest.mark.parametrize(
    "work", [put_in_a_block, put_and_fail, change_a_row, change_a_row_and_fail, run_with_retries]
)
def test_a_transaction_that_was_interrupted_leaves_no_lock(work: Callable[[ferrisdb.Database], None]) -> None:
    left: list[str] = []
    at = 0
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
        db.execute("INSERT INTO t VALUES (1, 0)")
        work(db)
        while True:
            at += 1
            interrupt = Interrupt(at)
            interrupt.run(lambda: work(db))
            try:
                take_all(db)
            except Error:
                gc.collect()  # What the exception's frames still held.
                try:
                    take_all(db)
                except Error as error:
                    left.append(f"interrupt {at}: {error}")
                    break
            if not interrupt.has_come:
                break
    assert not left
    assert at > 10

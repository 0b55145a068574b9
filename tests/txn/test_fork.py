"""A store carried over a fork refuses in the child, and never hangs there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORK_WHILE_LOCKED = """
import os, signal, sys, threading
from ferrisdb import errors
from ferrisdb.txn.local import LocalStore

store = LocalStore.in_memory()
tx = store.begin()
tx.put(b"a", b"1")
held, done = threading.Event(), threading.Event()

def hold():
    # Another thread is inside both mutexes at the moment of the fork.
    with store._mutex, store._locks._mutex:
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    for use in (lambda: store.begin().get(b"a"), lambda: tx.get(b"x"), lambda: tx.put(b"b", b"2")):
        try:
            use()
            os._exit(1)
        except errors.StorageError as error:
            if "forked" not in error.message:
                os._exit(2)
    tx.rollback()
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_is_refused_even_when_a_thread_was_inside_at_the_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK_WHILE_LOCKED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"


CLOSE_WHILE_LOCKED = """
import os, signal, sys, threading
import ferrisdb

db = ferrisdb.open(":memory:")
held, done = threading.Event(), threading.Event()

def hold():
    # Another thread is just beginning a transaction, or closing, at the moment of the fork.
    with db._lease._lock:
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    db.close()
    db.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_can_close_what_it_cannot_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSE_WHILE_LOCKED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"

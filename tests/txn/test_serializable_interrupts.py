"""Ctrl-C anywhere in a serializable transaction: what has become of it counts, and nothing stays.

As in test_interrupts, the interrupt is put before every line that the work runs. A witness has
read what the work overwrites, and then writes what the work has read: if the work has committed,
the two are a cycle and the witness must be refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_interrupts import KEYS, TINY, Interrupt, in_another_thread, rows_of

from ferrisdb import errors
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore

SERIALIZABLE = IsolationLevel.SERIALIZABLE


def refuses_writes(store: LocalStore) -> bool:
    probe = store.begin()
    try:
        probe.put(b"probe", b"")
        probe.commit()
    except errors.StorageError:
        return True
    return False


class Case:
    """The work, and the witness that makes a cycle with it. All of it on a new store."""

    def __init__(self, *, is_refused: bool) -> None:
        self.store = LocalStore(Engine.open(MemoryEnv(), "db", TINY))
        first = self.store.begin()
        for key in KEYS:
            first.put(key, b"first")
        first.commit()
        self.witness = self.store.begin(SERIALIZABLE)
        self.witness.get(KEYS[0])
        self.transaction = self.store.begin(SERIALIZABLE)
        self.is_refused = is_refused
        self.has_committed = False
        self.is_needless = False
        if is_refused:
            self.transaction.get(KEYS[8])
            self.finish_witness()

    def work(self) -> None:
        transaction = self.transaction
        transaction.begin_statement("the work")
        transaction.get(KEYS[8])
        list(transaction.scan(KEYS[10], KEYS[12]))
        transaction.put(KEYS[0], b"second")
        transaction.commit()

    def finish_witness(self) -> None:
        self.witness.put(KEYS[8], b"witness")
        self.witness.commit()

    def look(self) -> None:
        self.has_committed = rows_of(self.store)[KEYS[0]] == b"second"
        if self.is_refused:
            return
        try:
            self.finish_witness()
        except errors.SerializationFailure:
            self.is_needless = not self.has_committed
        except errors.StorageError:
            pass  # It refuses writes: the interrupt came while a group was published.
        else:
            assert not self.has_committed, "a cycle was let through"


@pytest.mark.parametrize("is_refused", [False, True], ids=["admitted", "refused"])
def test_what_an_interrupted_transaction_has_done_counts_and_no_node_stays(is_refused: bool) -> None:
    at, committed, needless = 0, 0, 0
    while True:
        at += 1
        case = Case(is_refused=is_refused)
        interrupt = Interrupt(at)
        try:
            interrupt.run(case.work)
        except errors.SerializationFailure:
            assert is_refused
        case.transaction.rollback()
        in_another_thread(case.look)
        case.witness.rollback()
        committed += case.has_committed
        needless += case.is_needless
        # One whose outcome only opening again can tell stays, where nobody writes any more.
        graph = case.store._graph
        assert graph.node_count <= refuses_writes(case.store), f"line {at}"
        assert not graph._snapshots
        assert not graph._pending
        in_another_thread(case.store.close)
        if interrupt.count < at:
            break
    assert at > 100
    assert needless < at / 5
    assert (committed > 0) is not is_refused

"""Ctrl-C anywhere in a serializable transaction: what has become of it counts, and nothing stays.

As in test_interrupts, the interrupt is put before every line that the work runs. A witness has
read what the work overwrites, and then writes what the work has read: if the work has committed,
the two are a cycle and the witness must be refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("is_refused", [False, True], ids=["admitted", "refused"])
def test_what_an_interrupted_transaction_has_done_counts_and_no_node_stays(is_refused: bool) -> None:
    at, committed, needless = 0, 0, 0
    while True:
        at += 1
        store = LocalStore(Engine.open(MemoryEnv(), "db", TINY))
        first = store.begin()
        for key in KEYS:
            first.put(key, b"first")
        first.commit()

        witness = store.begin(SERIALIZABLE)
        witness.get(KEYS[0])
        transaction = store.begin(SERIALIZABLE)

        def work(transaction: Any = transaction) -> None:
            transaction.begin_statement("the work")
            transaction.get(KEYS[8])
            list(transaction.scan(KEYS[10], KEYS[12]))
            transaction.put(KEYS[0], b"second")
            transaction.commit()

        if is_refused:
            transaction.get(KEYS[8])
            witness.put(KEYS[8], b"witness")
            witness.commit()
        interrupt = Interrupt(at)
        try:
            interrupt.run(work)
        except errors.SerializationFailure:
            assert is_refused
        transaction.rollback()

        def next_one(store: LocalStore = store, witness: Any = witness) -> None:
            nonlocal committed, needless
            has_committed = rows_of(store)[KEYS[0]] == b"second"
            committed += has_committed
            if not is_refused:
                try:
                    witness.put(KEYS[8], b"witness")
                    witness.commit()
                except errors.SerializationFailure:
                    needless += not has_committed
                except errors.StorageError:
                    pass  # It refuses writes: the interrupt came while a group was published.
                else:
                    assert not has_committed, f"line {at}: a cycle was let through"
            else:
                assert not has_committed, f"line {at}: a cycle was let through"

        in_another_thread(next_one)
        witness.rollback()
        # One whose outcome only opening again can tell stays, where nobody writes any more.
        assert store._graph.node_count <= refuses_writes(store), f"line {at}"
        assert not store._graph._snapshots
        assert not store._graph._pending
        in_another_thread(store.close)
        if interrupt.count < at:
            break
    assert at > 100
    if not is_refused:
        assert committed > 0
        assert needless < at / 5

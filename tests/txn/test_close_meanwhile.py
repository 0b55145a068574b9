"""The store is closed while transactions commit: what was acknowledged is there, and serializable.

    a    reads x, writes y . . . . . . commit . . . . .
    b    reads y, writes x . . . . . . . . . commit . .
    c                        close . . . . . . . . . . .

Each commit may succeed, or fail because the database is closed. Both may not: no order of the two
gives what they saw.
"""

from ferrisdb.errors import Error
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.testing import Scheduler, pause
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

SEEDS = 300


def opened(env: MemoryEnv) -> LocalStore:
    return LocalStore(Engine.open(env, "db", StorageOptions()))


def test_a_store_that_is_closed_lets_no_write_skew_through() -> None:
    outcomes: set[int] = set()
    for seed in range(SEEDS):
        env = MemoryEnv()
        store = opened(env)
        acknowledged: list[bytes] = []

        def commit(
            transaction: LocalTransaction,
            read: bytes,
            written: bytes,
            acknowledged: list[bytes] = acknowledged,
        ) -> None:
            try:
                transaction.get(read)
                transaction.put(written, b"1")
                transaction.commit()
            except Error:
                return
            acknowledged.append(written)

        def close(store: LocalStore = store) -> None:
            pause("close")
            store.close()

        a, b = (store.begin(IsolationLevel.SERIALIZABLE) for _ in range(2))
        scheduler = Scheduler(seed)
        for transaction in (a, b):
            transaction.get(b"z")
        scheduler.spawn(commit, a, b"x", b"y", name="a")
        scheduler.spawn(commit, b, b"y", b"x", name="b")
        scheduler.spawn(close, name="c")
        scheduler.run()
        reopened = opened(env)
        found = dict(reopened.begin().scan(b"", None))
        assert set(acknowledged) <= set(found), f"seed {seed}: a commit is lost"
        assert len(found) < 2, f"seed {seed}: each has read what the other wrote"
        outcomes.add(len(found))
        reopened.close()
    assert outcomes == {0, 1}

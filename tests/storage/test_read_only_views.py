"""What a transaction of a reader sees stays, whatever the files have become meanwhile."""

import pytest

from ferrisdb.errors import SnapshotTooOld
from ferrisdb.storage.compaction_filter import Expiry
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.testing import CrashFS, FaultyEnv
from ferrisdb.txn.local import LocalStore

NOON_S = 1_700_000_000.0


def test_what_expires_under_an_open_transaction_stays_for_it_and_is_gone_for_the_next() -> None:
    """Compaction drops expired rows without any commit: the moment is the same, the files are not."""
    env, now_s = MemoryEnv(), [NOON_S]
    env.time_of_day = lambda: now_s[0]
    # given a row that expires, and a reader's transaction that has begun
    writer = Engine.open(env, "db", StorageOptions(expiries=(Expiry(b"session/", 3600),)))
    writer.collect_below(lambda: writer.visible_timestamp)
    writer.commit({b"session/1": b"v", b"user/1": b"v"})
    writer.flush()
    store = LocalStore(ReadOnlyEngine.open(env, "db"))
    transaction = store.begin()
    assert transaction.get(b"session/1") == b"v"
    # when the row is compacted away and the reader looks again
    now_s[0] += 4000
    writer.wait_until_compacted()
    assert writer.read(b"session/1", 1) is None
    store.refresh()
    # then the transaction still has it
    assert transaction.get(b"session/1") == b"v"
    assert [key for key, _ in transaction.scan(b"", None)] == [b"session/1", b"user/1"]
    # and when it is over, the next one has not
    transaction.rollback()
    store.refresh()
    assert store.begin().get(b"session/1") is None
    store.close()
    writer.close()


def test_who_saw_a_commit_that_was_taken_back_is_sent_away_and_the_next_see_the_true_one() -> None:
    fs = CrashFS()
    env = FaultyEnv(fs)
    writer = Engine.open(env, "db")
    writer.commit({b"a": b"1"})
    store = LocalStore(ReadOnlyEngine.open(fs, "db"))
    transaction = store.begin()

    def interrupt(call: str) -> None:
        if call.startswith("sync"):
            env.before_call = lambda call: None
            store.refresh()
            assert transaction.get(b"a") == b"never was"
            raise KeyboardInterrupt

    env.before_call = interrupt
    with pytest.raises(KeyboardInterrupt):
        writer.commit({b"a": b"never was"})
    store.refresh()
    with pytest.raises(SnapshotTooOld):
        transaction.get(b"a")
    transaction.rollback()
    assert store.begin().get(b"a") == b"1"
    writer.commit({b"a": b"2"})
    store.refresh()
    assert store.begin().get(b"a") == b"2"
    store.close()
    writer.close()

"""What can be seen of transactions at work, and of a key's versions."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.errors import QueryCanceled
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import MemtableKind, StorageOptions
from ferrisdb.txn.api import IsolationLevel

PATIENCE_S = 20


@pytest.mark.parametrize("kind", list(MemtableKind))
def test_a_chain_has_every_version_wherever_it_is(kind: MemtableKind) -> None:
    # Given a history of random commits, some flushed, some merged to deeper levels
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    keys = [b"k%d" % number for number in range(6)]
    wanted: dict[bytes, list[tuple[int, bytes | None]]] = {key: [] for key in keys}
    engine = Engine.open(MemoryEnv(), "db", StorageOptions(memtable=kind, block_bytes=100))
    try:
        # A snapshot from before everything: so nothing is collected.
        engine.collect_below(lambda: 0)
        for _ in range(300):
            writes = {
                key: None if chance.random() < 0.2 else chance.randbytes(chance.randrange(40))
                for key in chance.sample(keys, chance.randrange(1, 4))
            }
            timestamp = engine.commit(writes)
            for key, value in writes.items():
                wanted[key].insert(0, (timestamp, value))
            if chance.random() < 0.05:
                engine.flush()
            if chance.random() < 0.02:
                engine.wait_until_compacted()
        # When each key is looked at
        chains = {key: engine.versions(key) for key in keys}
        # Then all versions are there, newest first, and each says where.
        assert {
            key: [(each.timestamp, each.value) for each in chain] for key, chain in chains.items()
        } == wanted
        places = {each.place for chain in chains.values() for each in chain}
        assert any(place.startswith("level ") for place in places)
        assert engine.versions(b"k") == engine.versions(b"k00") == []
    finally:
        engine.close()


def test_a_deleted_range_is_a_version_of_each_key_in_it() -> None:
    engine = Engine.open(MemoryEnv(), "db", StorageOptions())
    try:
        engine.commit({b"b": b"1"})
        engine.commit({}, deleted_ranges=[(b"a", b"c")])
        engine.commit({b"b": b"2"})
        found = [(each.timestamp, each.value, each.is_range) for each in engine.versions(b"b")]
        assert found == [(3, b"2", False), (2, None, True), (1, b"1", False)]
        assert engine.versions(b"c") == []
    finally:
        engine.close()


def test_open_transactions_tell_their_snapshots() -> None:
    with ferrisdb.open() as db:
        first = db.begin("serializable")
        second = db.begin("read committed", read_only=True)
        first.put(b"k", b"1")
        assert second.get(b"k") is None
        seen = {each.isolation: each for each in db.open_transactions()}
        assert set(seen) == {IsolationLevel.SERIALIZABLE, IsolationLevel.READ_COMMITTED}
        assert seen[IsolationLevel.READ_COMMITTED].is_read_only
        assert {each.thread_id for each in seen.values()} == {threading.get_ident()}
        assert [each.snapshot for each in db.open_transactions()] == [0, 0]
        first.rollback()
        second.rollback()
        assert db.open_transactions() == []


def test_a_look_at_a_key_shows_what_is_written_locked_and_wanted(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db:
        with db.transaction() as tx:
            tx.put(b"k", b"old")
        writer, sweeper = db.begin(), db.begin()
        writer.put(b"k", b"new")
        held = db.look_at(b"k")
        assert [each.value for each in held.versions] == [b"old"]
        ((writer_id, value),) = held.uncommitted
        assert value == b"new"
        assert held.locks.exclusive == (writer_id,)
        # When another wants it
        failures: list[BaseException] = []

        def sweep() -> None:
            try:
                sweeper.delete_range(b"a", b"z")
            except QueryCanceled as error:
                failures.append(error)
            sweeper.rollback()

        thread = threading.Thread(target=sweep)
        thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not db.lock_waits():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        (wait,) = db.lock_waits()
        # Then it is seen to wait, by its range, too; and can be told to give up.
        assert db.look_at(b"k").locks.waiting == (wait.transaction_id,)
        assert db.cancel_wait(wait.transaction_id)
        thread.join(PATIENCE_S)
        assert [error.sqlstate for error in failures if isinstance(error, QueryCanceled)] == ["57014"]
        assert not db.cancel_wait(wait.transaction_id)
        assert db.look_at(b"k").locks.waiting == ()
        # The writer has lost nothing by it.
        writer.commit()
        assert [each.value for each in db.look_at(b"k").versions] == [b"new", b"old"]


def test_who_is_behind_a_canceled_wait_goes_on() -> None:
    with ferrisdb.open() as db:
        holder = db.begin()
        holder.put(b"k", b"0")
        done: list[str] = []

        def ask(name: str) -> None:
            with db.transaction() as tx:
                tx.put(b"k", name.encode())
            done.append(name)

        def ask_and_give_up(name: str) -> None:
            with pytest.raises(QueryCanceled):
                ask(name)

        threads = [
            threading.Thread(target=ask_and_give_up, args=("b",)),
            threading.Thread(target=ask, args=("c",)),
        ]
        for count, thread in enumerate(threads, start=1):
            thread.start()
            deadline = time.monotonic() + PATIENCE_S
            while len(db.lock_waits()) < count:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        in_front = min(db.lock_waits(), key=lambda wait: len(wait.waits_for))
        assert db.cancel_wait(in_front.transaction_id)
        holder.rollback()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert done == ["c"]

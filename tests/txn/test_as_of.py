"""The past: a snapshot at an old commit shows what was there then, or says that it is gone."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from ferrisdb import errors
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.txn.api import CommitToken, IsolationLevel
from ferrisdb.txn.local import LocalStore

NOON_S = 1_800_000_000.0
HOUR_S = 3600.0


class World:
    def __init__(self, retention_s: float) -> None:
        self.now_s = NOON_S
        self.env = MemoryEnv()
        self.env.time_of_day = lambda: self.now_s
        self.retention_s = retention_s
        self.open()

    def open(self) -> None:
        options = StorageOptions(
            memtable_bytes=4000, block_bytes=200, table_bytes=2000, retention_s=self.retention_s
        )
        self.store = LocalStore(Engine.open(self.env, "db", options))

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def commit(self, **values: str) -> CommitToken:
        tx = self.store.begin()
        for name, value in values.items():
            tx.put(name.encode(), value.encode())
        return tx.commit()

    def compact(self) -> None:
        self.store.flush()
        self.store.wait_until_compacted()

    def at(self, token: CommitToken) -> dict[bytes, bytes]:
        tx = self.store.begin(as_of=token)
        rows = dict(tx.scan(b"", None))
        tx.rollback()
        return rows


def test_each_commit_of_the_last_hour_shows_what_it_showed_and_older_ones_say_that_they_are_gone() -> None:
    world = World(HOUR_S)
    expected: dict[CommitToken, dict[bytes, bytes]] = {}
    rows: dict[bytes, bytes] = {}
    for minute in range(150):
        world.now_s = NOON_S + minute * 60
        name = f"key{minute % 7}"
        rows[name.encode()] = b"%d" % minute
        expected[world.commit(**{name: str(minute)})] = dict(rows)
        world.compact()
        if minute % 40 == 39:
            world.reopen()
    kept = list(expected)[-59:]
    for token in kept:
        assert world.at(token) == expected[token]
    for token in list(expected)[:40]:
        with pytest.raises(errors.SnapshotTooOld) as caught:
            world.store.begin(as_of=token)
        assert caught.value.sqlstate == "72000"
    # What was refused by one process is refused by the next.
    world.retention_s = 100 * HOUR_S
    world.reopen()
    with pytest.raises(errors.SnapshotTooOld):
        world.store.begin(as_of=next(iter(expected)))
    assert world.at(kept[0]) == expected[kept[0]]
    world.store.close()


def test_a_snapshot_of_the_past_is_kept_as_long_as_it_is_open() -> None:
    world = World(HOUR_S)
    token = world.commit(a="old")
    world.compact()
    reader = world.store.begin(as_of=token)
    for _ in range(5):
        world.now_s += HOUR_S
        world.commit(a="new")
        world.compact()
    assert reader.get(b"a") == b"old"
    assert world.at(token) == {b"a": b"old"}
    reader.rollback()
    world.commit(a="newest")
    world.compact()
    with pytest.raises(errors.SnapshotTooOld):
        world.store.begin(as_of=token)
    world.store.close()


def test_it_is_read_only_at_snapshot_and_never_the_future() -> None:
    world = World(HOUR_S)
    token = world.commit(a="1")
    past = world.store.begin(as_of=token)
    assert past.is_read_only
    assert past.isolation is IsolationLevel.SNAPSHOT
    with pytest.raises(errors.ReadOnlyTransaction):
        past.put(b"a", b"2")
    assert past.commit() == token
    with pytest.raises(errors.InvalidParameterValue):
        world.store.begin(IsolationLevel.SERIALIZABLE, as_of=token)
    with pytest.raises(errors.InvalidParameterValue):
        world.store.begin(as_of=CommitToken(token + 1))
    world.store.close()


def test_a_time_is_the_last_commit_that_had_been_made_by_then() -> None:
    world = World(HOUR_S)
    tokens = []
    for minute in range(5):
        world.now_s = NOON_S + minute * 60
        tokens.append(world.commit(a=str(minute)))
        world.store.flush()
    for minute in range(5):
        assert world.store.token_at(NOON_S + minute * 60 + 30) == tokens[minute]
    assert world.store.token_at(NOON_S + HOUR_S) == tokens[-1]
    with pytest.raises(errors.SnapshotTooOld):
        world.store.token_at(NOON_S - 60)
    world.store.close()


def test_a_database_that_is_open_read_only_shows_no_past(tmp_path: Path) -> None:
    store = LocalStore.open(str(tmp_path / "db"))
    tx = store.begin()
    tx.put(b"a", b"1")
    token = tx.commit()
    follower = LocalStore.open_read_only(str(tmp_path / "db"))
    with pytest.raises(errors.NotSupportedError):
        follower.begin(as_of=token)
    with pytest.raises(errors.NotSupportedError):
        follower.token_at(0)
    follower.close()
    store.close()


def test_whoever_is_let_in_while_compactions_run_sees_the_past_whole() -> None:
    """Without a retention all that nobody reads goes at once: who comes in between two
    compactions has to hold back the next one, or be refused."""
    seed = random.randrange(2**32)
    print("seed", seed)
    world = World(0)
    dice = random.Random(seed)
    expected: dict[int, dict[bytes, bytes]] = {}
    seen, refused = [0], [0]
    wrong: list[object] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            token = random.choice([*list(expected)[-8:], 0])
            try:
                tx = world.store.begin(as_of=CommitToken(token))
            except errors.SnapshotTooOld:
                refused[0] += 1
                continue
            found = dict(tx.scan(b"", None))
            again = {key: tx.get(key) for key in found}
            tx.rollback()
            seen[0] += 1
            if found != expected.get(token, {}) or again != found:
                wrong.append((token, found, expected.get(token)))

    threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    rows: dict[bytes, bytes] = {}
    for number in range(300):
        name = f"key{dice.randrange(20)}"
        rows[name.encode()] = b"%d" % number * 20
        expected_then = dict(rows)
        token = world.commit(**{name: (b"%d" % number * 20).decode()})
        expected[int(token)] = expected_then
        if number % 5 == 0:
            world.store.flush()
    is_over.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    print(f"{seen[0]} looks, {refused[0]} refused")
    assert not wrong, f"seed {seed}"
    assert seen[0] > 0
    assert refused[0] > 0
    world.store.close()


def test_between_finding_a_watermark_and_noting_it_nobody_is_let_in() -> None:
    world = World(0)
    for number in range(3):
        world.commit(a=str(number))
    retention = world.store._engine._compactor.retention  # type: ignore[attr-defined]
    outcome: list[object] = []

    def come_in() -> None:
        try:
            retention.hold(1, outcome.append)
        except errors.SnapshotTooOld as error:
            outcome.append(error)

    threads: list[threading.Thread] = []

    def oldest_snapshot() -> int:
        threads.append(threading.Thread(target=come_in, daemon=True))
        threads[0].start()
        threads[0].join(0.05)
        assert threads[0].is_alive(), "it did not wait"
        return 3

    assert retention.watermark(oldest_snapshot) == 3
    threads[0].join(20)
    assert [type(each) for each in outcome] == [errors.SnapshotTooOld]
    world.store.close()

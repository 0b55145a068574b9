"""The past: a snapshot at an old commit shows what was there then, or says that it is gone."""

from __future__ import annotations

import random
import threading
import time
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
    for level in IsolationLevel:
        assert world.store.begin(level, as_of=token).isolation is IsolationLevel.SNAPSHOT
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
        assert world.store.token_at(min(NOON_S + minute * 60 + 30, world.now_s)) == tokens[minute]
    with pytest.raises(errors.InvalidParameterValue, match="still to come"):
        world.store.token_at(NOON_S + HOUR_S)
    with pytest.raises(errors.SnapshotTooOld):
        world.store.token_at(NOON_S - 60)
    world.store.close()


def test_a_database_that_is_open_read_only_shows_the_past_that_is_in_its_files(tmp_path: Path) -> None:
    def commit(value: bytes) -> CommitToken:
        tx = store.begin()
        tx.put(b"a", value)
        return tx.commit()

    store = LocalStore.open(str(tmp_path / "db"))
    old, newer = commit(b"1"), commit(b"2")
    follower = LocalStore.open_read_only(str(tmp_path / "db"))
    past = follower.begin(as_of=old)
    assert past.get(b"a") == b"1"
    assert follower.begin(as_of=newer).get(b"a") == b"2"
    # When the writer goes on, and throws away what only the past needs.
    for number in range(6):
        commit(b"later %d" % number)
        store.flush()
    store.wait_until_compacted()
    follower.refresh()
    # Then who is in the past stays there, and nobody else gets there.
    assert past.get(b"a") == b"1"
    past.rollback()
    with pytest.raises(errors.PastNotKept):
        follower.begin(as_of=old)
    with pytest.raises(errors.InvalidParameterValue):
        follower.begin(as_of=CommitToken(follower.version + 1))
    assert follower.token_at(time.time()) == follower.version
    follower.close()
    store.close()


def test_times_are_known_to_the_next_process_when_the_database_was_closed() -> None:
    world = World(HOUR_S)
    tokens = []
    for minute in range(5):
        world.now_s += 60
        tokens.append(world.commit(a=str(minute)))
    world.now_s += 60
    world.reopen()
    # Nothing was flushed: the times went into the manifest when it was closed.
    for minute in range(5):
        assert world.store.token_at(NOON_S + (minute + 1) * 60 + 30) == tokens[minute]
        assert world.at(tokens[minute]) == {b"a": b"%d" % minute}
    # When it is killed, nobody knows the times of the last commits any more, and says so.
    world.now_s += 60
    world.commit(a="last")
    killed, world.env = world.store, world.env.copy()
    world.now_s += 600
    world.env.time_of_day = lambda: world.now_s
    world.open()
    assert world.store.token_at(world.now_s) == tokens[-1] + 1
    with pytest.raises(errors.PastNotKept, match="is not known"):
        world.store.token_at(world.now_s - 60)
    assert world.store.token_at(NOON_S + 90) == tokens[0]
    killed.close()
    world.store.close()


def test_a_time_means_the_same_version_each_time_it_is_asked_for() -> None:
    # Given a clock that moves by less than what is noted, and commits and questions in turns.
    world = World(HOUR_S)
    dice = random.Random(7)
    answers: dict[float, CommitToken] = {}
    made: list[tuple[float, CommitToken]] = []
    for number in range(2000):
        world.now_s += dice.choice([0.0001, 0.001, 0.004, 0.3])
        made.append((world.now_s, world.commit(a=str(number))))
        if dice.random() < 0.2:
            answers[world.now_s] = world.store.token_at(world.now_s)
            assert answers[world.now_s] == made[-1][1]
    for second, answer in answers.items():
        assert world.store.token_at(second) == answer
    # And whatever is asked is at most a hundredth of a second off.
    for second in [at + after for at, _ in made[:-1:7] for after in (0, 0.005, 0.02)]:
        found = world.store.token_at(second)
        assert found <= max(token for at, token in made if at <= second)
        assert found >= max((token for at, token in made if at <= second - 0.0101), default=0)
    world.store.close()


def test_who_was_told_to_keep_the_past_does_not_find_what_was_gone_before() -> None:
    # Given a database that was open without a retention.
    world = World(0)
    tokens = []
    for number in range(8):
        tokens.append(world.commit(a=str(number)))
        world.compact()
    assert world.store.statistics().compactions
    world.retention_s = HOUR_S
    world.reopen()
    newer = [world.commit(a="newer"), world.commit(a="newest")]
    world.compact()
    # Then the past begins with what was there at its last compaction.
    with pytest.raises(errors.PastNotKept) as caught:
        world.at(tokens[2])
    oldest = caught.value.oldest_version
    assert tokens[2] < oldest <= tokens[-1]
    assert world.at(CommitToken(oldest))[b"a"] == b"%d" % tokens.index(CommitToken(oldest))
    assert caught.value.sqlstate == "72000"
    assert not caught.value.retryable
    assert [world.at(token)[b"a"] for token in (tokens[-1], *newer)] == [b"7", b"newer", b"newest"]
    world.store.close()


def test_what_is_older_than_the_retention_is_refused_also_where_it_is_still_there() -> None:
    # Given two commits, a flush that says when, and no compaction at all.
    world = World(HOUR_S)
    old = world.commit(a="old")
    world.now_s += 1
    world.commit(a="newer")
    world.store.flush()
    assert world.at(old) == {b"a": b"old"}
    world.now_s += 2 * HOUR_S
    with pytest.raises(errors.PastNotKept):
        world.at(old)
    world.store.close()


def test_where_somebody_reads_others_may_come_too() -> None:
    world = World(0)
    token = world.commit(a="old")
    reader = world.store.begin()
    assert reader.get(b"a") == b"old"
    for number in range(5):
        world.commit(a=str(number))
        world.compact()
    assert world.at(token) == {b"a": b"old"}
    other = world.store.begin(as_of=token)
    reader.rollback()
    world.commit(a="x")
    world.compact()
    assert other.get(b"a") == b"old"
    other.rollback()
    with pytest.raises(errors.PastNotKept):
        world.at(token)
    world.store.close()


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


def test_between_finding_a_floor_and_noting_it_nobody_is_let_in() -> None:
    world = World(0)
    for number in range(3):
        world.commit(a=str(number))
    store = world.store
    outcome: list[object] = []

    def come_in() -> None:
        try:
            outcome.append(store.begin(as_of=CommitToken(1)))
        except errors.SnapshotTooOld as error:
            outcome.append(error)

    coming = threading.Thread(target=come_in, daemon=True)
    in_use = store._snapshots_in_use

    def meanwhile() -> list[int]:
        if not coming.ident:
            coming.start()
            coming.join(0.05)
            assert coming.is_alive(), "it did not wait"
        return in_use()

    store._snapshots_in_use = meanwhile  # type: ignore[method-assign]
    assert store._snapshots_to_keep(3) == (3,)
    coming.join(20)
    assert [type(each) for each in outcome] == [errors.PastNotKept]
    world.store.close()

"""Reading a database that somebody else writes: always one moment of it, and never an error.

The heart: a reader opens the database, and another one that has followed it from the beginning
refreshes, between every two calls that a writer makes of the machine while it commits,
deletes ranges, reserves space in its log, rotates, flushes, compacts, makes a checkpoint and
rolls its manifest over. And the other way about: the writer does
all that between every two calls of a reader. Whatever a reader sees must be

- all that had been acknowledged when it looked, and nothing that was not attempted;
- no less than what it saw before;
- still there when the power is cut right then;
- for a reader in the middle of a transaction: the same at its end as at its beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from ferrisdb.errors import (
    CorruptionError,
    InterfaceError,
    NotADatabase,
    ReadOnlyStore,
    SnapshotTooOld,
    StorageError,
    Unavailable,
)
from ferrisdb.storage import wal
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import CompactionStyle, Compression, Durability, MemtableKind, StorageOptions
from ferrisdb.storage.range_tombstones import DeletedRange
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.testing import CrashFS, FaultyEnv, Loss
from ferrisdb.txn.local import LocalStore

FOLDER = "db"
SMALL = StorageOptions(
    memtable_bytes=900,
    manifest_bytes=1,
    compaction_start_tables=2,
    level_base_bytes=1000,
    table_bytes=600,
    block_bytes=100,
)


def writes_of(number: int) -> dict[bytes, bytes | None]:
    return {
        b"row%03d" % (number % 5): b"written by %d" % number,
        b"own%03d" % number: b"x" * 90,
        b"own%03d" % (number - 3): None,
        b"number": b"%d" % number,
    }


def ranges_of(number: int) -> list[DeletedRange]:
    """Deleted before the writes are made: every third commit takes rows that are there."""
    if number % 3:
        return []
    return [(b"own%03d" % (number - 2), b"own%03d" % number), (b"row001", b"row003")]


def rows_after(number: int) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes | None] = {}
    for each in range(1, number + 1):
        for lo, hi in ranges_of(each):
            rows = {key: value for key, value in rows.items() if not lo <= key < (hi or b"\xff")}
        rows.update(writes_of(each))
    return {key: value for key, value in rows.items() if value is not None}


def rows_in(engine: Engine | ReadOnlyEngine, timestamp: int | None = None) -> dict[bytes, bytes]:
    at = engine.visible_timestamp if timestamp is None else timestamp
    rows: dict[bytes, bytes] = {}
    for keys, values in engine.scan(b"", None, at):
        rows.update(zip(keys, values, strict=True))
    for key, value in rows.items():
        assert engine.read(key, at) == value
    return rows


class Writer:
    """A program that writes, and knows what it was told."""

    def __init__(self, env: FaultyEnv, options: StorageOptions = SMALL) -> None:
        self.env = env
        self.options = options
        self.attempted = 0
        self.acknowledged = 0
        self.engine = Engine.open(env, FOLDER, options)
        # Only the newest snapshot counts: it knows of no reader.
        self.engine.collect_below(lambda: self.engine.visible_timestamp)

    def commit(self, durability: Durability = Durability.FULL) -> None:
        self.attempted += 1
        self.engine.commit(writes_of(self.attempted), durability, deleted_ranges=ranges_of(self.attempted))
        self.acknowledged = self.attempted

    def work(self) -> None:
        """Everything that changes files."""
        for _ in range(7):
            self.commit()
        self.engine.flush()
        self.engine.wait_until_compacted()
        self.commit(Durability.OFF)
        self.commit()
        self.engine.checkpoint(f"copy after {self.attempted}")
        self.engine.wait_until_compacted()

    def reopen(self) -> None:
        self.engine.close()
        self.engine = Engine.open(self.env, FOLDER, self.options)
        self.engine.collect_below(lambda: self.engine.visible_timestamp)


@pytest.fixture(autouse=True)
def _space_is_reserved_in_small_logs_too(monkeypatch):
    monkeypatch.setattr(wal, "RESERVE_FROM_BYTES", 50)
    monkeypatch.setattr(wal, "RESERVE_BYTES", 500)


STYLES = {
    "leveled": SMALL,
    "tiered and compressed": replace(SMALL, compaction=CompactionStyle.TIERED, compression=Compression.ZSTD),
}


def one_at_a_time(look: Callable[[str], None], failures: list[BaseException]) -> Callable[[str], None]:
    """What `look` raises is kept: in the writer, or in its threads, it would look like a disk that failed."""
    looking = threading.Lock()

    def look_and_keep(call: str) -> None:
        try:
            with looking:
                if not failures:
                    look(call)
        except BaseException as error:
            failures.append(error)

    return look_and_keep


@pytest.mark.parametrize("style", STYLES)
def test_a_reader_between_every_two_calls_of_the_writer_sees_one_moment(style, capsys):
    fs = CrashFS()
    env = FaultyEnv(fs)
    writer = Writer(env, STYLES[style])
    follower = LocalStore(ReadOnlyEngine.open(fs, FOLDER, SMALL))
    old = follower.begin()
    old_rows = dict(old.scan(b"", None))
    seen = [0]
    looks = [0]

    def look(call: str) -> None:
        least = writer.acknowledged
        reader = ReadOnlyEngine.open(fs, FOLDER, SMALL)
        number = reader.visible_timestamp
        assert least <= number <= writer.attempted, call
        assert rows_in(reader) == rows_after(number), call
        reader.close()

        follower.refresh()
        transaction = follower.begin()
        rows = dict(transaction.scan(b"", None))
        moved_on = int(rows.get(b"number", b"0"))
        assert number <= moved_on <= writer.attempted and rows == rows_after(moved_on), call
        assert moved_on >= seen[0], call
        seen[0] = moved_on
        transaction.rollback()
        assert dict(old.scan(b"", None)) == old_rows, call
        looks[0] += 1
        if looks[0] % 3 == 0:
            cut = Engine.open(fs.after_crash(Loss.EVERYTHING), FOLDER, SMALL)
            assert cut.visible_timestamp >= moved_on, f"{call}: a power cut took what a reader had seen"
            cut.close()

    failures: list[BaseException] = []
    env.before_call = one_at_a_time(look, failures)
    writer.work()
    writer.reopen()
    writer.work()
    writer.engine.close()
    env.before_call = lambda call: None
    if failures:
        raise failures[0]
    follower.refresh()
    with_all = dict(follower.begin().scan(b"", None))
    assert with_all == rows_after(writer.acknowledged)
    follower.close()
    assert {"append", "reserve", "truncate", "rename", "remove", "link"} <= {
        call.split()[0] for call in env.calls
    }
    with capsys.disabled():
        print(f"\n  {style}: {looks[0]} looks", end="")


def test_an_ingest_that_a_reader_has_seen_is_not_taken_back_by_a_power_cut():
    """It is in no log: the manifest's edit is all that there is of it."""
    fs = CrashFS()
    env = FaultyEnv(fs)
    # Not an edit that begins a new manifest: that one is on the disk before it is named.
    writer = Engine.open(env, FOLDER, replace(SMALL, manifest_bytes=1 << 20))
    writer.commit({b"a": b"1"})
    states = [{}, {b"a": b"1"}, {b"a": b"2", b"b": b"2"}]
    seen: list[int] = []

    def look(call: str) -> None:
        reader = ReadOnlyEngine.open(fs, FOLDER, SMALL)
        seen.append(reader.visible_timestamp)
        assert rows_in(reader) == states[seen[-1]], call
        reader.close()
        cut = Engine.open(fs.after_crash(Loss.EVERYTHING), FOLDER, SMALL)
        assert cut.visible_timestamp >= seen[-1] and rows_in(cut) == states[cut.visible_timestamp], call
        cut.close()

    failures: list[BaseException] = []
    env.before_call = one_at_a_time(look, failures)
    writer.ingest(sorted(states[2].items()))
    env.before_call = lambda call: None
    if failures:
        raise failures[0]
    assert set(seen) == {1, 2}
    writer.close()


@pytest.mark.parametrize("is_new", [True, False], ids=["opening", "refreshing"])
def test_a_writer_between_every_two_calls_of_a_reader_does_not_disturb_it(is_new):
    """The writer does all it can at one call of the reader; each call in its turn."""
    at = 0
    while True:
        at += 1
        fs = CrashFS()
        writer = Writer(FaultyEnv(fs))
        writer.work()
        env = FaultyEnv(fs)
        reader = None if is_new else ReadOnlyEngine.open(env, FOLDER, SMALL)
        writer.commit()
        least = writer.acknowledged
        calls: list[str] = []

        def step(call: str, at: int = at, writer: Writer = writer, calls: list[str] = calls) -> None:
            calls.append(call)
            if len(calls) == at:
                writer.work()

        env.before_call = step
        if reader is None:
            reader = ReadOnlyEngine.open(env, FOLDER, SMALL)
        else:
            reader.refresh()
        number = reader.visible_timestamp
        assert least <= number <= writer.acknowledged, calls
        assert rows_in(reader) == rows_after(number), calls
        reader.close()
        writer.engine.close()
        if len(calls) < at:
            break
    assert at > 3


def test_a_writer_that_is_always_faster_is_an_error_that_says_so():
    fs = CrashFS()
    writer = Writer(FaultyEnv(fs))
    writer.work()
    env = FaultyEnv(fs)

    def outrun(call: str) -> None:
        if call.startswith("list_directory"):
            writer.commit()
            writer.engine.flush()

    env.before_call = outrun
    with pytest.raises(Unavailable) as caught:
        ReadOnlyEngine.open(env, FOLDER, SMALL)
    assert caught.value.retryable and caught.value.hint
    writer.engine.close()


def test_nothing_is_changed_and_nothing_is_locked():
    fs = CrashFS()
    writer = Writer(FaultyEnv(fs))
    writer.work()
    writer.engine.close()
    before = fs.contents()
    env = FaultyEnv(fs)
    reader = ReadOnlyEngine.open(env, FOLDER, SMALL)
    reader.refresh()
    assert {call.split()[0] for call in env.calls} <= {"sync", "sync_directory"}
    assert fs.contents() == before
    Engine.open(fs, FOLDER, SMALL).close()
    reader.close()


def test_a_folder_where_not_even_a_sync_is_allowed_can_be_read():
    fs = CrashFS()
    writer = Writer(FaultyEnv(fs))
    writer.work()
    writer.engine.close()

    class Refusing(FaultyEnv):
        """A file system that is mounted read-only, and refuses to sync."""

        def sync_directory(self, path: str) -> None:
            raise StorageError(f"cannot sync {path}: read-only file system")

        def lock(self, path: str):
            raise StorageError(f"cannot lock {path}: read-only file system")

    reader = ReadOnlyEngine.open(Refusing(fs, fail_at=None), FOLDER, SMALL)
    assert rows_in(reader) == rows_after(writer.acknowledged)
    reader.close()


def test_a_record_that_its_writer_took_back_is_gone_at_the_next_look():
    """An interrupted writer cuts its record off, and uses the timestamp again."""
    fs = CrashFS()
    env = FaultyEnv(fs)
    writer = Engine.open(env, FOLDER)
    writer.commit({b"a": b"1"})
    reader = ReadOnlyEngine.open(fs, FOLDER)

    def interrupt(call: str) -> None:
        if call.startswith("sync"):
            env.before_call = lambda call: None
            reader.refresh()
            raise KeyboardInterrupt

    env.before_call = interrupt
    with pytest.raises(KeyboardInterrupt):
        writer.commit({b"a": b"never was"})
    writer.commit({b"b": b"2"})
    reader.refresh()
    assert rows_in(reader) == {b"a": b"1", b"b": b"2"} == rows_in(writer)
    reader.close()
    writer.close()


def test_damage_is_an_error_after_a_second_look():
    fs = CrashFS()
    writer = Writer(FaultyEnv(fs))
    writer.work()
    writer.engine.close()
    table = next(path for path in fs.contents() if path.startswith(f"{FOLDER}/") and path.endswith(".sst"))
    fs.truncate(table, 100)
    with pytest.raises(CorruptionError) as caught:
        ReadOnlyEngine.open(fs, FOLDER, SMALL)
    assert caught.value.file == table


def test_where_no_database_is_none_is_made():
    fs = CrashFS()
    with pytest.raises(NotADatabase, match="does not exist"):
        ReadOnlyEngine.open(fs, FOLDER)
    fs.make_directory(FOLDER)
    with pytest.raises(NotADatabase, match="empty"):
        ReadOnlyEngine.open(fs, FOLDER)
    fs.create(f"{FOLDER}/notes.txt")
    with pytest.raises(NotADatabase, match="notes"):
        ReadOnlyEngine.open(fs, FOLDER)
    assert set(fs.contents()) == {FOLDER, f"{FOLDER}/notes.txt"}


@pytest.mark.parametrize("kind", MemtableKind)
def test_what_would_write_is_refused_and_what_is_over_is_over(kind):
    options = StorageOptions(memtable=kind)
    fs = CrashFS()
    writer = Engine.open(fs, FOLDER, options)
    writer.commit({b"a": b"1"})
    reader = ReadOnlyEngine.open(fs, FOLDER, options)
    for refused in (lambda: reader.commit({b"a": b"2"}), reader.flush, reader.wait_until_compacted):
        with pytest.raises(ReadOnlyStore) as caught:
            refused()
        assert caught.value.sqlstate == "25006" and caught.value.hint
    writer.commit({b"a": b"2"})
    assert reader.read(b"a", 1) == b"1"
    assert reader.refresh() and not reader.refresh()
    assert reader.read(b"a", 2) == b"2"
    assert reader.read_many([b"a", b"b"], 2) == [b"2", None]
    with pytest.raises(SnapshotTooOld):
        reader.read(b"a", 1)
    reader.close()
    reader.close()
    with pytest.raises(InterfaceError):
        reader.refresh()
    writer.close()


def test_a_refresh_reads_only_what_is_new():
    fs = CrashFS()
    writer = Engine.open(fs, FOLDER)
    for number in range(200):
        writer.commit({b"key%d" % number: b"x" * 1000}, Durability.OFF)
    env = FaultyEnv(fs)
    reader = ReadOnlyEngine.open(env, FOLDER)
    calls: list[str] = []
    env.before_call = calls.append
    reader.refresh()
    assert len(calls) <= 8, calls
    calls.clear()
    writer.commit({b"new": b"row"})
    assert reader.refresh()
    assert len(calls) <= 12, calls
    assert reader.read(b"new", 201) == b"row"
    reader.close()
    writer.close()

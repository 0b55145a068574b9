"""The engine as its users see it: versions, durability, visibility, and nothing ever lost."""

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ferrisdb.errors import (
    CorruptionError,
    FormatVersionError,
    InterfaceError,
    InvalidParameterValue,
    NotADatabase,
    StorageError,
    TransactionTooLarge,
)
from ferrisdb.storage import commit_checks
from ferrisdb.storage import engine as engine_module
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, MemtableKind, RecoveryMode, StorageOptions
from ferrisdb.storage.os_env import OsEnv

Writes = dict[bytes, bytes | None]
TINY = StorageOptions(memtable_bytes=2000, block_bytes=128, manifest_bytes=500)


def everything(engine: Engine, timestamp: int | None = None) -> dict[bytes, bytes]:
    timestamp = engine.visible_timestamp if timestamp is None else timestamp
    found: dict[bytes, bytes] = {}
    for keys, values in engine.scan(b"", None, timestamp):
        found.update(zip(keys, values, strict=True))
    return found


# --- the model --------------------------------------------------------------------------

keys = st.sampled_from([b"", b"a", b"aa", b"b", b"c", b"d" * 60, b"\xff"])
values = st.none() | st.binary(max_size=12) | st.just(b"long" * 100)


class EngineModel(RuleBasedStateMachine):
    """Whatever is done, each timestamp shows what a dict of all commits up to it shows."""

    options = TINY

    def __init__(self) -> None:
        super().__init__()
        self.env = MemoryEnv()
        self.engine = Engine.open(self.env, "db", self.options)
        self.history: list[dict[bytes, bytes]] = [{}]
        self.newest: dict[bytes, int] = {}

    @rule(writes=st.dictionaries(keys, values, min_size=1), durability=st.sampled_from(Durability))
    def commit(self, writes: Writes, durability: Durability) -> None:
        timestamp = self.engine.commit(writes, durability)
        assert timestamp == len(self.history) == self.engine.visible_timestamp
        state = {**self.history[-1], **{k: v for k, v in writes.items() if v is not None}}
        for key, value in writes.items():
            if value is None:
                state.pop(key, None)
            self.newest[key] = timestamp
        self.history.append(state)

    @rule()
    def flush(self) -> None:
        self.engine.flush()
        assert self.engine.statistics().memtable_bytes == 0

    @rule()
    def close_and_open(self) -> None:
        self.engine.close()
        self.engine = Engine.open(self.env, "db", self.options)

    @rule()
    def kill_and_open(self) -> None:
        self.env, killed = self.env.copy(), self.engine
        self.engine = Engine.open(self.env, "db", self.options)
        killed.close()

    @rule(lo=keys, hi=st.none() | keys, reverse=st.booleans(), data=st.data())
    def scan(self, lo: bytes, hi: bytes | None, reverse: bool, data: st.DataObject) -> None:
        timestamp = data.draw(st.integers(0, len(self.history) - 1))
        found = [
            pair
            for batch in self.engine.scan(lo, hi, timestamp, reverse=reverse)
            for pair in zip(*batch, strict=True)
        ]
        expected = sorted(
            (k, v) for k, v in self.history[timestamp].items() if k >= lo and (hi is None or k < hi)
        )
        assert found == (expected[::-1] if reverse else expected)

    @rule(key=keys, data=st.data())
    def read(self, key: bytes, data: st.DataObject) -> None:
        timestamp = data.draw(st.integers(0, len(self.history) - 1))
        assert self.engine.read(key, timestamp) == self.history[timestamp].get(key)
        assert self.engine.read_many([key, key], timestamp) == [self.history[timestamp].get(key)] * 2
        newest = self.newest.get(key, 0)
        assert self.engine.newest_timestamp(key, timestamp) == (newest if newest > timestamp else 0)

    @invariant()
    def the_last_commit_is_visible(self) -> None:
        assert self.engine.visible_timestamp == len(self.history) - 1

    def teardown(self) -> None:
        assert everything(self.engine) == self.history[-1]
        self.engine.close()


class EngineOnSkipLists(EngineModel):
    options = replace(TINY, memtable=MemtableKind.SKIP_LIST)


TestEngineModel = EngineModel.TestCase
TestEngineModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEngineOnSkipLists = EngineOnSkipLists.TestCase
TestEngineOnSkipLists.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


# --- opening ----------------------------------------------------------------------------


def test_a_folder_that_is_absent_or_empty_becomes_a_database(tmp_path: Path) -> None:
    for folder in (tmp_path / "deep" / "absent", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        Engine.open(OsEnv(), folder.as_posix()).close()
        assert "CURRENT" in os.listdir(folder)  # noqa: PTH208


def test_what_is_not_ours_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    (tmp_path / "leveldb").mkdir()
    (tmp_path / "leveldb" / "CURRENT").write_text("MANIFEST-000004\n")
    before = sorted(tmp_path.rglob("*"))
    for name in ("letter.txt", "photos", "leveldb"):
        with pytest.raises(NotADatabase, match=f"{name} is") as caught:
            Engine.open(OsEnv(), (tmp_path / name).as_posix())
        assert "\n" not in caught.value.message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lost_current_is_damage_and_not_an_empty_folder() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"k": b"v"})
    engine.close()
    env.remove("db/CURRENT")
    with pytest.raises(CorruptionError, match="is missing"):
        Engine.open(env, "db")


def test_a_crash_at_any_step_of_creation_is_repaired_by_opening_again() -> None:
    class Crash(Exception):
        pass

    class CrashingEnv(MemoryEnv):
        calls_left = 0

        def _count(self) -> None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Crash

        def create(self, path: str) -> AppendFile:
            self._count()
            return super().create(path)

        def sync_directory(self, path: str) -> None:
            self._count()
            super().sync_directory(path)

        def rename(self, source: str, target: str) -> None:
            self._count()
            super().rename(source, target)

    for calls in range(20):
        env = CrashingEnv()
        env.calls_left = calls
        try:
            Engine.open(env, "db").close()
        except Crash:
            again = Engine.open(env.copy(), "db")
            assert again.commit({b"k": b"v"}) == 1
            again.close()
        else:
            break
    assert calls > 5


@pytest.mark.parametrize("kind", ["wal", "MANIFEST"])
def test_a_file_of_a_newer_version_is_refused_with_both_versions(kind: str) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"k": b"v"})
    engine.close()
    (name,) = [name for name in env.list_directory("db") if kind in name]
    data = env.read_file(f"db/{name}")
    fields = data[:8] + struct.pack("<HH", 9, 1)
    env.create(f"db/{name}").append(fields + struct.pack("<I", zlib.crc32(fields)) + data[16:])
    with pytest.raises(FormatVersionError, match=rf"{name} has format version 9; .* version 2"):
        Engine.open(env, "db")


def test_refused_folders_are_let_go_of() -> None:
    env = MemoryEnv()
    Engine.open(env, "db").close()
    manifest = env.read_file("db/MANIFEST-000002")
    env.truncate("db/MANIFEST-000002", 20)
    with pytest.raises(CorruptionError):
        Engine.open(env, "db")
    env.create("db/MANIFEST-000002").append(manifest)
    Engine.open(env, "db").close()


# --- crashes and damage -----------------------------------------------------------------


def folder_with_commits(*, closed: bool) -> tuple[MemoryEnv, list[dict[bytes, bytes]]]:
    """Two tables and a log with three commits; and the states after each commit."""
    env = MemoryEnv()
    engine = Engine.open(env, "db", TINY)
    states: list[dict[bytes, bytes]] = [{}]
    for number in range(9):
        writes: Writes = {b"k%d" % (number % 4): b"v%d" % number, b"total": b"%d" % number}
        engine.commit(writes)
        states.append(everything(engine))
        if number in (2, 5):
            engine.flush()
    crashed = env.copy()
    engine.close()
    return (env if closed else crashed), states


@pytest.mark.parametrize("closed", [False, True], ids=["crashed", "closed"])
def test_no_flipped_byte_in_the_folder_gives_a_wrong_row(closed: bool) -> None:
    env, states = folder_with_commits(closed=closed)
    for name in env.list_directory("db"):
        if name == "LOCK":
            continue
        data = env.read_file(f"db/{name}")
        for position in range(len(data)):
            twin = env.copy()
            damaged = bytearray(data)
            damaged[position] ^= 0x40
            twin.create(f"db/{name}").append(bytes(damaged))
            try:
                engine = Engine.open(twin, "db", TINY)
                try:
                    found = everything(engine)
                finally:
                    engine.close()
            except CorruptionError as error:
                assert error.file == f"db/{name}" or name.startswith(("MANIFEST", "CURRENT"))
                continue
            # A crashed log's last commit may be a tear. Nothing else may go.
            assert found == states[-1] or (not closed and name.endswith(".wal") and found == states[-2])


def test_a_folder_whose_log_is_cut_anywhere_opens_with_a_prefix_and_goes_on() -> None:
    env, states = folder_with_commits(closed=False)
    (log,) = [name for name in env.list_directory("db") if name.endswith(".wal")]
    for length in range(len(env.read_file(f"db/{log}"))):
        twin = env.copy()
        twin.truncate(f"db/{log}", length)
        engine = Engine.open(twin, "db", TINY)
        timestamp = engine.visible_timestamp
        assert timestamp >= 6
        assert everything(engine) == states[timestamp]
        assert engine.commit({b"new": b"after the crash"}) == timestamp + 1
        after = everything(engine)
        engine.close()
        again = Engine.open(twin, "db", StorageOptions(recovery_mode=RecoveryMode.STRICT))
        assert everything(again) == after
        again.close()


def test_a_missing_file_is_named() -> None:
    env, _ = folder_with_commits(closed=True)
    for name in env.list_directory("db"):
        if name in ("LOCK", "CURRENT"):
            continue
        twin = env.copy()
        twin.remove(f"db/{name}")
        with pytest.raises(CorruptionError, match=name):
            Engine.open(twin, "db", TINY)


def test_orphans_are_removed_and_only_they() -> None:
    env, states = folder_with_commits(closed=True)
    before = env.list_directory("db")
    for orphan in ("000001.wal", "000099.sst", "MANIFEST-000098", "CURRENT.tmp"):
        env.create(f"db/{orphan}").append(b"left by a crash")
    env.create("db/notes.txt")
    engine = Engine.open(env, "db", TINY)
    assert everything(engine) == states[-1]
    assert env.list_directory("db") == sorted([*before, "notes.txt"])
    engine.commit({b"k": b"v"})
    engine.flush()
    engine.close()
    assert "000100.wal" in env.list_directory("db")  # a seen number is not used again


COMMITTER = """
import sys
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.os_env import OsEnv
engine = Engine.open(OsEnv(), sys.argv[1], StorageOptions(memtable_bytes=20_000))
number = engine.visible_timestamp
while True:
    number += 1
    assert engine.commit({b"%d" % number: b"x" * 50, b"last": b"%d" % number}) == number
    print(number, flush=True)
"""


def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    folder = (tmp_path / "db").as_posix()
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chooser = random.Random(seed)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTER, folder], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            acknowledged = 0
            for _ in range(chooser.randrange(50, 400)):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        engine = Engine.open(OsEnv(), folder)
        last = engine.visible_timestamp
        assert acknowledged <= last <= acknowledged + 1
        found = everything(engine)
        assert found == {**{b"%d" % n: b"x" * 50 for n in range(1, last + 1)}, b"last": b"%d" % last}
        engine.close()


# --- failing disks ----------------------------------------------------------------------


class FailingFile:
    def __init__(self, env: "FailingEnv", file: AppendFile, path: str) -> None:
        self.env, self.file, self.path = env, file, path

    def append(self, data: bytes) -> None:
        self.env.step("append", self.path)
        self.file.append(data)

    def reserve(self, length: int) -> None:
        self.env.step("reserve", self.path)
        self.file.reserve(length)

    def truncate(self, size_bytes: int) -> None:
        self.env.step("truncate", self.path)
        self.file.truncate(size_bytes)

    def sync(self) -> None:
        self.env.step("sync", self.path)
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class FailingEnv(MemoryEnv):
    """`step(what, path)` is called before each write and sync, and may raise or wait."""

    def __init__(self) -> None:
        super().__init__()
        self.step: Callable[[str, str], None] = lambda what, path: None

    def create(self, path: str) -> AppendFile:
        return FailingFile(self, super().create(path), path)

    def open_append(self, path: str) -> AppendFile:
        return FailingFile(self, super().open_append(path), path)


def failing(what: str, suffix: str) -> Callable[[str, str], None]:
    def step(found: str, path: str) -> None:
        if found == what and path.endswith(suffix):
            raise StorageError(f"cannot {what} {path}: Input/output error")

    return step


@pytest.mark.parametrize("what", ["append", "sync"])
def test_after_a_failed_log_write_reads_work_and_writes_are_refused(what: str) -> None:
    env = FailingEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"k": b"before"})
    env.step = failing(what, ".wal")
    with pytest.raises(LogWriteFailed, match=r"may or may not be on disk: .*Input/output error"):
        engine.commit({b"k": b"lost?"})
    env.step = lambda what, path: None
    with pytest.raises(StorageError, match=r"refuses writes since one failed: .*Input/output") as caught:
        engine.commit({b"k": b"never"})
    assert not isinstance(caught.value, LogWriteFailed)
    with pytest.raises(StorageError):
        engine.flush()
    assert engine.visible_timestamp == 1
    assert engine.read(b"k", 99) == b"before"
    engine.close()
    again = Engine.open(env, "db")
    assert again.read(b"k", again.visible_timestamp) in (b"before", b"lost?")
    again.close()


@pytest.mark.parametrize("suffix", [".sst", "MANIFEST-000002"])
def test_a_failed_flush_refuses_writes_and_loses_nothing(suffix: str) -> None:
    env = FailingEnv()
    engine = Engine.open(env, "db")
    for number in range(10):
        engine.commit({b"%d" % number: b"v"})
    expected = everything(engine)
    env.step = failing("sync", suffix)
    with pytest.raises(StorageError, match=r"could not be flushed: .*Input/output error"):
        engine.flush()
    with pytest.raises(StorageError, match="refuses writes"):
        engine.commit({b"k": b"v"})
    assert everything(engine) == expected
    engine.close()
    env.step = lambda what, path: None
    again = Engine.open(env, "db")
    assert everything(again) == expected
    again.commit({b"k": b"v"})
    again.flush()
    again.close()


def test_a_reader_never_sees_a_commit_that_is_not_synced() -> None:
    env = FailingEnv()
    engine = Engine.open(env, "db")
    began, go_on = threading.Event(), threading.Event()

    def hold(what: str, path: str) -> None:
        if what == "sync":
            began.set()
            go_on.wait()

    env.step = hold
    committer = threading.Thread(target=lambda: engine.commit({b"k": b"v"}))
    committer.start()
    assert began.wait(10)
    assert engine.visible_timestamp == 0
    assert everything(engine) == {}
    assert engine.newest_timestamp(b"k", 0) == 0
    go_on.set()
    committer.join()
    assert engine.visible_timestamp == 1
    assert engine.read(b"k", 1) == b"v"
    engine.close()


def test_a_kill_between_two_flushes_loses_neither_log() -> None:
    # Two memtables wait; the first gets its table, the second does not.
    env = FailingEnv()
    engine = Engine.open(env, "db", StorageOptions(memtable_bytes=1000, max_flushing_memtables=3))
    held = threading.Event()
    go_on = threading.Event()
    tables: list[str] = []

    def hold_second_table(what: str, path: str) -> None:
        if path.endswith(".sst"):
            tables.append(path)
            if len(set(tables)) == 1:
                while engine.statistics().flushing_memtables < 3:
                    threading.Event().wait(0.001)
            else:
                held.set()
                go_on.wait(10)

    env.step = hold_second_table
    for number in range(14):
        engine.commit({b"%02d" % number: b"x" * 80})
    expected = everything(engine)
    assert held.wait(10)
    killed = env.copy()
    go_on.set()
    engine.close()

    segments = [name for name in killed.list_directory("db") if name.endswith(".wal")]
    assert len(segments) >= 3
    for name in segments[:-1]:
        damaged = killed.copy()
        damaged.remove(f"db/{name}")
        with pytest.raises(CorruptionError):
            Engine.open(damaged, "db")
    again = Engine.open(killed, "db")
    assert everything(again) == expected
    again.flush()
    assert everything(again) == expected
    again.close()


def test_a_lost_log_is_missed_even_when_the_next_one_is_empty() -> None:
    env = FailingEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"k": b"v"})
    env.step = failing("append", ".sst")
    with pytest.raises(StorageError):
        engine.flush()
    killed = env.copy()
    engine.close()
    killed.remove("db/000001.wal")
    with pytest.raises(CorruptionError, match=r"a log segment is missing \(db/000001\.wal, byte 0\)"):
        Engine.open(killed, "db")


# --- many threads -----------------------------------------------------------------------


def test_eight_threads_and_flushes_all_the_while() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db", StorageOptions(memtable_bytes=8000, max_flushing_memtables=1))
    timestamps: list[int] = []
    problems: list[str] = []
    is_done = threading.Event()

    def commit(name: int) -> None:
        for number in range(150):
            # Each commit writes the pair; a reader must find both halves alike.
            stamp = b"%d:%d" % (name, number)
            timestamps.append(engine.commit({b"left": stamp, b"right": stamp, b"log:" + stamp: b"x" * 40}))

    def watch() -> None:
        seen = 0
        while not is_done.is_set():
            now = engine.visible_timestamp
            state = dict.fromkeys([b"left", b"right"])
            for keys, values in engine.scan(b"left", b"rights", now):
                state.update(zip(keys, values, strict=True))  # type: ignore[arg-type]
            if now < seen or state[b"left"] != state[b"right"]:
                problems.append(f"at {now} after {seen}: {state[b'left']!r} {state[b'right']!r}")
            if engine.read_many([b"left"], now) != [engine.read(b"right", now)]:
                problems.append(f"read at {now}")
            seen = now

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    committers = [threading.Thread(target=commit, args=(name,)) for name in range(8)]
    for thread in [*watchers, *committers]:
        thread.start()
    for thread in committers:
        thread.join()
    is_done.set()
    for thread in watchers:
        thread.join()
    assert problems == []
    assert sorted(timestamps) == list(range(1, 1201))
    assert len(everything(engine)) == 1202
    assert engine.statistics().flushes > 5
    engine.close()
    again = Engine.open(env, "db")
    assert len(everything(again)) == 1202
    again.close()


def test_the_newest_commit_of_a_key_is_found_in_a_table_too() -> None:
    engine = Engine.open(MemoryEnv(), "db")
    for _ in range(3):
        engine.commit({b"k": b"v"})
        engine.flush()
    engine.commit({b"other": None})
    assert [engine.newest_timestamp(b"k", after) for after in range(5)] == [3, 3, 3, 0, 0]
    assert [engine.newest_timestamp(b"other", after) for after in range(5)] == [4, 4, 4, 4, 0]
    engine.close()


def test_a_scan_goes_on_over_what_it_began_with() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db", TINY)
    for number in range(100):
        engine.commit({b"%03d" % number: b"v"})
    scan = engine.scan(b"", None, 100)
    engine.commit({b"000": None, b"050": b"new"})
    engine.flush()
    assert [key for keys, _ in scan for key in keys] == [b"%03d" % number for number in range(100)]
    engine.close()


def test_writers_wait_for_a_slow_disk_and_it_is_counted() -> None:
    env = FailingEnv()
    engine = Engine.open(env, "db", StorageOptions(memtable_bytes=1000, max_flushing_memtables=1))
    began, go_on = threading.Event(), threading.Event()

    def hold(what: str, path: str) -> None:
        if path.endswith(".sst"):
            began.set()
            go_on.wait()

    env.step = hold

    def work() -> None:
        for number in range(60):
            engine.commit({b"%d" % number: b"x" * 100})

    writer = threading.Thread(target=work)
    writer.start()
    assert began.wait(10)
    while engine.statistics().stalls == 0:
        threading.Event().wait(0.001)
    assert writer.is_alive()
    go_on.set()
    writer.join()
    assert len(everything(engine)) == 60
    engine.close()


# --- input ------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_KEY_BYTES", 100)
    monkeypatch.setattr(commit_checks, "MAX_KEY_BYTES", 100)
    monkeypatch.setattr(commit_checks, "MAX_VALUE_BYTES", 1000)
    monkeypatch.setattr(commit_checks, "MAX_COMMIT_BYTES", 3000)
    engine = Engine.open(MemoryEnv(), "db")
    with pytest.raises(InvalidParameterValue, match="a key of 101 bytes; at most 100"):
        engine.commit({b"k" * 101: None})
    with pytest.raises(InvalidParameterValue, match="a value of 1001 bytes; at most 1000"):
        engine.commit({b"k": b"v" * 1001, b"l": None})
    with pytest.raises(TransactionTooLarge, match="at most 3000"):
        engine.commit({b"%d" % number: b"v" * 900 for number in range(4)})
    for wrong in ({"k": b"v"}, {b"k": "v"}, {b"k": 1}, {b"k": bytearray(b"v")}):
        with pytest.raises(InterfaceError, match="bytes"):
            engine.commit(wrong)  # type: ignore[arg-type]
    assert engine.commit({}) == 0
    assert engine.commit({b"k" * 100: b"v" * 1000}) == 1
    engine.close()


def test_options_that_make_no_sense() -> None:
    with pytest.raises(InvalidParameterValue, match="memtable_bytes is 0"):
        StorageOptions(memtable_bytes=0)
    with pytest.raises(InvalidParameterValue, match="cache_bytes is -1"):
        StorageOptions(cache_bytes=-1)


def test_a_large_commit_may_consist_of_deletions_only() -> None:
    engine = Engine.open(MemoryEnv(), "db", StorageOptions())
    engine.commit({b"key %06d" % number: None for number in range(10_000)})
    assert list(engine.scan(b"", None, engine.visible_timestamp)) == []
    engine.close()


def test_the_memory_of_a_flushed_memtable_is_free_before_the_next_flush() -> None:
    engine = Engine.open(MemoryEnv(), "db")
    engine.commit({b"a": b"x"})
    memtable = weakref.ref(engine._sources.now.active)
    engine.flush()
    deadline = time.monotonic() + 20
    while memtable() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert memtable() is None
    engine.close()

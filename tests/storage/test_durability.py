"""What a commit has waited for: full, normal, off; and what close says when a disk has failed."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ferrisdb.errors import DiskFull, StorageError
from ferrisdb.storage import wal
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, RecoveryMode, StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.testing.crash_fs import CrashFS, Loss

FULL, NORMAL, OFF = Durability.FULL, Durability.NORMAL, Durability.OFF
SECONDS = StorageOptions(durability=NORMAL, sync_interval_ms=5000)


class HeldFile:
    def __init__(self, machine: "Machine", file: AppendFile, path: str) -> None:
        self.machine, self.file, self.path = machine, file, path

    def append(self, data: bytes) -> None:
        self.machine.step("append", self.path)
        self.file.append(data)

    def reserve(self, length: int) -> None:
        self.machine.step("reserve", self.path)
        self.file.reserve(length)

    def truncate(self, size_bytes: int) -> None:
        self.machine.step("truncate", self.path)
        self.file.truncate(size_bytes)

    def sync(self) -> None:
        self.machine.step("sync", self.path)
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class Machine(CrashFS):
    """Its clock goes only when it is told to; `step(what, path)` may wait or raise."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_s = 100.0
        self.step: Callable[[str, str], None] = lambda what, path: None

    def monotonic_s(self) -> float:
        return self.clock_s

    def create(self, path: str) -> AppendFile:
        return HeldFile(self, super().create(path), path)

    def open_append(self, path: str) -> AppendFile:
        return HeldFile(self, super().open_append(path), path)

    def pass_time(self, engine: Engine, seconds: float) -> None:
        """The clock goes on, and who waits for it looks again."""
        self.clock_s += seconds
        with engine._background_sync._changed:
            engine._background_sync._changed.notify_all()

    def log_syncs(self) -> int:
        return sum(call.startswith("sync ") and call.endswith(".wal") for call in self.calls)


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if is_so():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never happened")


def is_waiting_for_time(engine: Engine) -> bool:
    """The thread has been told, and waits for the interval to pass."""
    sync = engine._background_sync
    with sync._changed:
        return sync._log is not None and len(sync._changed._waiters) == 1  # type: ignore[attr-defined]


def commits_left(fs: CrashFS) -> int:
    survivor = Engine.open(fs.after_crash(Loss.EVERYTHING), "db")
    try:
        return survivor.visible_timestamp
    finally:
        survivor.close()


def fail(what: str, suffix: str) -> Callable[[str, str], None]:
    def step(found: str, path: str) -> None:
        if found == what and path.endswith(suffix):
            raise StorageError(f"cannot {what} {path}: Input/output error")

    return step


# --- normal -------------------------------------------------------------------------------


def test_normal_commits_are_on_disk_after_the_interval_and_not_before() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    before = machine.log_syncs()
    for number in range(10):
        engine.commit({b"%d" % number: b"v"})
    until(lambda: is_waiting_for_time(engine))
    machine.pass_time(engine, 4.9)
    until(lambda: is_waiting_for_time(engine))
    assert (machine.log_syncs(), commits_left(machine)) == (before, 0)
    machine.pass_time(engine, 0.2)
    until(lambda: engine.statistics().fsyncs == 1)
    assert (machine.log_syncs(), commits_left(machine)) == (before + 1, 10)
    engine.close()


def test_an_idle_database_syncs_nothing_and_has_no_timer() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    assert engine._background_sync._thread is None
    engine.commit({b"k": b"v"}, OFF)
    assert engine._background_sync._thread is None
    engine.commit({b"k": b"v"})
    until(lambda: is_waiting_for_time(engine))
    machine.pass_time(engine, 6)
    until(lambda: engine.statistics().fsyncs == 1)
    calls = len(machine.calls)
    for _ in range(5):
        machine.pass_time(engine, 60)
    assert engine._background_sync._log is None
    assert len(machine.calls) == calls
    engine.close()


def test_an_interrupt_while_the_thread_starts_leaves_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody knows of would still sync when the folder belongs to somebody else."""
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    start = threading.Thread.start

    def start_and_be_interrupted(thread: threading.Thread) -> None:
        start(thread)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.commit({b"k": b"v"})
    engine.commit({b"k": b"w"})
    until(lambda: is_waiting_for_time(engine))
    until(lambda: sum(thread.name == "ferrisdb-sync" for thread in threading.enumerate()) == 1)
    assert engine.visible_timestamp == 1
    engine.close()
    assert not any(thread.name == "ferrisdb-sync" for thread in threading.enumerate())


def test_what_a_full_commit_has_synced_is_not_synced_again() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    engine.commit({b"a": b"v"})
    engine.commit({b"b": b"v"}, FULL)
    assert commits_left(machine) == 2
    until(lambda: is_waiting_for_time(engine))
    machine.pass_time(engine, 6)
    until(lambda: engine._background_sync._log is None)
    engine.close()
    assert engine._background_sync.sync_count == 0


def test_after_a_failed_background_sync_writes_are_refused_and_close_says_what_is_at_risk() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    engine.commit({b"k": b"v"})
    until(lambda: is_waiting_for_time(engine))
    machine.step = fail("sync", ".wal")
    machine.pass_time(engine, 6)
    until(lambda: engine._commits.refusal is not None)
    machine.step = lambda what, path: None  # well again, and that changes nothing
    syncs = machine.log_syncs()
    for durability in Durability:
        with pytest.raises(StorageError, match=r"refuses writes since one failed: .*Input/output"):
            engine.commit({b"k": b"w"}, durability)
    assert engine.read(b"k", 1) == b"v"
    with pytest.raises(StorageError, match="a power cut could still take commits that did not wait"):
        engine.close()
    assert machine.log_syncs() == syncs
    Engine.open(machine, "db").close()


def test_a_full_commit_never_relies_on_a_sync_beside_one_that_fails() -> None:
    """The kernel tells of a lost page once. Whoever syncs next would hear that all is well."""
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    engine.commit({b"k": b"v"})
    until(lambda: is_waiting_for_time(engine))
    began, go_on = threading.Event(), threading.Event()

    def fail_the_first(what: str, path: str) -> None:
        if what == "sync" and not began.is_set():
            began.set()
            go_on.wait(10)
            raise StorageError(f"cannot sync {path}: Input/output error")

    machine.step = fail_the_first
    machine.pass_time(engine, 6)
    assert began.wait(10)
    outcome: list[str] = []

    def commit() -> None:
        try:
            engine.commit({b"k": b"w"}, FULL)
            outcome.append("acknowledged")
        except StorageError as error:
            outcome.append(error.message)

    committer = threading.Thread(target=commit)
    committer.start()
    until(lambda: engine._log.size_bytes > engine._log.acknowledged_bytes)
    go_on.set()
    committer.join()
    assert "an earlier sync failed" in outcome[0]
    with pytest.raises(StorageError, match="a power cut could still take"):
        engine.close()


def test_a_background_sync_counts_only_what_was_acknowledged() -> None:
    """A leader may be interrupted and cut the rest off; other bytes then stand there."""
    machine = Machine()
    log = wal.LogWriter.create(machine, "", 1)
    payload = wal.encode_writes({b"k": b"v"})
    log.append(1, [payload])
    log.acknowledged_bytes = log.size_bytes
    log.append(2, [payload])
    assert log.sync_acknowledged()
    assert log._synced_bytes == log.acknowledged_bytes < log.size_bytes
    assert not log.sync_acknowledged()
    log.cut_back(log.acknowledged_bytes)
    assert log.is_synced


def test_commits_of_all_levels_from_many_threads_leave_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    """The survivors are the first commits, with every FULL one that was acknowledged."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    options = StorageOptions(memtable_bytes=3000, sync_interval_ms=1)
    disks = 0
    for _ in range(12):
        fs = CrashFS()
        engine = Engine.open(fs, "db", options)
        fs.crash_at = len(fs.calls) + chance.randrange(3, 60)
        acknowledged: list[tuple[int, Durability, bytes]] = []

        def work(
            name: int,
            draw: random.Random,
            engine: Engine = engine,
            acknowledged: list[tuple[int, Durability, bytes]] = acknowledged,
        ) -> None:
            for number in range(300):
                durability, key = draw.choice(list(Durability)), b"%d:%d" % (name, number)
                try:
                    timestamp = engine.commit({key: b"v" * 20}, durability)
                except StorageError:
                    return
                acknowledged.append((timestamp, durability, key))

        threads = [
            threading.Thread(target=work, args=(name, random.Random(seed + name))) for name in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            engine.close()
        except StorageError:
            assert fs.has_crashed, seed
        full = max((timestamp for timestamp, durability, _ in acknowledged if durability is FULL), default=0)
        for loss, disk in fs.disks_after_crash(seed):
            survivor = Engine.open(disk, "db", options)
            last = survivor.visible_timestamp
            assert last >= full, (seed, loss)
            for timestamp, _, key in acknowledged:
                found = survivor.read(key, last)
                assert (found is not None) == (timestamp <= last), (seed, loss, timestamp, last)
            survivor.close()
            disks += 1
    with capsys.disabled():
        print(f"\n  seed {seed}: {disks} disks", end="")


# --- close --------------------------------------------------------------------------------


def engine_with_a_failed_flush(machine: Machine, failure: Callable[[], None]) -> tuple[Engine, int]:
    """The flush fails when OFF commits stand in the next segment; and how many commits there are."""
    engine = Engine.open(machine, "db", StorageOptions(memtable_bytes=400))
    go_on = threading.Event()

    def hold_and_fail(what: str, path: str) -> None:
        if what == "append" and path.endswith(".sst"):
            go_on.wait(10)
            failure()

    machine.step = hold_and_fail
    count = 0
    while engine.statistics().flushing_memtables == 0 or engine._log.is_synced:
        count += 1
        engine.commit({b"%d" % count: b"v" * 60}, OFF)
    go_on.set()
    until(lambda: engine._commits.refusal is not None)
    return engine, count


def test_a_close_after_a_failed_flush_still_saves_what_did_not_wait() -> None:
    machine = Machine()

    def fail_flush() -> None:
        raise StorageError("cannot write to db/000009.sst: Input/output error")

    engine, count = engine_with_a_failed_flush(machine, fail_flush)
    assert commits_left(machine) < count
    engine.close()
    assert commits_left(machine) == count


def test_a_close_does_not_hide_that_the_machine_crashed_in_a_flush() -> None:
    """Nobody but the thread that flushes meets the power cut. Close must not say that all is well."""
    machine = Machine()

    def crash() -> None:
        machine.crash_at = len(machine.calls) + 1

    engine, count = engine_with_a_failed_flush(machine, crash)
    with pytest.raises(StorageError, match="a power cut could still take"):
        engine.close()
    assert commits_left(machine) < count


@pytest.mark.parametrize("lazy", [NORMAL, OFF])
@pytest.mark.parametrize("failing", ["append", "sync"])
def test_a_close_is_silent_only_where_no_acknowledged_commit_is_at_risk(
    failing: str, lazy: Durability
) -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    engine.commit({b"a": b"v"}, FULL)
    machine.step = fail(failing, ".wal")
    with pytest.raises(StorageError):
        engine.commit({b"b": b"v"}, FULL)
    engine.close()

    machine = Machine()
    engine = Engine.open(machine, "db", SECONDS)
    engine.commit({b"a": b"v"}, lazy)
    machine.step = fail(failing, ".wal")
    with pytest.raises(StorageError):
        engine.commit({b"b": b"v"}, FULL)
    if failing == "append":
        engine.close()  # the log could still be synced
        assert commits_left(machine) >= 1
        return
    with pytest.raises(StorageError, match=r"commits that did not wait for the disk: .*sync"):
        engine.close()


# --- reserved space -----------------------------------------------------------------------


@pytest.fixture
def reserving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Space is reserved from the first commit on, a little at a time."""
    monkeypatch.setattr(wal, "RESERVE_FROM_BYTES", 50)
    monkeypatch.setattr(wal, "RESERVE_BYTES", 700)


def log_of(fs: CrashFS) -> bytes:
    return fs.read_file("db/000001.wal")


@pytest.mark.usefixtures("reserving")
def test_commits_overwrite_the_zeros_that_were_reserved_and_close_gives_the_rest_back() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db")
    sizes = set()
    for number in range(20):
        engine.commit({b"%d" % number: b"v" * 40})
        sizes.add(len(log_of(machine)))
    assert len(sizes) < 5
    assert log_of(machine).endswith(b"\0" * 20)
    for mode in RecoveryMode:
        killed = Engine.open(machine.after_kill(), "db", StorageOptions(recovery_mode=mode))
        assert killed.visible_timestamp == 20
        killed.close()
    end = engine._log.size_bytes
    engine.close()
    assert end < len(log_of(machine)) < end + 100
    assert not log_of(machine).endswith(b"\0")


@pytest.mark.usefixtures("reserving")
def test_a_segment_that_is_not_the_last_has_no_zeros_also_after_a_power_cut() -> None:
    machine = Machine()
    engine = Engine.open(machine, "db", StorageOptions(memtable_bytes=1500, max_flushing_memtables=90))
    go_on = threading.Event()
    machine.step = lambda what, path: path.endswith(".sst") and go_on.wait(10)  # type: ignore[assignment]
    segments = set()
    for number in range(60):
        engine.commit({b"%d" % number: b"v" * 40})
        segments = {path for path in machine.contents() if path.endswith(".wal")}
        for _, disk in machine.disks_after_crash():
            for path in segments - {max(segments)}:
                assert not disk.read_file(path).endswith(b"\0" * 8)
    assert len(segments) > 2
    go_on.set()
    engine.close()


@pytest.mark.usefixtures("reserving")
@pytest.mark.parametrize("is_full_for_good", [True, False])
def test_where_no_space_can_be_reserved_the_log_grows(is_full_for_good: bool) -> None:
    machine = Machine()
    engine = Engine.open(machine, "db")

    def full(what: str, path: str) -> None:
        if what == "reserve":
            raise DiskFull(f"cannot reserve space in {path}: {os.strerror(errno.ENOSPC)}")

    machine.step = full
    engine.commit({b"a": b"v" * 40})
    engine.commit({b"b": b"v" * 40})
    if not is_full_for_good:
        machine.step = lambda what, path: None
    engine.commit({b"c": b"v" * 40})
    assert len(log_of(machine)) == engine._log.size_bytes
    assert commits_left(machine) == 3
    engine.close()


def test_a_small_database_and_one_that_does_not_sync_reserve_nothing(tmp_path: Path) -> None:
    for durability, count in ((FULL, 20), (NORMAL, 3000)):
        folder = tmp_path / durability.value
        engine = Engine.open(OsEnv(), folder.as_posix(), StorageOptions(durability=durability))
        for number in range(count):
            engine.commit({b"%d" % number: b"v" * 40})
        assert (folder / "000001.wal").stat().st_size == engine._log.size_bytes
        engine.close()


COMMITTER = """
import sys
from ferrisdb.storage import wal
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import Durability
from ferrisdb.storage.os_env import OsEnv
wal.RESERVE_FROM_BYTES, wal.RESERVE_BYTES = 100, 5000
engine = Engine.open(OsEnv(), sys.argv[1])
number = engine.visible_timestamp
levels = list(Durability)
while True:
    number += 1
    engine.commit({b"%d" % number: b"x" * 50}, levels[number % 3])
    print(number, flush=True)
"""


def test_what_returned_at_any_level_survives_a_kill(tmp_path: Path) -> None:
    folder = (tmp_path / "db").as_posix()
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chooser = random.Random(seed)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTER, folder], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            acknowledged = 0
            for _ in range(chooser.randrange(20, 300)):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        engine = Engine.open(OsEnv(), folder, StorageOptions(recovery_mode=RecoveryMode.STRICT))
        last = engine.visible_timestamp
        assert acknowledged <= last <= acknowledged + 1
        assert all(engine.read(b"%d" % number, last) == b"x" * 50 for number in range(1, last + 1))
        engine.close()


def _appended(env: OsEnv | CrashFS | MemoryEnv, path: str) -> Iterator[bytes]:
    file = env.create(path)
    file.append(b"one")
    file.reserve(6)
    yield env.read_file(path)
    file.append(b"two")
    yield env.read_file(path)
    file.append(b"three")
    yield env.read_file(path)
    file.reserve(4)
    file.truncate(2)
    file.append(b"!")
    file.sync()
    file.close()
    yield env.read_file(path)


def test_every_machine_reserves_alike(tmp_path: Path) -> None:
    expected = [b"one" + bytes(6), b"onetwo" + bytes(3), b"onetwothree", b"on!"]
    assert list(_appended(OsEnv(), (tmp_path / "log").as_posix())) == expected
    assert list(_appended(CrashFS(), "log")) == expected
    assert list(_appended(MemoryEnv(), "log")) == expected

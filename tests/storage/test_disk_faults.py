"""The disk fails at every call in turn, and the program goes on.

Whatever call fails, and in whatever way, once or from then on:

- who commits gets a StorageError and nothing else, and from the first failed commit on every
  other one is refused;
- reads go on, and give exactly what was acknowledged, and perhaps the commit whose outcome is
  unknown (it was not refused with certainty), but never a part of one;
- nobody hangs;
- after the fault has ended the folder opens again, with all that was acknowledged: also after
  a power cut, for a sync that failed has saved nothing.

The last of the ways is a disk that fills up: it has room for the first so many bytes. Printed
is how much was tried.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from ferrisdb.errors import DiskFull, Error, StorageError
from ferrisdb.storage import compaction, wal
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.options import StorageOptions
from ferrisdb.testing import CrashFS, Fault, FaultyEnv, Loss

FOLDER = "data/db"
IS_NIGHT = os.environ.get("FERRISDB_CRASH_SWEEP") == "night"
WAIT_S = 60  # Long beyond doubt: who is not back by then hangs.
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


def ranges_of(number: int) -> list[tuple[bytes, bytes]]:
    """Deleted before the writes are made."""
    return [] if number % 3 else [(b"row001", b"row004")]


def rows_after(number: int) -> dict[bytes, bytes]:
    """The model: what is there after commits 1..number."""
    rows: dict[bytes, bytes | None] = {}
    for each in range(1, number + 1):
        for lo, hi in ranges_of(each):
            rows = {key: value for key, value in rows.items() if not lo <= key < hi}
        rows.update(writes_of(each))
    return {key: value for key, value in rows.items() if value is not None}


def rows_in(engine: Engine) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for keys, values in engine.scan(b"", None, engine.visible_timestamp):
        rows.update(zip(keys, values, strict=True))
    return rows


@dataclass
class Program:
    """It commits and goes on whatever happens; it reads after each step."""

    env: FaultyEnv
    options: StorageOptions
    acknowledged: int = 0
    highest: int = 0
    """The last commit that may be there."""
    errors: list[Error] = field(default_factory=list)
    is_refused: bool = False
    engine: Engine | None = None

    def open(self) -> None:
        with self.tolerating():
            engine = self.engine = Engine.open(self.env, FOLDER, self.options)
            # Old versions and deleted ranges are collected, and that must not fail with a wrong answer.
            engine.collect_below(lambda: engine._visible_timestamp)
            number = self.engine.visible_timestamp
            assert self.acknowledged <= number <= self.highest
            self.acknowledged = self.highest = number
            self.is_refused = False

    def commit(self, how_many: int) -> None:
        for _ in range(how_many):
            if self.engine is None:
                return
            try:
                number = self.acknowledged + 1
                timestamp = self.engine.commit(writes_of(number), deleted_ranges=ranges_of(number))
                assert not self.is_refused, f"a commit was taken after {self.errors[-1]}"
                self.acknowledged = self.highest = timestamp
            except StorageError as error:
                self.errors.append(error)
                assert error.hint, error
                self.is_refused = True
                if isinstance(error, LogWriteFailed):
                    self.highest = self.acknowledged + 1
            self.read()

    def flush(self) -> None:
        if self.engine is not None:
            with self.tolerating():
                self.engine.flush()
            self.read()

    def compact(self) -> None:
        if self.engine is not None:
            with self.tolerating():
                self.engine.wait_until_compacted()
            self.read()

    def checkpoint(self) -> None:
        if self.engine is not None:
            with self.tolerating():
                self.engine.checkpoint("data/copy")
                copy = Engine.open(self.env, "data/copy", self.options)
                number = copy.visible_timestamp
                assert rows_in(copy) == rows_after(number) and number == self.acknowledged
                copy.close()
            self.read()

    def close(self) -> None:
        if self.engine is not None:
            with self.tolerating():
                self.engine.close()
            self.engine = None

    def read(self) -> None:
        assert self.engine is not None
        assert self.engine.visible_timestamp in (self.acknowledged, self.highest)
        rows = rows_after(self.engine.visible_timestamp)
        assert rows_in(self.engine) == rows
        for key, value in rows.items():
            assert self.engine.read(key, self.engine.visible_timestamp) == value

    def tolerating(self) -> Tolerance:
        return Tolerance(self)


class Tolerance:
    """Only a StorageError, and only once the disk has failed."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, StorageError) and self.program.env.has_failed:
            self.program.errors.append(error)
            return True
        return False


def commits(program: Program) -> None:
    program.open()
    program.commit(3)
    program.close()


def flushes(program: Program) -> None:
    program.open()
    program.commit(2)
    program.flush()
    program.commit(2)
    program.flush()
    program.commit(1)
    program.close()


def rotation_and_compaction(program: Program) -> None:
    program.open()
    program.commit(9)
    program.flush()
    program.compact()
    program.commit(2)
    program.close()


def checkpoints(program: Program) -> None:
    program.open()
    program.commit(2)
    program.flush()
    program.commit(1)
    program.checkpoint()
    program.commit(2)
    program.close()


def reopening(program: Program) -> None:
    commits(program)
    program.open()
    program.commit(1)
    program.flush()
    program.close()
    program.open()
    program.commit(1)
    program.close()


SCENARIOS: dict[str, tuple[Callable[[Program], None], StorageOptions]] = {
    "commits": (commits, StorageOptions()),
    "flushes and a manifest that rolls over": (flushes, StorageOptions(manifest_bytes=1)),
    "rotation and compaction": (rotation_and_compaction, SMALL),
    "a checkpoint": (checkpoints, StorageOptions()),
    "reopening": (reopening, StorageOptions()),
}

LONGEST = ("flushes and a manifest that rolls over", "rotation and compaction", "a checkpoint", "reopening")


def run(env: FaultyEnv, steps: Callable[[Program], None], options: StorageOptions) -> Program:
    """The program in a thread of its own, so that a hang is seen."""
    program = Program(env, options)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            steps(program)
        except BaseException as error:
            raised.append(error)
        finally:
            program.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive(), f"hangs after {env.calls[-1:]}"
    if raised:
        raise raised[0]
    return program


def judge(program: Program, fs: CrashFS, where: str) -> None:
    """Nothing is lost, neither at the next opening nor after a power cut; and it can be written."""
    for disk in (fs.after_kill(), fs.after_crash(Loss.EVERYTHING), fs.after_crash(Loss.NOTHING)):
        engine = Engine.open(disk, FOLDER, program.options)
        number = engine.visible_timestamp
        assert program.acknowledged <= number <= program.highest, f"{where}: {number}"
        assert rows_in(engine) == rows_after(number), where
        engine.commit(writes_of(number + 1), deleted_ranges=ranges_of(number + 1))
        engine.flush()
        assert rows_in(engine) == rows_after(number + 1), where
        engine.close()


@pytest.fixture(autouse=True)
def _compaction_tries_again_at_once(monkeypatch):
    monkeypatch.setattr(compaction, "FIRST_PAUSE_S", 0.0001)


@pytest.fixture(autouse=True)
def _space_is_reserved_in_small_logs_too(monkeypatch):
    monkeypatch.setattr(wal, "RESERVE_FROM_BYTES", 50)
    monkeypatch.setattr(wal, "RESERVE_BYTES", 400)


def test_the_sweeps_meet_every_kind_of_call():
    kinds: set[str] = set()
    for steps, options in SCENARIOS.values():
        env = FaultyEnv(CrashFS())
        run(env, steps, options)
        kinds |= {call.split()[0] for call in env.calls}
    assert kinds == {
        *("create", "append", "reserve", "truncate", "sync"),
        *("rename", "link", "remove", "make_directory", "sync_directory"),
    }


def test_every_call_that_reaches_the_disk_is_one_that_can_fail():
    for steps, options in SCENARIOS.values():
        fs = CrashFS()
        env = FaultyEnv(fs)
        run(env, steps, options)
        # A folder that is there, or whose parent is not, is another number of calls below.
        above, below = (
            Counter(call.split()[0] for call in calls if not call.startswith("make_directory"))
            for calls in (env.calls, fs.calls)
        )
        assert above == below


def faults() -> Iterator[tuple[Fault, bool]]:
    for fault in Fault:
        for is_lasting in (False, True):
            yield fault, is_lasting


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_call_fails_reads_go_on_and_nothing_acknowledged_is_lost(name, capsys):
    steps, options = SCENARIOS[name]
    tried = 0
    for fault, is_lasting in faults():
        # Of the longest ones, in CI, each time an eighth of the calls, and each time another one.
        first, step = (tried % 8 + 1, 8) if name in LONGEST and not IS_NIGHT else (1, 1)
        for number in count(first, step):
            fs = CrashFS()
            env = FaultyEnv(fs, fail_at=number, fault=fault, is_lasting=is_lasting)
            program = run(env, steps, options)
            if not env.has_failed:
                break
            where = f"{fault.name} lasting={is_lasting} call {number}: {env.calls[number - 1]}"
            judge(program, fs, where)
            tried += 1
    with capsys.disabled():
        print(f"\n  {name}: {tried} faults", end="")
    assert tried > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_disk_that_fills_up_is_one_clear_error_and_reopens_when_there_is_space(name, capsys):
    steps, options = SCENARIOS[name]
    free_bytes = tried = 0
    while True:
        fs = CrashFS()
        env = FaultyEnv(fs, free_bytes=free_bytes)
        program = run(env, steps, options)
        if not env.has_failed:
            break
        for error in program.errors:
            assert "no space left" in str(error), f"{free_bytes} bytes: {error}"
        judge(program, fs, f"a disk with {free_bytes} bytes left")
        env.heal(free_bytes=1_000_000)
        Engine.open(env, FOLDER, options).close()
        tried += 1
        free_bytes += 37 if IS_NIGHT else 211
    with capsys.disabled():
        print(f"\n  {name}: {tried} full disks", end="")
    assert tried > 0


def test_of_zeros_that_do_not_fit_some_are_written_and_given_back():
    env = FaultyEnv(CrashFS(), free_bytes=10)
    file = env.create("a")
    file.append(b"123")
    with pytest.raises(DiskFull):
        file.reserve(20)
    assert env.read_file("a") == b"123" + bytes(7)
    file.truncate(3)
    assert env.free_bytes == 7
    env.fail_at, env.fault = len(env.calls) + 1, Fault.SHORT_WRITE
    with pytest.raises(DiskFull):
        file.reserve(6)
    assert env.read_file("a") == b"123" + bytes(3)


def test_a_file_gives_its_space_back_with_its_last_name():
    env = FaultyEnv(CrashFS(), free_bytes=10)
    env.create("a").append(b"12345678")
    env.create("old").append(b"1")
    assert env.link("a", "b")
    env.rename("a", "old")
    assert env.free_bytes == 2
    env.link("b", "c")
    env.remove("b")
    env.create("d").append(b"12")
    env.rename("d", "old")
    assert env.free_bytes == 0
    env.remove("c")
    assert env.free_bytes == 8


def test_space_that_is_given_back_is_there_again():
    env = FaultyEnv(CrashFS(), free_bytes=10)
    file = env.create("a")
    file.append(b"12345678")
    with pytest.raises(DiskFull):
        file.append(b"12345")
    assert env.read_file("a") == b"1234567812"
    env.truncate("a", 8)
    assert env.free_bytes == 2
    env.remove("a")
    assert env.free_bytes == 10
    env.create("b").append(b"1234567890")

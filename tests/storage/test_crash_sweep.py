"""Every call of every scenario crashes, the disk loses what it may, and nothing is missing.

The rule that is tested, at each crash and each way to lose the unsynced:

    it opens
    every acknowledged commit is there
    every commit is whole or absent, and none is there without those before it
    opening it again changes nothing
    what recovery has shown survives the next crash
    what is committed then survives the next crash

A commit writes its number under `number`, a key of its own, and a key that the next two
commits rewrite and delete, so a state belongs to exactly one number of commits.

Sizes: the default takes some seconds; FERRISDB_CRASH_SWEEP=night takes every crash of every
recovery and several seeds.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from ferrisdb.errors import Error
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.testing.crash_fs import CrashFS, Loss

IS_NIGHT = os.environ.get("FERRISDB_CRASH_SWEEP") == "night"
SEEDS = range(8) if IS_NIGHT else range(1)
CRASHED_RECOVERIES = 30

FOLDER = "data/db"
DEFAULT = StorageOptions()

Rows = dict[bytes, bytes]


def writes_of(number: int, size_bytes: int) -> dict[bytes, bytes | None]:
    """Commit `number`, from 1: an insert, an update, a delete and a counter."""
    filling = random.Random(number).randbytes(size_bytes)
    return {
        b"own%04d" % number: filling,
        b"turn%04d" % (number - 1): b"rewritten by %d" % number,
        b"turn%04d" % (number - 2): None,
        b"turn%04d" % number: b"new",
        b"number": b"%d" % number,
    }


def rows_after(number: int, size_bytes: int) -> Rows:
    """The model: what is there after commits 1..number."""
    rows: dict[bytes, bytes | None] = {}
    for each in range(1, number + 1):
        rows.update(writes_of(each, size_bytes))
    return {key: value for key, value in rows.items() if value is not None}


@dataclass
class Session:
    """A program that uses the database until the machine crashes."""

    fs: CrashFS
    options: StorageOptions
    size_bytes: int = 40
    attempted: int = 0
    acknowledged: int = 0
    engine: Engine | None = field(default=None)

    def open(self) -> None:
        self.engine = Engine.open(self.fs, FOLDER, self.options)

    def commit(self, count: int, durability: Durability = Durability.FULL) -> None:
        assert self.engine is not None
        for _ in range(count):
            self.attempted += 1
            timestamp = self.engine.commit(writes_of(self.attempted, self.size_bytes), durability)
            assert timestamp == self.attempted
            if durability is Durability.FULL:
                self.acknowledged = self.attempted

    def flush(self) -> None:
        assert self.engine is not None
        self.engine.flush()
        self.acknowledged = self.attempted

    def close(self) -> None:
        assert self.engine is not None
        self.engine.close()
        self.acknowledged = self.attempted

    def run(self, steps: Callable[[Session], None]) -> None:
        try:
            steps(self)
        except Error:
            # Only the crash excuses an error. Which error it is depends on who was hit.
            if not self.fs.has_crashed:
                raise
        finally:
            self.abandon()

    def abandon(self) -> None:
        """The process is gone: its threads, too."""
        if self.engine is not None:
            try:
                self.engine.close()
            except Error:
                if not self.fs.has_crashed:
                    raise


@dataclass(frozen=True)
class Scenario:
    steps: Callable[[Session], None]
    options: StorageOptions = DEFAULT
    size_bytes: int = 40
    prepare: Callable[[Session], None] | None = None
    """What happened before, without a crash; then the power was cut, and `loss` is left."""
    loss: Loss = Loss.EVERYTHING

    def start(self, seed: int) -> Session:
        before = Session(CrashFS(), self.options, self.size_bytes)
        if self.prepare is None:
            return before
        self.prepare(before)
        # The power goes before the program could tidy up.
        fs = before.fs.after_crash(self.loss, seed=seed)
        before.abandon()
        survived = check(fs, before, "preparation")
        return Session(fs, self.options, self.size_bytes, attempted=survived, acknowledged=survived)


def create_and_commit(session: Session) -> None:
    session.open()
    session.commit(4)
    session.close()


def commit_lazily(session: Session) -> None:
    session.open()
    session.commit(3, Durability.OFF)
    session.commit(1)
    session.commit(3, Durability.OFF)
    session.close()


def commit_many(session: Session) -> None:
    session.open()
    session.commit(5)
    session.close()


def flush_between(session: Session) -> None:
    session.open()
    session.commit(2)
    session.flush()
    session.commit(2)
    session.flush()
    session.commit(1)


def flush_once(session: Session) -> None:
    session.open()
    session.commit(1)
    session.flush()
    session.commit(1)


def reopen_and_commit(session: Session) -> None:
    session.open()
    session.commit(2)
    session.close()
    session.open()
    session.commit(1)


def leave_unsynced(session: Session) -> None:
    session.open()
    session.commit(2)
    session.commit(3, Durability.OFF)


def leave_tables_and_log(session: Session) -> None:
    flush_between(session)
    session.commit(3, Durability.OFF)


SWITCHING = StorageOptions(memtable_bytes=1500)
ROLLING = StorageOptions(manifest_bytes=1)

SCENARIOS = {
    "create, commit, close": Scenario(create_and_commit),
    "commits larger than sectors": Scenario(create_and_commit, size_bytes=1300),
    "commits that do not wait": Scenario(commit_lazily, size_bytes=300),
    "memtables that switch": Scenario(commit_many, SWITCHING),
    "memtables that switch, without waiting": Scenario(commit_lazily, StorageOptions(memtable_bytes=1800)),
    "flushes": Scenario(flush_between),
    "a flush to many blocks": Scenario(flush_once, StorageOptions(block_bytes=100), size_bytes=600),
    "a manifest that rolls over": Scenario(flush_between, ROLLING),
    "reopening": Scenario(reopen_and_commit),
    "reopening a cut log": Scenario(reopen_and_commit, prepare=leave_unsynced, loss=Loss.CUT),
    "reopening a zeroed log": Scenario(reopen_and_commit, prepare=leave_unsynced, loss=Loss.ZEROED),
    "reopening a log of garbage": Scenario(
        reopen_and_commit, size_bytes=900, prepare=leave_unsynced, loss=Loss.GARBAGE
    ),
    "reopening a scattered log": Scenario(
        reopen_and_commit, size_bytes=900, prepare=leave_unsynced, loss=Loss.SCATTERED
    ),
    "reopening tables and a log": Scenario(reopen_and_commit, prepare=leave_tables_and_log, loss=Loss.NAMES),
    "a manifest that rolls over again": Scenario(
        flush_once, ROLLING, prepare=flush_between, loss=Loss.EVERYTHING
    ),
}


def check(fs: CrashFS, session: Session, where: str) -> int:
    """Judge what is on the disk; leave it as it is; return how many commits are there."""
    probe = fs.after_kill()
    engine = Engine.open(probe, FOLDER, session.options)
    number = judge(engine, session, where)
    shown_then_cut = probe.after_crash(Loss.EVERYTHING)
    engine.close()
    before = probe.contents()

    later = Session(probe, session.options, session.size_bytes, attempted=number, acknowledged=number)
    judge_disk(shown_then_cut, later, f"{where}, then an opening and a power cut")
    later.open()
    # With more than one segment a memtable still waits to be flushed, and opening goes on with it.
    if sum(path.endswith(".wal") for path in before) == 1:
        assert probe.contents() == before, f"{where}: the second opening changed files"
    judge(later.engine, later, f"{where}, opened again")
    later.commit(1)
    committed_then_cut = probe.after_crash(Loss.EVERYTHING)
    later.abandon()
    judge_disk(committed_then_cut, later, f"{where}, then a commit and a power cut")
    return number


def judge_disk(fs: CrashFS, session: Session, where: str) -> None:
    engine = Engine.open(fs, FOLDER, session.options)
    judge(engine, session, where)
    engine.close()


def judge(engine: Engine, session: Session, where: str) -> int:
    """All that was acknowledged and nothing that was not attempted; how many commits that is."""
    number = engine.visible_timestamp
    assert session.acknowledged <= number <= session.attempted, (
        f"{where}: {number} commits, of which {session.acknowledged} to {session.attempted} were due"
    )
    for timestamp in {number, number // 2}:
        assert rows_at(engine, timestamp) == rows_after(timestamp, session.size_bytes), where
    return number


def rows_at(engine: Engine, timestamp: int) -> Rows:
    rows: Rows = {}
    for keys, values in engine.scan(b"", None, timestamp):
        rows.update(zip(keys, values, strict=True))
    for key, value in rows.items():
        assert engine.read(key, timestamp) == value
    return rows


def ends_of(fs: CrashFS, seed: int) -> Iterator[tuple[str, CrashFS]]:
    """The machine after every way to lose power, and after the death of the program alone."""
    for loss, disk in fs.disks_after_crash(seed):
        yield f"lost {loss.name}", disk
    yield "killed", fs.after_kill()


def sweep(scenario: Scenario, seed: int) -> tuple[list[tuple[str, CrashFS, Session]], int]:
    """Crash at every call. Gives the disks that were left and the number of calls."""
    disks = []
    number = 0
    while True:
        number += 1
        session = scenario.start(seed)
        session.fs.crash_at = number
        session.run(scenario.steps)
        if not session.fs.has_crashed:
            return disks, number - 1
        for how, disk in ends_of(session.fs, seed):
            where = f"seed {seed}, call {number} ({session.fs.calls[-1]}), {how}"
            check(disk, session, where)
            disks.append((where, disk, session))


@pytest.mark.parametrize("name", SCENARIOS)
def test_whenever_it_crashes_and_whatever_is_lost_the_commits_are_there(name, capsys):
    scenario = SCENARIOS[name]
    call_count = disk_count = recovery_count = 0
    for seed in SEEDS:
        disks, calls = sweep(scenario, seed)
        call_count += calls
        disk_count += len(disks)
        recovery_count += crash_recoveries(disks, scenario, seed)
    with capsys.disabled():
        print(
            f"\n  {name}: {call_count} calls, {disk_count} disks, {recovery_count} crashed recoveries", end=""
        )
    assert disk_count > 0


def crash_recoveries(disks: list[tuple[str, CrashFS, Session]], scenario: Scenario, seed: int) -> int:
    """Crash again while a crashed disk is opened; how often it was done."""
    chance = random.Random(seed)
    count = 0
    for where, disk, session in chance.sample(disks, len(disks)):
        probe = disk.after_kill()
        Engine.open(probe, FOLDER, scenario.options).close()
        numbers = range(len(disk.calls) + 1, len(probe.calls) + 1)
        for number in numbers if IS_NIGHT else [chance.choice(numbers)]:
            again = disk.after_kill(crash_at=number)
            Session(again, scenario.options).run(Session.open)
            if not again.has_crashed:
                continue
            for how, left in ends_of(again, seed):
                check(left, session, f"{where}, then call {number} of recovery, {how}")
                count += 1
        if not IS_NIGHT and count >= CRASHED_RECOVERIES:
            break
    return count


def test_commits_from_many_threads_survive_together(capsys):
    """Each thread counts in two keys of its own: whole commits, none lost that was acknowledged."""
    disk_count = 0
    for crash_at in range(1, 40, 1 if IS_NIGHT else 3):
        fs = CrashFS()
        options = StorageOptions(memtable_bytes=3000)
        engine = Engine.open(fs, FOLDER, options)
        fs.crash_at = len(fs.calls) + crash_at
        acknowledged = [0] * 4

        def work(thread: int, engine: Engine = engine, acknowledged: list[int] = acknowledged) -> None:
            for number in range(1, 100):
                value = b"%d" % number
                try:
                    engine.commit({b"a%d" % thread: value, b"b%d" % thread: value})
                except Error:
                    return
                acknowledged[thread] = number

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        Session(fs, options, engine=engine).abandon()
        assert fs.has_crashed

        for loss, disk in fs.disks_after_crash():
            survivor = Engine.open(disk, FOLDER, options)
            rows = rows_at(survivor, survivor.visible_timestamp)
            survivor.close()
            for thread in range(4):
                first, second = rows.get(b"a%d" % thread, b"0"), rows.get(b"b%d" % thread, b"0")
                assert first == second, (crash_at, loss)
                assert acknowledged[thread] <= int(first) <= acknowledged[thread] + 1, (crash_at, loss)
            disk_count += 1
    with capsys.disabled():
        print(f"\n  four threads: {disk_count} disks", end="")

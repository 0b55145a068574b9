"""The power goes at every call of a checkpoint, a backup, a deletion and a restore.

Whatever is lost then:

    the database opens, with every commit
    every backup that was there before and was not to be deleted is restored as it was
    a new copy is whole, or it is no database, no backup
    the next backup works, and leaves nothing behind that no backup needs
    a repeated checkpoint or restore works, or says that the folder is to be removed

The default takes some seconds; FERRISDB_CRASH_SWEEP=night takes several seeds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from backup_lab import FOLDER, STORE, TARGET, Lab, Rows, rows_in, tables_in

from ferrisdb.errors import Error, FolderNotEmpty, NotADatabase
from ferrisdb.storage.backup import delete_backups, make_backup
from ferrisdb.storage.backup_store import BackupStore
from ferrisdb.storage.backup_verify import verify_backups
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.restore import restore_backup
from ferrisdb.testing.crash_fs import CrashFS

SEEDS = range(6) if os.environ.get("FERRISDB_CRASH_SWEEP") == "night" else range(1)

ONE_TABLE = StorageOptions(block_bytes=150, compaction_start_tables=2, compaction_process_bytes=1 << 40)


@dataclass
class Before:
    """What had been done when the machine that crashes was switched on."""

    fs: CrashFS
    commits: tuple[Rows, int]
    backups: dict[int, tuple[Rows, int]]


def prepared(seed: int) -> Before:
    """Two backups, and commits after them, some of them only in the log."""
    lab = Lab(CrashFS(), ONE_TABLE)
    chance = random.Random(seed)
    backups = {}
    for _ in range(2):
        lab.write(chance, 4)
        # The second time it makes one table of two: each backup has one that the other has not.
        lab.engine.flush()
        lab.engine.wait_until_compacted()
        backups[lab.back_up().number] = dict(lab.rows), lab.commits
    lab.write(chance, 6)
    lab.engine.close()
    assert isinstance(lab.env, CrashFS)
    return Before(lab.env, (dict(lab.rows), lab.commits), backups)


def with_engine(work: Callable[[Engine], object]) -> Callable[[CrashFS], None]:
    def run(fs: CrashFS) -> None:
        engine = Engine.open(fs, FOLDER, ONE_TABLE)
        try:
            work(engine)
        finally:
            engine.close()

    return run


def checkpoint(fs: CrashFS) -> None:
    with_engine(lambda engine: engine.checkpoint(TARGET))(fs)


def backup(fs: CrashFS) -> None:
    with_engine(
        lambda engine: make_backup(engine.pin_tables(), BackupStore(fs, STORE), made_at_s=1.0, keep_last=3)
    )(fs)


def delete(fs: CrashFS) -> None:
    delete_backups(BackupStore(fs, STORE), [1])


def restore(fs: CrashFS) -> None:
    restore_backup(BackupStore(fs, STORE), fs, TARGET, number=2)


WORKS = {"checkpoint": checkpoint, "backup": backup, "delete": delete, "restore": restore}


@pytest.mark.parametrize("name", WORKS)
def test_wherever_the_power_goes_nothing_old_is_lost_and_nothing_new_is_half(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = disks = 0
    for seed in SEEDS:
        before = prepared(seed)
        number = 0
        while True:
            number += 1
            fs = before.fs.after_kill()
            fs.crash_at = number
            is_acknowledged = True
            try:
                WORKS[name](fs)
            except Error:
                is_acknowledged = False
                assert fs.has_crashed, "only the crash excuses an error"
            if not fs.has_crashed:
                break
            for loss, disk in [*fs.disks_after_crash(seed), (None, fs.after_kill())]:
                where = f"seed {seed}, {name}, call {number} ({fs.calls[-1]}), {loss}"
                judge(disk, name, before, where, is_acknowledged=is_acknowledged)
                disks += 1
        calls += number - 1
    with capsys.disabled():
        print(f"\n  {name}: {calls} calls, {disks} disks", end="")


def judge(disk: CrashFS, name: str, before: Before, where: str, *, is_acknowledged: bool) -> None:
    if name in ("checkpoint", "restore"):
        assert store_of(disk) == store_of(before.fs), f"{where}: it only reads the store"
        judge_copy(disk, name, before, where, is_acknowledged=is_acknowledged)
    else:
        judge_store(disk, name, before, where)
    assert rows_in(disk, FOLDER) == before.commits, where


def store_of(disk: CrashFS) -> dict[str, bytes | None]:
    return {path: data for path, data in disk.contents().items() if path.startswith(f"{STORE}/")}


def judge_copy(disk: CrashFS, name: str, before: Before, where: str, *, is_acknowledged: bool) -> None:
    """What a checkpoint or a restore has left, and that it can be done again."""
    due = before.commits if name == "checkpoint" else before.backups[2]
    if disk.exists(f"{TARGET}/CURRENT"):
        assert rows_in(disk, TARGET) == due, where
        assert not disk.exists(f"{TARGET}/UNFINISHED"), where
        return
    assert not is_acknowledged, where
    try:
        WORKS[name](disk)
    except FolderNotEmpty as error:
        assert "remove that folder" in str(error.hint), where
        with pytest.raises(NotADatabase):
            Engine.open(disk, TARGET)
    else:
        assert rows_in(disk, TARGET) == due, where


def judge_store(disk: CrashFS, name: str, before: Before, where: str) -> None:
    store = BackupStore(disk, STORE)
    assert verify_backups(store).findings == (), where
    there = store.numbers()
    assert set(there) >= set(before.backups) - ({1} if name == "delete" else set()), where
    # Verified are all; restored is the newest, and one that chance chooses.
    for number in {there[-1], random.Random(where).choice(there)}:
        rows, last = before.backups.get(number, before.commits)
        restore_backup(store, disk, f"check{number}", number=number)
        assert rows_in(disk, f"check{number}") == (rows, last), f"{where}, backup {number}"
    engine = Engine.open(disk, FOLDER, ONE_TABLE)
    made = make_backup(engine.pin_tables(), store, made_at_s=1.0)
    engine.close()
    assert made.number == max(there) + 1, where
    named = {table.name for number in store.numbers() for table in store.read(number).tables}
    assert tables_in(disk, STORE) == named, where
    assert not [each for each in disk.list_directory(STORE) if each.endswith(".tmp")], where
    restore_backup(store, disk, "check", number=made.number)
    assert rows_in(disk, "check")[0] == before.commits[0], where

"""Deleted ranges and power cuts: at every call, whatever is lost, commits are whole or absent.

What could go wrong here and nowhere else: the range is deleted in the tables, and the commit
that deleted it is lost; or a tombstone is forgotten, in log, manifest or roll-over, and what it
hid comes back.
"""

import os
import random

import pytest
from tree_checker import TINY, contents

from ferrisdb.errors import Error
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import Durability
from ferrisdb.testing.crash_fs import CrashFS

FOLDER = "db"
IS_NIGHT = os.environ.get("FERRISDB_CRASH_SWEEP") == "night"
KEYS = [b"k%02d" % number for number in range(12)]


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.0001)


class Run:
    """A program that works until the machine crashes; `history[n]` is what commit n left."""

    def __init__(self, fs: CrashFS, durability: Durability) -> None:
        self.fs = fs
        self.durability = durability
        self.history: list[dict[bytes, bytes]] = [{}]
        self.acknowledged = 0

    def work(self) -> None:
        engine = Engine.open(self.fs, FOLDER, TINY)
        engine.collect_below(lambda: engine._visible_timestamp)
        try:
            for number in range(3):
                self.commit(engine, dict.fromkeys(KEYS, b"%d" % number * 30), [])
                self.flush(engine)
                self.commit(engine, {KEYS[5]: b"stays"}, [(KEYS[2], KEYS[9])])
                self.commit(engine, {}, [(KEYS[7], KEYS[8 + number]), (b"a", KEYS[1])])
                if number != 1:
                    self.flush(engine)
                engine.wait_until_compacted()
            self.commit(engine, {}, [(b"", None)])
            self.flush(engine)
            engine.wait_until_compacted()
            engine.close()
            self.acknowledged = len(self.history) - 1
        finally:
            try:
                engine.close()
            except Error:
                if not self.fs.has_crashed:
                    raise

    def commit(
        self, engine: Engine, writes: dict[bytes, bytes], ranges: list[tuple[bytes, bytes | None]]
    ) -> None:
        state = {
            key: value
            for key, value in self.history[-1].items()
            if not any(lo <= key and (hi is None or key < hi) for lo, hi in ranges)
        }
        self.history.append({**state, **writes})
        engine.commit(writes, self.durability, deleted_ranges=ranges)
        if self.durability is Durability.FULL:
            self.acknowledged = len(self.history) - 1

    def flush(self, engine: Engine) -> None:
        engine.flush()
        self.acknowledged = len(self.history) - 1


def judge(fs: CrashFS, run: Run, where: str) -> None:
    for turn in ("opened", "opened again"):
        engine = Engine.open(fs, FOLDER, TINY)
        number = engine.visible_timestamp
        assert run.acknowledged <= number < len(run.history), (where, turn)
        assert contents(engine) == run.history[number], (where, turn)
        for key in KEYS:
            assert engine.read(key, number) == run.history[number].get(key), (where, turn)
        engine.collect_below(lambda at=number: at)  # type: ignore[misc]
        engine.flush()
        engine.wait_until_compacted()
        assert contents(engine) == run.history[number], (where, turn, "at rest")
        assert engine.statistics().live_range_tombstones == 0, (where, turn)
        engine.close()
        assert check_folder(fs, FOLDER).findings == (), (where, turn)


@pytest.mark.parametrize("durability", Durability)
def test_whenever_it_crashes_a_deleted_range_is_deleted_or_not(durability: Durability) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = Run(CrashFS(), durability)
    whole.work()
    call_count = len(whole.fs.calls)
    assert call_count > 60
    for number in range(1, call_count + 1) if IS_NIGHT else chance.sample(range(1, call_count + 1), 50):
        fs = CrashFS()
        fs.crash_at = number
        run = Run(fs, durability)
        try:
            run.work()
        except Error:
            if not fs.has_crashed:
                raise
        ends = [(loss.name, disk) for loss, disk in fs.disks_after_crash(seed)]
        for how, disk in [*(ends if IS_NIGHT else chance.sample(ends, 2)), ("killed", fs.after_kill())]:
            judge(disk, run, f"seed {seed}, call {number}, {how}")

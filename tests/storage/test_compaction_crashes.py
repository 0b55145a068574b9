"""A crash at every call of a compaction, with every way to lose what was not synced.

The folder that is compacted holds commits 1 to 8 in eight tables, all acknowledged. Whatever
is left of it after the crash must open, show each commit that the oldest snapshot in use may
ask for, and be compacted to the end by the next one who opens it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from unittest import mock

import pytest
from tree_checker import STYLES, TINY, check_shape, check_tree, contents, table_files

from ferrisdb.errors import Error
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import Sources
from ferrisdb.testing.crash_fs import CrashFS, Loss

FOLDER = "db"
COMMITS = 8
HELD = (2, 4)
"""Snapshots in use."""
OLDEST = 6
"""From here on somebody may read at any time."""


class RestingPicker:
    def __init__(self, options: StorageOptions) -> None:
        pass

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        return None


def open_at_rest(fs: CrashFS) -> Engine:
    """An engine that compacts nothing, so that one can look at what is there."""
    with mock.patch.object(compaction_module, "CompactionPicker", RestingPicker):
        return Engine.open(fs, FOLDER, TINY)


def writes_of(number: int) -> dict[bytes, bytes | None]:
    writes: dict[bytes, bytes | None] = {
        b"%02d" % (key * 7 % 24): b"%d" % number * 15 for key in range(number, number + 12)
    }
    return {**writes, b"gone%d" % number: b"soon", b"gone%d" % (number - 1): None}


def states() -> list[dict[bytes, bytes]]:
    found: list[dict[bytes, bytes]] = [{}]
    for number in range(1, COMMITS + 1):
        state: dict[bytes, bytes | None] = {**found[-1], **writes_of(number)}
        found.append({key: value for key, value in state.items() if value is not None})
    return found


STATES = states()


def uncompacted() -> CrashFS:
    fs = CrashFS()
    engine = open_at_rest(fs)
    for number in range(1, COMMITS + 1):
        engine.commit(writes_of(number))
        engine.flush()
    engine.close()
    return fs.after_crash(Loss.EVERYTHING)


def compact(fs: CrashFS, options: StorageOptions) -> int:
    """Open, compact, and leave without closing; calls that were made."""
    engine = None
    try:
        engine = Engine.open(fs, FOLDER, options)
        engine.collect_between(lambda retained_from: (*HELD, OLDEST))
        engine.wait_until_compacted()
    except Error:
        if not fs.has_crashed:
            raise
    calls = len(fs.calls)
    if engine is not None:
        try:
            engine.close()
        except Error:
            if not fs.has_crashed:
                raise
    return calls


def check(fs: CrashFS, options: StorageOptions, where: str) -> None:
    engine = open_at_rest(fs)
    for timestamp in (*HELD, *range(OLDEST, COMMITS + 1)):
        assert contents(engine, timestamp) == STATES[timestamp], where
    # What is gone is known to be gone, to the next process, too.
    for timestamp in range(engine.collected_below, COMMITS + 1):
        assert contents(engine, timestamp) == STATES[timestamp], where
    check_tree(engine)
    assert engine.visible_timestamp == COMMITS, where
    live = len(engine._sources.now.tables)
    assert len(table_files(fs, FOLDER)) == live, f"{where}: opening leaves files of nobody"
    engine.close()

    engine = Engine.open(fs, FOLDER, options)
    engine.collect_between(lambda retained_from: (*HELD, OLDEST))
    engine.wait_until_compacted()
    assert engine.collected_below == OLDEST
    check_tree(engine)
    check_shape(engine)
    engine.commit({b"after": b"the crash"})
    assert contents(engine) == {**STATES[-1], b"after": b"the crash"}, where
    engine.close()


# Where the edit begins a new manifest, that syncs the folder once more, and would hide that the
# names of the outputs were not synced before.
@pytest.mark.parametrize("manifest_bytes", [TINY.manifest_bytes, 1 << 20], ids=["rolls over", "grows"])
@pytest.mark.parametrize("style", STYLES)
def test_a_crash_at_any_call_of_a_compaction_loses_nothing(
    style, manifest_bytes, capsys, monkeypatch
) -> None:
    options = replace(STYLES[style], manifest_bytes=manifest_bytes)
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.0001)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    prepared = uncompacted()
    whole = prepared.after_kill()
    call_count = compact(whole, options)
    kinds = {call.split()[0] for call in whole.calls[:call_count]}
    assert kinds >= {"create", "append", "sync", "rename", "sync_directory", "remove"}
    rolls_over = any("CURRENT" in call for call in whole.calls[:call_count])
    assert rolls_over == (manifest_bytes == TINY.manifest_bytes)
    disk_count = 0
    number = 0
    while True:
        number += 1
        fs = prepared.after_kill(crash_at=number)
        compact(fs, options)
        if not fs.has_crashed:
            break
        disks = [(loss.name, disk) for loss, disk in fs.disks_after_crash(seed)]
        for how, disk in [*disks, ("killed", fs.after_kill())]:
            check(disk, options, f"seed {seed}, call {number} ({fs.calls[-1]}), {how}")
            disk_count += 1
    with capsys.disabled():
        print(
            f"\n  {style} compaction, manifest of {manifest_bytes}: {number - 1} calls, {disk_count} disks",
            end="",
        )
    assert number > 20

"""Ingests and power cuts: at every call, whatever is lost, an ingest is there as a whole or not
at all; one that was acknowledged is there, with all before it; and commits go on behind it.

What could go wrong here and nowhere else: the log does not go on where the manifest says that it
does, since a commit between two records is in no log; the manifest names tables whose names are
not on the disk; half of the tables are there.
"""

import contextlib
import itertools
import os
import random
from dataclasses import replace

import pytest
from tree_checker import TINY, check_tree, contents, table_files

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.options import Durability, RecoveryMode
from ferrisdb.storage.salvage import salvage
from ferrisdb.testing import FaultyEnv
from ferrisdb.testing.crash_fs import CrashFS

FOLDER = "db"
IS_NIGHT = os.environ.get("FERRISDB_CRASH_SWEEP") == "night"


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
            self.ingest(engine, 0, 40)
            self.commit(engine, {b"k010": b"newer", b"z": b"in the log"})
            self.ingest(engine, 5, 15)
            self.commit(engine, {b"z": b"again"})
            engine.close()
            # With a mark in the log, and nothing else behind the last table.
            engine = Engine.open(self.fs, FOLDER, TINY)
            engine.collect_below(lambda: engine._visible_timestamp)
            engine.flush()
            self.acknowledged = len(self.history) - 1
            engine.close()
            engine = Engine.open(self.fs, FOLDER, TINY)
            engine.collect_below(lambda: engine._visible_timestamp)
            self.ingest(engine, 60, 70)
            self.commit(engine, {b"k000": b"newest"}, [(b"k020", b"k065")])
            self.ingest(engine, 18, 30)
            engine.wait_until_compacted()
            self.commit(engine, {b"end": b"in the log"})
            engine.close()
            self.acknowledged = len(self.history) - 1
        finally:
            try:
                engine.close()
            except Error:
                if not self.fs.has_crashed:
                    raise

    def ingest(self, engine: Engine, first: int, stop: int) -> None:
        pairs = [(b"k%03d" % number, b"%d" % len(self.history) * 9) for number in range(first, stop)]
        self.history.append({**self.history[-1], **dict(pairs)})
        engine.ingest(pairs)
        # Whatever the durability of the commits before it is.
        self.acknowledged = len(self.history) - 1

    def commit(
        self, engine: Engine, writes: dict[bytes, bytes], ranges: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        state = {
            key: value
            for key, value in self.history[-1].items()
            if not any(lo <= key < hi for lo, hi in ranges or ())
        }
        self.history.append({**state, **writes})
        engine.commit(writes, self.durability, deleted_ranges=ranges or ())
        if self.durability is Durability.FULL:
            self.acknowledged = len(self.history) - 1


def judge(fs: CrashFS, run: Run, where: str) -> None:
    for turn in range(2):
        engine = Engine.open(fs, FOLDER, TINY)
        number = engine.visible_timestamp
        assert run.acknowledged <= number < len(run.history), (where, turn)
        assert contents(engine) == run.history[number], (where, turn)
        engine.close()
        assert check_folder(fs, FOLDER).findings == (), (where, turn)
    expected = dict(run.history[number])
    engine = Engine.open(fs, FOLDER, TINY)
    engine.commit({b"behind": b"1"})
    engine.ingest([(b"behind", b"2"), (b"k005", b"3")])
    engine.commit({b"k005": b"4"})
    expected |= {b"behind": b"2", b"k005": b"4"}
    assert contents(engine) == expected, where
    engine.wait_until_compacted()
    check_tree(engine)
    engine.close()
    engine = Engine.open(fs, FOLDER, TINY)
    assert contents(engine) == expected, where
    engine.close()


@pytest.mark.parametrize("durability", Durability)
def test_whenever_it_crashes_an_ingest_is_there_or_not(durability: Durability) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = Run(CrashFS(), durability)
    whole.work()
    call_count = len(whole.fs.calls)
    assert call_count > 100
    for number in range(1, call_count + 1) if IS_NIGHT else chance.sample(range(1, call_count + 1), 60):
        fs = CrashFS()
        fs.crash_at = number
        run = Run(fs, durability)
        try:
            run.work()
        except Error:
            if not fs.has_crashed:
                raise
        ends = [(loss.name, disk) for loss, disk in fs.disks_after_crash(seed)]
        for how, disk in [
            *(ends if IS_NIGHT else chance.sample(ends, min(2, len(ends)))),
            ("killed", fs.after_kill()),
        ]:
            judge(disk, run, f"seed {seed}, call {number}, {how}")


def test_opening_removes_what_a_crash_has_left_of_an_ingest() -> None:
    pairs = [(b"k%03d" % number, b"v" * 9) for number in range(60)]
    call = left = 0
    has_crashed = True
    while has_crashed:
        call += 1
        fs = CrashFS()
        Engine.open(fs, FOLDER, TINY).close()
        fs.crash_at = len(fs.calls) + call
        try:
            engine = Engine.open(fs, FOLDER, TINY)
            try:
                engine.ingest(pairs)
            finally:
                engine.close()
        except Error:
            assert fs.has_crashed
        has_crashed = fs.has_crashed
        disk = fs.after_kill()
        left += len(table_files(disk, FOLDER))
        # In an empty tree all goes to the last level, where nothing is to be compacted.
        engine = Engine.open(disk, FOLDER, TINY)
        live = [f"{entry.number:06}.sst" for entry in engine._manifest.state.tables]
        assert sorted(table_files(disk, FOLDER)) == sorted(live), call
        assert contents(engine) == (dict(pairs) if live else {})
        engine.close()
    assert call > 20
    assert left > 20


def test_a_mark_without_a_commit_is_not_left_behind_an_ingest() -> None:
    # Given a log that has nothing but a mark: its one commit was interrupted, and cut off again.
    fs = CrashFS()
    env = FaultyEnv(fs)
    engine = Engine.open(env, FOLDER, TINY)

    def interrupt(call: str) -> None:
        if call.startswith("sync") and call.endswith(".wal"):
            env.before_call = lambda call: None
            raise KeyboardInterrupt

    env.before_call = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.commit({b"a": b"1"})
    engine.close()
    assert fs.contents()["db/000001.wal"][16:].endswith(b"\x92\x90\x90")
    # When an ingest begins the next segment, and is cut off at any call,
    tried = 0
    for number in itertools.count(1):
        crashing = fs.after_kill(crash_at=number)
        with contextlib.suppress(Error):
            Engine.open(crashing, FOLDER, TINY).ingest([(b"k", b"1")])
        if not crashing.has_crashed:
            break
        for loss, disk in crashing.disks_after_crash():
            # then the next ingest leaves a log that is whole: the mark is of a commit before it.
            engine = Engine.open(disk, FOLDER, TINY)
            engine.ingest([(b"k", b"2")])
            engine.close()
            assert check_folder(disk, FOLDER).findings == (), (crashing.calls[-1], loss)
            engine = Engine.open(disk, FOLDER, TINY)
            assert contents(engine) == {b"k": b"2"}, (crashing.calls[-1], loss)
            engine.close()
            tried += 1
    assert tried > 20


def test_a_mark_in_a_segment_that_a_crash_has_cut_off_does_not_count_behind_an_ingest() -> None:
    """Closing leaves a mark in an empty log. A crash while the next ingest leaves that segment for a
    new one gives two, and nothing in the first is to be flushed."""
    call, has_crashed = 0, True
    while has_crashed:
        call += 1
        fs = CrashFS()
        engine = Engine.open(fs, FOLDER, TINY)
        engine.ingest([(b"a", b"1")])
        engine.close()
        fs.crash_at = len(fs.calls) + call
        try:
            engine = Engine.open(fs, FOLDER, TINY)
            try:
                engine.ingest([(b"b", b"2")])
            finally:
                engine.close()
        except Error:
            assert fs.has_crashed
        has_crashed = fs.has_crashed
        disk = fs.after_kill()
        engine = Engine.open(disk, FOLDER, TINY)
        engine.ingest([(b"c", b"3")])
        expected = contents(engine)
        engine.close()
        assert check_folder(disk, FOLDER).findings == (), call
        engine = Engine.open(disk, FOLDER, TINY)
        assert contents(engine) == expected, call
        engine.close()
    assert call > 15


@pytest.mark.parametrize("was_killed", [False, True])
def test_an_ingest_that_was_closed_over_is_not_lost_in_silence(was_killed: bool) -> None:
    """The manifest's last edit is its only record, and a bad last edit looks like a crash's tear.
    The mark in the log knows better."""
    fs = CrashFS()
    engine = Engine.open(fs, FOLDER, TINY)
    engine.commit({b"a": b"1"})
    engine.ingest([(b"b", b"2")])
    if was_killed:
        fs = fs.after_kill()
        Engine.open(fs, FOLDER, TINY).close()
    else:
        engine.close()
    before = fs.contents()
    Engine.open(fs, FOLDER, TINY).close()
    assert fs.contents() == before
    path = next(f"{FOLDER}/{name}" for name in fs.list_directory(FOLDER) if name.startswith("MANIFEST"))
    whole = fs.read_file(path)
    fs.truncate(path, len(whole) - 1)

    files = fs.list_directory(FOLDER)
    with pytest.raises(CorruptionError, match="commits are missing"):
        Engine.open(fs, FOLDER, TINY)
    with pytest.raises(CorruptionError, match="the last manifest edit is damaged"):
        Engine.open(fs, FOLDER, replace(TINY, recovery_mode=RecoveryMode.SALVAGE))
    assert fs.list_directory(FOLDER) == files
    report = salvage(fs, FOLDER, "saved")
    assert not report.used_manifest
    assert any("it was ingested, and no manifest says with which commit" in note for note in report.notes)
    saved = Engine.open(fs, "saved", TINY)
    assert contents(saved) == {b"a": b"1", b"b": b"2"}
    saved.close()


def test_a_torn_manifest_is_believed_where_only_the_log_is_damaged() -> None:
    """The torn edit need not have been an ingest's: here the commit that is due was damaged itself."""
    fs = CrashFS()
    engine = Engine.open(fs, FOLDER, TINY)
    engine.commit({b"a": b"1"})
    engine.flush()
    engine.commit({b"a": b"2"})
    engine.commit({b"b": b"3"})
    log = f"{FOLDER}/{engine._log.number:06}.wal"
    engine.close()
    manifest = next(f"{FOLDER}/{name}" for name in fs.list_directory(FOLDER) if name.startswith("MANIFEST"))
    file = fs.open_append(manifest)
    file.append(b"an edit that was begun")
    file.close()
    data = bytearray(fs.read_file(log))
    data[HEADER_BYTES + 4] ^= 1
    file = fs.create(log)
    file.append(bytes(data))
    file.close()

    report = salvage(fs, FOLDER, "saved")
    assert report.used_manifest
    assert [(loss.first_commit, loss.last_commit) for loss in report.damages if loss.is_loss] == [(2, 2)]
    saved = Engine.open(fs, "saved", TINY)
    assert contents(saved) == {b"a": b"1", b"b": b"3"}
    saved.close()

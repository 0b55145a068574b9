"""Opening in mode salvage: a log that is damaged in the middle gives all that is sound of it."""

from __future__ import annotations

import pytest

import ferrisdb
from ferrisdb.errors import CorruptionError, InvalidParameterValue, StorageError
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import Env
from ferrisdb.storage.inspect_log import SeenRecord, read_records
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, RecoveryMode, StorageOptions
from ferrisdb.storage.wal import LogWriter, encode_writes
from ferrisdb.testing import CrashFS

SALVAGE = StorageOptions(recovery_mode=RecoveryMode.SALVAGE)
LOG = "db/000001.wal"
COMMITS = 8


def commit_all(env: Env) -> None:
    engine = Engine.open(env, "db")
    for number in range(1, COMMITS + 1):
        engine.commit({b"k%d" % number: b"v%d" % number, b"last": b"%d" % number}, Durability.FULL)
    engine.close()


def spoil(env: Env, position: int) -> None:
    data = bytearray(env.read_file(LOG))
    data[position] ^= 0x20
    file = env.create(LOG)
    file.append(bytes(data))
    file.sync()
    file.close()


def spoiled(position: int) -> MemoryEnv:
    env = MemoryEnv()
    commit_all(env)
    spoil(env, position)
    return env


def offset_of(commit: int) -> int:
    env = MemoryEnv()
    commit_all(env)
    records = [r for r in read_records(env.read_file(LOG), 1) if isinstance(r, SeenRecord)]
    return records[commit - 1].offset


def keys_in(engine: Engine) -> set[bytes]:
    chunks = engine.scan(b"k", b"l", engine.visible_timestamp)
    return {key for keys, _ in chunks for key in keys}


def test_a_sound_log_is_left_as_it_is_and_nothing_is_reported():
    env = MemoryEnv()
    commit_all(env)
    engine = Engine.open(env, "db", SALVAGE)
    assert engine.recovery_report is None
    engine.close()
    assert [name for name in env.list_directory("db") if name.endswith((".sst", ".damaged"))] == []


def test_the_sound_records_are_kept_and_the_lost_commit_is_named():
    # Given a log of which the third commit is damaged: every other mode refuses it.
    env = spoiled(offset_of(3) + 40)
    found = env.read_file(LOG)
    for mode in (RecoveryMode.TOLERATE_TAIL, RecoveryMode.STRICT):
        with pytest.raises(CorruptionError):
            Engine.open(env, "db", StorageOptions(recovery_mode=mode))
    # When it is opened in mode salvage, then all but that commit is there.
    engine = Engine.open(env, "db", SALVAGE)
    assert keys_in(engine) == {b"k%d" % n for n in range(1, COMMITS + 1) if n != 3}
    assert engine.read(b"last", engine.visible_timestamp) == b"%d" % COMMITS
    report = engine.recovery_report
    assert report is not None
    (damage,) = report.damages
    assert (damage.file, damage.offset) == (LOG, offset_of(3))
    assert (damage.first_commit, damage.last_commit, report.commits) == (3, 3, COMMITS - 1)
    # The segment is kept aside, and the database goes on as any other.
    assert report.kept_aside == (LOG + ".damaged",)
    assert env.read_file(LOG + ".damaged") == found
    assert engine.commit({b"k9": b"v9"}) == COMMITS + 1
    engine.close()
    assert check_folder(env, "db").findings == ()
    engine = Engine.open(env, "db")
    assert b"k9" in keys_in(engine)
    assert env.read_file(LOG + ".damaged") == found
    engine.close()


def test_any_byte_of_the_log_may_be_damaged():
    size_bytes = len(spoiled(0).read_file(LOG))
    for position in range(size_bytes):
        env = spoiled(position)
        engine = Engine.open(env, "db", SALVAGE)
        keys = keys_in(engine)
        missing = {n for n in range(1, COMMITS + 1) if b"k%d" % n not in keys}
        assert len(missing) <= 1
        report = engine.recovery_report
        told: set[int] = set()
        if report is not None:
            for loss in (damage for damage in report.damages if damage.is_loss):
                last = COMMITS if loss.last_commit is None else loss.last_commit
                told |= set(range(loss.first_commit or 1, last + 1))
        assert missing <= told, position
        engine.close()
        assert check_folder(env, "db").findings == (), position


def test_the_segment_itself_may_be_missing():
    env = MemoryEnv()
    commit_all(env)
    env.remove(LOG)
    engine = Engine.open(env, "db", SALVAGE)
    assert engine.recovery_report is not None
    assert engine.commit({b"k": b"v"}) == 1
    engine.close()


@pytest.mark.parametrize("lost", [0, 1])
def test_zeros_at_the_end_of_a_segment_that_is_not_the_last_are_mended_too(lost):
    # Given two segments, the first of which ends in zeros, as only the last one may: behind its
    # last record, or in the place of it.
    env = MemoryEnv()
    commit_all(env)
    sound = env.read_file(LOG)
    second = LogWriter.create(env, "db", 9)
    second.append(COMMITS + 1, [encode_writes({b"k9": b"v9"})])
    second.close()
    log = env.create(LOG)
    log.append((sound[: offset_of(COMMITS)] if lost else sound) + bytes(200))
    log.close()
    with pytest.raises(CorruptionError):
        Engine.open(env, "db")
    # When it is opened in mode salvage, then only the commit that is gone is lost.
    engine = Engine.open(env, "db", SALVAGE)
    assert keys_in(engine) == {b"k%d" % n for n in range(1, COMMITS + 2)} - ({b"k8"} if lost else set())
    assert engine.recovery_report is not None
    lost_commits = [(each.first_commit, each.last_commit) for each in engine.recovery_report.damages]
    assert lost_commits == [(COMMITS, COMMITS)] * lost
    engine.close()


def test_a_power_cut_at_any_call_of_the_mending_loses_nothing_more():
    # Given a log of which the third commit is damaged, all of it on the disk.
    base = CrashFS()
    commit_all(base)
    spoil(base, offset_of(3) + 40)
    whole = {b"k%d" % n for n in range(1, COMMITS + 1) if n != 3}
    crash_at = 0
    while True:
        # When the power goes at any call of the opening,
        crash_at += 1
        fs = base.after_kill(crash_at=crash_at)
        try:
            Engine.open(fs, "db", SALVAGE).close()
        except StorageError:
            assert fs.has_crashed
        if not fs.has_crashed:
            break
        # then the next opening has all that the first one would have had, on any disk left over.
        for loss, disk in fs.disks_after_crash():
            engine = Engine.open(disk, "db", SALVAGE)
            assert keys_in(engine) == whole, (fs.calls[-1], loss)
            engine.close()
            assert LOG + ".damaged" in disk.contents(), (fs.calls[-1], loss)
    assert crash_at > 10


def test_python_asks_for_it_by_name(tmp_path):
    path = tmp_path / "shop"
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        db.execute("INSERT INTO t VALUES (1)")
        db.execute("INSERT INTO t VALUES (2)")
    log = path / "000001.wal"
    data = bytearray(log.read_bytes())
    records = [r for r in read_records(bytes(data), 1) if isinstance(r, SeenRecord)]
    data[records[1].offset + 30] ^= 1
    log.write_bytes(data)
    with pytest.raises(CorruptionError):
        ferrisdb.open(path)
    with ferrisdb.open(path, recovery="salvage") as db:
        assert db.query("SELECT a FROM t").all() == [(2,)]
        assert db.recovery_report is not None
        assert db.recovery_report.damages[0].first_commit == 2
    with ferrisdb.open(path, recovery="strict") as db:
        assert db.recovery_report is None
    with pytest.raises(InvalidParameterValue, match="no recovery mode 'hope'"):
        ferrisdb.open(path, recovery="hope")


def test_a_range_that_the_damaged_log_deletes_is_deleted_after_the_mending():
    env = MemoryEnv()
    engine = Engine.open(env, "db")
    engine.commit({b"%c" % letter: b"old" for letter in b"abcdef"})
    engine.flush()
    engine.commit({b"lost": b"x" * 40})
    engine.commit({b"b": b"again"}, deleted_ranges=[(b"a", b"d")])
    engine.close()
    (log,) = [name for name in env.list_directory("db") if name.endswith(".wal")]
    data = env.read_file(f"db/{log}").replace(b"x" * 40, b"y" * 40)
    file = env.create(f"db/{log}")
    file.append(data)

    for options in (SALVAGE, StorageOptions()):
        engine = Engine.open(env, "db", options)
        found = engine.scan(b"", None, engine.visible_timestamp)
        pairs = {key: value for keys, values in found for key, value in zip(keys, values, strict=True)}
        assert pairs == {b"b": b"again", b"d": b"old", b"e": b"old", b"f": b"old"}
        engine.close()

"""A checkpoint is a database of its own with the same contents, made while commits go on."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from backup_lab import FOLDER, SMALL, TARGET, Lab, rows_in

from ferrisdb.errors import CorruptionError, DatabaseLocked, DiskFull, FolderNotEmpty, NotADatabase
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.pinned_tables import pin_tables
from ferrisdb.storage.sources import LiveSources


class WithoutLinks(MemoryEnv):
    """A file system without hard links."""

    def link(self, source: str, target: str) -> bool:
        return False


@pytest.mark.parametrize("env", [MemoryEnv(), WithoutLinks()], ids=["linked", "copied"])
def test_a_checkpoint_equals_the_database_and_goes_its_own_way(env: MemoryEnv) -> None:
    lab = Lab(env)
    lab.write(random.Random(1), 60)
    lab.engine.checkpoint(TARGET)
    then, last = dict(lab.rows), lab.commits

    # What the database does later, compaction of the shared tables among it, is its own affair.
    lab.collect()
    lab.write(random.Random(2), 60)
    lab.engine.flush()
    lab.engine.wait_until_compacted()
    lab.engine.close()

    assert rows_in(env, TARGET) == (then, last)
    assert rows_in(env, FOLDER)[0] == lab.rows


def test_an_empty_database_has_a_checkpoint_too() -> None:
    lab = Lab()
    lab.engine.checkpoint(TARGET)
    assert rows_in(lab.env, TARGET) == ({}, 0)
    lab.engine.close()


def test_tables_are_not_copied_where_links_are_possible(tmp_path: Path) -> None:
    engine = Engine.open(OsEnv(), (tmp_path / "db").as_posix())
    engine.commit({b"k": b"v"})
    engine.checkpoint((tmp_path / "a" / "copy").as_posix())
    (table,) = (tmp_path / "db").glob("*.sst")
    assert (tmp_path / "a" / "copy" / table.name).samefile(table)
    engine.close()
    assert rows_in(OsEnv(), (tmp_path / "a" / "copy").as_posix()) == ({b"k": b"v"}, 1)


def test_a_database_in_memory_is_copied_to_the_disk(tmp_path: Path) -> None:
    lab = Lab()
    lab.write(random.Random(3), 40)
    lab.engine.checkpoint((tmp_path / "copy").as_posix(), OsEnv())
    lab.engine.close()
    assert rows_in(OsEnv(), (tmp_path / "copy").as_posix()) == (lab.rows, lab.commits)


@pytest.mark.parametrize("what", ["a file", "a full folder", "a database", "an unfinished copy"])
def test_a_target_that_is_not_empty_is_refused_and_left_alone(what: str) -> None:
    lab = Lab()
    lab.write(random.Random(4), 10)
    env = lab.env
    env.make_directory("data/new")
    target = TARGET
    if what == "a file":
        env.create(TARGET)
    elif what == "a database":
        target = FOLDER
    else:
        env.make_directory(TARGET)
        env.create(f"{TARGET}/UNFINISHED" if "copy" in what else f"{TARGET}/thesis.txt")
    lab.engine.flush()
    before = env.copy()

    with pytest.raises(FolderNotEmpty) as caught:
        lab.engine.checkpoint(target)
    assert "remove that folder" in (caught.value.hint or "") or what != "an unfinished copy"
    for folder in ("data", "data/new", FOLDER):
        assert env.list_directory(folder) == before.list_directory(folder)
    lab.engine.close()


def test_a_folder_in_which_a_copy_is_being_made_is_locked() -> None:
    lab = Lab()
    lab.env.make_directory(TARGET)
    lock = lab.env.lock(f"{TARGET}/LOCK")
    with pytest.raises(DatabaseLocked):
        lab.engine.checkpoint(TARGET)
    lock.release()
    lab.engine.checkpoint(TARGET)
    lab.engine.close()
    assert rows_in(lab.env, TARGET) == ({}, 0)


def test_an_unfinished_copy_is_not_taken_for_a_database() -> None:
    """Without its mark it would look like a place for a new one, and be empty."""
    env = MemoryEnv()
    env.make_directory(TARGET)
    env.create(f"{TARGET}/UNFINISHED")
    with pytest.raises(NotADatabase, match="did not finish"):
        Engine.open(env, TARGET)


class FullDisk(MemoryEnv):
    """Has no hard links, and only so much room for new files."""

    room_bytes = 1 << 60

    def link(self, source: str, target: str) -> bool:
        return False

    def create(self, path: str) -> AppendFile:
        file = super().create(path)
        append = file.append

        def append_if_it_fits(data: bytes) -> None:
            if len(data) > self.room_bytes:
                raise DiskFull(f"cannot write to {path}: no room")
            self.room_bytes -= len(data)
            append(data)

        file.append = append_if_it_fits  # type: ignore[method-assign]
        return file


@pytest.mark.parametrize("room_bytes", [10, 600, 2000, 3500])
def test_a_disk_that_fills_up_leaves_nothing_behind_and_the_call_can_be_repeated(room_bytes: int) -> None:
    env = FullDisk()
    lab = Lab(env)
    lab.write(random.Random(5), 80)
    lab.engine.flush()
    env.room_bytes = room_bytes
    with pytest.raises(DiskFull):
        lab.engine.checkpoint(TARGET)
    assert env.list_directory(TARGET) == ["LOCK"]

    env.room_bytes = 1 << 60
    lab.engine.checkpoint(TARGET)
    lab.engine.close()
    assert rows_in(env, TARGET) == (lab.rows, lab.commits)


def test_a_damaged_table_is_not_copied_and_the_error_says_where() -> None:
    lab = Lab(WithoutLinks())
    lab.write(random.Random(6), 20)
    lab.engine.flush()
    # A compaction would take the damaged table out of the way.
    lab.engine.wait_until_compacted()
    name = table_name(lab.engine._sources.now.tables[0].number)
    data = bytearray(lab.env.read_file(f"{FOLDER}/{name}"))
    data[20] ^= 1
    lab.env.create(f"{FOLDER}/{name}").append(bytes(data))
    with pytest.raises(CorruptionError) as caught:
        lab.engine.checkpoint(TARGET)
    assert (caught.value.file, caught.value.offset) == (f"{FOLDER}/{name}", 16)
    lab.engine.close()


def test_the_moment_between_the_manifest_and_the_readers_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flush has told the manifest of its table, and the readers not yet."""
    lab = Lab()
    lab.write(random.Random(7), 1)
    between, go_on = threading.Event(), threading.Event()
    swap = LiveSources.replace_oldest_memtable

    def slow_swap(sources: LiveSources, table: object) -> None:
        between.set()
        go_on.wait(10)
        swap(sources, table)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveSources, "replace_oldest_memtable", slow_swap)
    flushing = threading.Thread(target=lab.engine.flush)
    flushing.start()
    between.wait(10)
    found: list[set[int]] = []

    def pin() -> None:
        # Without the flush, which would wait by itself.
        engine = lab.engine
        pinned = pin_tables(engine._env, FOLDER, engine._manifest, engine._sources, engine.check_writable)
        assert {entry.number for entry in pinned.state.tables} == {t.number for t in pinned.sources.tables}
        found.append({entry.number for entry in pinned.state.tables})

    pinning = threading.Thread(target=pin)
    pinning.start()
    pinning.join(0.2)
    assert found == []
    go_on.set()
    pinning.join(10)
    flushing.join(10)
    assert len(found) == 1
    lab.engine.close()


def test_checkpoints_while_writers_commit_and_compaction_replaces_tables(tmp_path: Path) -> None:
    """Each has all commits that had returned before, and none in part."""
    env = OsEnv()
    engine = Engine.open(env, (tmp_path / "db").as_posix(), SMALL)
    engine.collect_below(lambda: engine.visible_timestamp)
    stop = threading.Event()
    acknowledged = [0, 0]

    def work(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            value = b"%d" % number
            engine.commit(
                {b"a%d" % thread: value, b"b%d" % thread: value, b"fill%d" % (number % 50): value * 9}
            )
            acknowledged[thread] = number

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(2)]
    for each in threads:
        each.start()
    try:
        for turn in range(8):
            due = list(acknowledged)
            engine.checkpoint((tmp_path / f"copy{turn}").as_posix())
            rows, _ = rows_in(env, (tmp_path / f"copy{turn}").as_posix())
            for thread in range(2):
                assert rows.get(b"a%d" % thread) == rows.get(b"b%d" % thread)
                assert int(rows.get(b"a%d" % thread, b"0")) >= due[thread]
    finally:
        stop.set()
        for each in threads:
            each.join()
    engine.wait_until_compacted()
    assert engine.statistics().compactions > 0
    engine.close()

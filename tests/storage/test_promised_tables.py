"""Recovery reads no table: each is read by the first who needs it, and only that one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ferrisdb.errors import CorruptionError, InterfaceError, StorageError
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import ReadFile
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.manifest import ManifestEdit, TableEntry
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.obsolete_tables import ObsoleteTables, Unread
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable

PATH = "db/000007.sst"
ROWS = [(b"k%03d" % number, 5, b"v%d" % number if number % 7 else None) for number in range(200)]
FOUR_TABLES = StorageOptions(table_bytes=8000, compaction_start_tables=2)


class CountingEnv(MemoryEnv):
    def __init__(self) -> None:
        super().__init__()
        self.read_tables: list[str] = []

    def open_read(self, path: str) -> ReadFile:
        if path.endswith(".sst"):
            self.read_tables.append(path)
        return super().open_read(path)


def closed_database(env: MemoryEnv) -> None:
    """Compacted: a row of tables in the last level, with disjoint keys."""
    with_all = Engine.open(env, "db", FOUR_TABLES)
    with_all.collect_below(lambda: with_all._visible_timestamp)
    for part in range(4):
        with_all.commit({b"key%05d" % number: bytes(80) for number in range(part, 1200, 4)})
        with_all.flush()
    with_all.wait_until_compacted()
    with_all.close()


def promised(env: MemoryEnv, cache: BlockCache | None = None) -> tuple[SSTableReader, SSTableReader]:
    """The same table twice: opened, and promised."""
    env.make_directory("db")
    write_sstable(env, PATH, ROWS, block_bytes=200)
    sure = SSTableReader.open(env, PATH, 7, BlockCache(0))
    cache = BlockCache(1 << 20) if cache is None else cache
    known = {"properties": sure.properties, "fewest_keys": sure.fewest_keys}
    return sure, SSTableReader.promised(env, PATH, 7, cache, **known)


def change_entry(env: MemoryEnv, **changes: object) -> TableEntry:
    """Let the manifest say something else of its first table."""
    engine = Engine.open(env, "db", FOUR_TABLES)
    entry = engine._manifest.state.tables[0]
    wrong = replace(entry, **changes)
    engine._manifest.apply(ManifestEdit(added=(wrong,), removed=(entry.number,)))
    engine.close()
    return wrong


# --- what is read, and when -------------------------------------------------------------


def test_only_the_table_that_is_asked_for_is_read() -> None:
    env = CountingEnv()
    closed_database(env)
    env.read_tables.clear()
    engine = Engine.open(env, "db", replace(FOUR_TABLES, compaction_start_tables=4))
    tables = engine._sources.now.tables
    assert len(tables) >= 4
    engine.collect_below(lambda: engine._visible_timestamp)
    engine.wait_until_compacted()
    engine.statistics()
    engine.pin_tables().checksums()
    assert env.read_tables == []

    middle = tables[len(tables) // 2]
    for _ in range(2):
        assert engine.read(middle.properties.smallest_key, engine.visible_timestamp) == bytes(80)
    assert env.read_tables == [f"db/{table_name(middle.number)}"]

    env.read_tables.clear()
    engine.commit({b"new": b"row"})
    engine.flush()
    engine.wait_until_compacted()
    engine.statistics()
    (flushed,) = engine._sources.now.level_zero
    assert env.read_tables == [f"db/{table_name(flushed.number)}"]
    engine.close()
    assert len(env.read_tables) == 1


def test_a_promised_table_answers_as_an_open_one() -> None:
    sure, table = promised(MemoryEnv())
    assert table.has_only_newest == sure.has_only_newest
    for number in range(-1, 201):
        key = b"k%03d" % number
        assert table.read(key, 9) == sure.read(key, 9)
        assert table.newest_timestamp(key) == sure.newest_timestamp(key)
    assert list(table.offsets) == list(sure.offsets)
    for ask in (
        lambda it: list(it.entries()),
        lambda it: list(it.runs()),
        lambda it: list(it.chunks(b"k01", b"k15", 9)),
        lambda it: list(it.chunks(b"", None, 9, reverse=True)),
        lambda it: it.blocks_between(b"k01", b"k02"),
        lambda it: it.newest_timestamp_in(b"k01", b"k02"),
        lambda it: it.holds_below(b"k01", b"k02", 6),
    ):
        # Each is the first to ask a table of its own.
        assert ask(promised(MemoryEnv())[1]) == ask(sure)


def test_many_who_come_at_once_read_it_once() -> None:
    class SlowDisk(CountingEnv):
        def open_read(self, path: str) -> ReadFile:
            time.sleep(0.05)  # The others come while the first is at it.
            return super().open_read(path)

    env = SlowDisk()
    sure, table = promised(env)
    env.read_tables.clear()
    start, found = threading.Barrier(8), []

    def ask(number: int) -> None:
        start.wait()
        found.append(table.read(b"k%03d" % number, 9) == sure.read(b"k%03d" % number, 9))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert env.read_tables == [PATH]


# --- promises that are not kept ---------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"tombstone_count": 3},
        {"fewest_keys": 1},
        {"blocks_checksum": 7},
        {"entry_count": 1000},
        {"smallest_key": b"key"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_table_than_the_manifest_names_gives_no_row(changes: dict[str, object]) -> None:
    env = MemoryEnv()
    closed_database(env)
    wrong = change_entry(env, **changes)
    engine = Engine.open(env, "db", FOUR_TABLES)
    for _ in range(2):
        with pytest.raises(CorruptionError, match="not the one that the manifest names") as error:
            engine.read(wrong.largest_key, engine.visible_timestamp)
        assert error.value.file == f"db/{table_name(wrong.number)}"
    engine.close()
    assert any(finding.file == error.value.file for finding in check_folder(env, "db").findings)


@pytest.mark.parametrize("process_bytes", [0, 1 << 30], ids=["in a child", "in the thread"])
def test_another_table_than_the_manifest_names_is_not_compacted_into_those_that_are_right(
    process_bytes: int, tmp_path: Path
) -> None:
    # Given two databases with tables of the same number, of as many rows, of the same keys.
    options = StorageOptions(compaction_start_tables=3, compaction_process_bytes=process_bytes)
    env = OsEnv()
    for folder, value in (("right", b"right"), ("other", b"other")):
        engine = Engine.open(env, f"{tmp_path}/{folder}", options)
        for first in (0, 1):
            engine.commit({b"key%03d" % number: value for number in range(first, 40, 2)})
            engine.flush()
        swapped = engine._sources.now.level_zero[0].number
        engine.close()
    # When one gets into the place of the other, and the first who reads it is a compaction,
    right = tmp_path / "right" / table_name(swapped)
    right.write_bytes((tmp_path / "other" / table_name(swapped)).read_bytes())
    engine = Engine.open(env, f"{tmp_path}/right", options)
    engine.commit({b"one": b"more"})
    engine.flush()
    # then it says so, and the right tables are still there for whoever has the right file.
    with pytest.raises(StorageError, match=f"not the one that the manifest names .*{table_name(swapped)}"):
        engine.wait_until_compacted()
    assert engine.statistics().compactions == 0
    engine.close()
    assert [finding.file for finding in check_folder(env, f"{tmp_path}/right").findings] == [str(right)]


@pytest.mark.parametrize("missing", ["tombstone_count", "fewest_keys", "blocks_checksum"])
def test_an_entry_that_does_not_say_all_is_opened_at_once(missing: str) -> None:
    env = CountingEnv()
    closed_database(env)
    old = change_entry(env, **{missing: None})
    env.read_tables.clear()
    Engine.open(env, "db", FOUR_TABLES).close()
    assert env.read_tables == [f"db/{table_name(old.number)}"]
    assert check_folder(env, "db").findings == ()


def test_after_a_read_that_failed_the_next_one_tries_again() -> None:
    env = MemoryEnv()
    sure, table = promised(env)
    env.rename(PATH, "db/away")
    with pytest.raises(CorruptionError, match="a table is missing"):
        table.read(b"k001", 9)
    env.rename("db/away", PATH)
    assert table.read(b"k001", 9) == sure.read(b"k001", 9) == b"v1"


# --- the end of a table that nobody has read ---------------------------------------------


def test_a_table_that_was_never_read_is_closed_and_dropped_without_being_read() -> None:
    env = CountingEnv()
    _, table = promised(env)
    env.read_tables.clear()
    told: list[Unread] = []
    obsolete = ObsoleteTables(env, "db", BlockCache(0), told.append)
    obsolete.add([table])
    del table
    obsolete.remove(told[0])
    assert not env.exists(PATH)
    assert env.read_tables == []

    _, other = promised(env)
    env.read_tables.clear()
    other.close()
    with pytest.raises(InterfaceError, match=r"000007\.sst is closed"):
        other.read(b"k001", 9)
    assert env.read_tables == []


def test_blocks_that_were_read_after_it_became_obsolete_leave_the_cache_with_it() -> None:
    env, cache = MemoryEnv(), BlockCache(1 << 20)
    _, table = promised(env, cache)
    told: list[Unread] = []
    obsolete = ObsoleteTables(env, "db", cache, told.append)
    obsolete.add([table])
    assert table.read(b"k001", 9) == b"v1"
    assert cache.size_bytes > 0
    del table
    obsolete.remove(told[0])
    assert cache.size_bytes == 0

"""An ingest step by step: what must be so before the next one begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from tree_checker import TINY, TINY_TIERED, contents, table_files

from ferrisdb.errors import CorruptionError, InterfaceError, TransactionTooLarge
from ferrisdb.storage import ingest as ingest_module
from ferrisdb.storage.compaction_filter import Expiry
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.testing import FaultyEnv
from ferrisdb.testing.crash_fs import CrashFS

FOLDER = "db"
STILL = replace(TINY, compaction_start_tables=100, compaction_slow_tables=200, compaction_stop_tables=300)
WAIT_S = 20.0  # Long beyond doubt.
NOON_S = 1_800_000_000.0


def rows(first: int, stop: int, value: bytes = b"ingested") -> list[tuple[bytes, bytes]]:
    return [(b"k%04d" % number, value) for number in range(first, stop)]


def test_readers_are_told_of_the_commit_when_its_tables_are_there() -> None:
    """The other way about, a reader in between would find half of the newest commit: nothing."""
    engine = Engine.open(MemoryEnv(), FOLDER, STILL)
    engine.commit({b"k0003": b"old"})
    seen: list[tuple[int, dict[bytes, bytes]]] = []
    add = engine._sources.add_ingested

    def look_and_add(*args: object) -> None:
        seen.append((engine.visible_timestamp, contents(engine)))
        add(*args)  # type: ignore[arg-type]
        seen.append((engine.visible_timestamp, contents(engine)))

    engine._sources.add_ingested = look_and_add  # type: ignore[method-assign]
    engine.ingest(rows(0, 60))
    assert seen == [(1, {b"k0003": b"old"})] * 2
    assert (engine.visible_timestamp, contents(engine)) == (2, dict(rows(0, 60)))
    engine.close()


def test_rows_expire_by_the_time_of_their_ingest() -> None:
    env = MemoryEnv()
    now_s = NOON_S
    env.time_of_day = lambda: now_s
    engine = Engine.open(env, FOLDER, replace(STILL, expiries=(Expiry(b"session/", 600),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.ingest([(b"session/%d" % number, b"data") for number in range(9)])

    for elapsed_s, rows_left in [(500, 9), (700, 0)]:
        now_s = NOON_S + elapsed_s
        engine.wait_until_compacted()
        assert len(contents(engine)) == rows_left
    engine.close()


def test_nothing_is_taken_from_the_caller_for_a_database_that_is_closed() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER, STILL)
    taken = 0

    def without_end() -> Iterator[tuple[bytes, bytes]]:
        nonlocal taken
        for number in count():
            taken += 1
            if taken == 50:
                engine.close()
            assert taken < 1_000
            yield b"k%09d" % number, b"v"

    with pytest.raises(InterfaceError, match="closed"):
        engine.ingest(without_end())


def test_it_waits_for_room_in_level_zero_while_others_commit() -> None:
    class HeldEnv(MemoryEnv):
        go_on = threading.Event()

        def create(self, path: str):  # type: ignore[no-untyped-def]
            if threading.current_thread().name == "ferrisdb-compact":
                assert self.go_on.wait(WAIT_S)
            return super().create(path)

    env = HeldEnv()
    options = replace(
        TINY_TIERED, compaction_start_tables=2, compaction_slow_tables=2, compaction_stop_tables=2
    )
    engine = Engine.open(env, FOLDER, options)
    for _ in range(2):
        engine.commit({b"k0001": b"old"})
        engine.flush()
    ingest = threading.Thread(target=lambda: engine.ingest(rows(0, 3)), daemon=True)
    ingest.start()
    while engine.statistics().stops == 0 and ingest.is_alive():
        time.sleep(0.001)
    assert ingest.is_alive()
    assert engine.commit({b"meanwhile": b"1"}) == 3
    env.go_on.set()
    ingest.join(WAIT_S)
    assert contents(engine) == {**dict(rows(0, 3)), b"meanwhile": b"1"}
    engine.close()


def test_a_reader_beside_the_writer_shows_no_ingest_that_a_power_cut_could_take_back() -> None:
    """Between the writing of the manifest's edit and its sync, where only a reader can see it."""
    fs = CrashFS()
    env = FaultyEnv(fs)
    writer = Engine.open(env, FOLDER, STILL)
    writer.commit({b"k0003": b"old"})
    reader = ReadOnlyEngine.open(fs, FOLDER, STILL)
    shown: list[int] = []

    def look(call: str) -> None:
        if call.startswith(f"sync {FOLDER}/MANIFEST"):
            reader.refresh()
            shown.append(reader.visible_timestamp)
            for loss, disk in fs.disks_after_crash():
                again = Engine.open(disk, FOLDER, STILL)
                assert again.visible_timestamp >= shown[-1], loss
                again.close()

    env.before_call = look
    writer.ingest(rows(0, 3))
    assert shown[-1] == 2
    reader.close()
    writer.close()


def test_a_file_that_is_not_the_one_that_was_written_is_not_taken() -> None:
    """Its name is a number and a mark; whatever lies there when it gets its name is looked at."""

    class MixedUpEnv(MemoryEnv):
        def rename(self, source: str, target: str) -> None:
            if target.endswith(".sst"):
                self.remove(source)
                write_sstable(self, source, [(b"k0000", 0, b"another")], block_bytes=100)
            super().rename(source, target)

    env = MixedUpEnv()
    engine = Engine.open(env, FOLDER, STILL)
    with pytest.raises(CorruptionError, match="not the one that was written"):
        engine.ingest(rows(0, 3))
    assert table_files(env, FOLDER) == []
    assert contents(engine) == {}
    assert engine.commit({b"a": b"1"}) == 1
    engine.close()


def test_one_edit_names_so_many_tables_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    assert engine.ingest(rows(0, 60)) == 60
    tables = table_files(env, FOLDER)
    monkeypatch.setattr(ingest_module, "MAX_TABLES", len(tables))
    assert engine.ingest(rows(100, 160)) == 60
    files = env.list_directory(FOLDER)
    with pytest.raises(TransactionTooLarge, match=f"would begin table {len(tables) + 1}") as caught:
        engine.ingest(rows(200, 300))
    assert "several parts" in str(caught.value.hint)
    assert env.list_directory(FOLDER) == files
    engine.close()

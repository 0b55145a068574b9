"""Ingested data is one commit: newest, whole, ordered, and no file is left when it is refused.

`test_engine_model` mixes ingests with all else; here is what it cannot see.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tree_checker import STYLES, TINY, TINY_TIERED, check_tree, contents, table_files

from ferrisdb.errors import (
    CorruptionError,
    DiskFull,
    Error,
    InterfaceError,
    InvalidParameterValue,
    KeyTooLarge,
    ReadOnlyStore,
    StorageError,
)
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.checkpoint import write_checkpoint
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.event_hub import Subscription
from ferrisdb.storage.events import TableAdded
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.limits import MAX_KEY_BYTES
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Compression, StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.storage.salvage import salvage
from ferrisdb.storage.wal import SegmentReader
from ferrisdb.testing import Fault, FaultyEnv
from ferrisdb.testing.crash_fs import CrashFS

FOLDER = "db"
STILL = replace(TINY, compaction_start_tables=100, compaction_slow_tables=200, compaction_stop_tables=300)
"""Level 0 stays as it is."""


def rows(first: int, stop: int, value: bytes = b"ingested") -> list[tuple[bytes, bytes]]:
    return [(b"k%04d" % number, value) for number in range(first, stop)]


def levels_of(engine: Engine) -> dict[int, int]:
    """By the commit that ingested a table: how deep it lies."""
    entries = engine._manifest.state.tables
    return {entry.ingested_at: entry.level for entry in entries if entry.ingested_at}


# --- what is there


def test_an_ingest_is_one_commit_that_older_snapshots_do_not_see() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER, STILL)
    engine.commit({b"k0003": b"old", b"z": b"other"})
    before = contents(engine)

    assert engine.ingest(rows(0, 500)) == 500

    assert engine.visible_timestamp == 2
    assert contents(engine) == {**before, **dict(rows(0, 500))}
    assert contents(engine, 1) == before
    assert engine.read(b"k0003", 1) == b"old"
    assert engine.read(b"k0200", 1) is None
    assert engine.read_many([b"k0003", b"k0499", b"z"], 2) == [b"ingested", b"ingested", b"other"]
    assert engine.newest_timestamp(b"k0200", 1) == 2
    assert engine.newest_timestamp(b"k0200", 2) == 0
    assert engine.newest_timestamp_in(b"k0100", b"k0200", 0) == 2
    assert engine.newest_timestamp_in(b"z", None, 1) == 0
    engine.close()


def test_a_range_that_is_deleted_later_hides_what_was_ingested_and_an_earlier_one_does_not() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    engine.commit({}, deleted_ranges=[(b"k0000", b"k0010")])
    engine.ingest(rows(0, 40))
    engine.commit({}, deleted_ranges=[(b"k0020", None)])

    for _ in range(2):
        assert contents(engine) == dict(rows(0, 20))
        assert contents(engine, 2) == dict(rows(0, 40))
        engine.close()
        engine = Engine.open(env, FOLDER, STILL)
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.flush()
    engine.wait_until_compacted()
    assert contents(engine) == dict(rows(0, 20))
    engine.close()


def test_nothing_to_ingest_is_no_commit() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER)
    engine.commit({b"a": b"1"})
    assert engine.ingest(iter(())) == 0
    assert engine.visible_timestamp == 1
    engine.close()


def test_the_empty_key_comes_first() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER)
    assert engine.ingest([(b"", b"nothing before"), (b"\0", b"next")]) == 2
    assert engine.read(b"", 1) == b"nothing before"
    engine.close()


def test_commits_go_on_behind_an_ingest_however_the_log_was_left() -> None:
    """The first record behind the manifest's last commit must be the next: a log with a mark of
    an earlier one, as closing leaves it, would not open again."""
    env = MemoryEnv()
    expected: dict[bytes, bytes] = {}
    for turn in range(6):
        engine = Engine.open(env, FOLDER)
        if turn % 3 == 1:
            engine.commit({b"in the log": b"%d" % turn})
            expected[b"in the log"] = b"%d" % turn
        engine.ingest(rows(turn, turn + 10, b"%d" % turn))
        expected |= rows(turn, turn + 10, b"%d" % turn)
        if turn % 3 == 2:
            engine.commit({b"behind": b"%d" % turn})
            expected[b"behind"] = b"%d" % turn
        last = engine.visible_timestamp
        assert contents(engine) == expected
        engine.close()
        assert check_folder(env, FOLDER).findings == ()
        again = Engine.open(env, FOLDER)
        assert (again.visible_timestamp, contents(again)) == (last, expected)
        again.close()


# --- where it goes


def test_a_table_goes_as_deep_as_nothing_is_in_its_way() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER, STILL)
    engine._compactor.stop()  # It would tidy up between the looks.
    engine.ingest(rows(0, 5))
    engine.ingest(rows(10, 15))
    engine.ingest(rows(3, 12))
    engine.commit({b"k0002": b"newer"})
    engine.flush()
    engine.ingest(rows(2, 3))
    engine.ingest(rows(4, 6))

    # Two in the last, one over both; then one under which a flushed table lies, and one whose
    # way is free down to level 4.
    assert levels_of(engine) == {1: 6, 2: 6, 3: 5, 5: 0, 6: 4}
    check_tree(engine)
    assert engine.read(b"k0002", 6) == b"ingested"
    engine.close()


@pytest.mark.parametrize("style", STYLES)
def test_compaction_writes_the_commit_into_the_rows(style: str) -> None:
    engine = Engine.open(MemoryEnv(), FOLDER, STYLES[style])
    history = [contents(engine)]
    for turn in range(12):
        pairs = rows(turn * 7, turn * 7 + 30, b"turn %d" % turn)
        engine.ingest(pairs)
        history.append({**history[-1], **dict(pairs)})
    engine.wait_until_compacted()

    check_tree(engine)
    for timestamp, expected in enumerate(history):
        assert contents(engine, timestamp) == expected
    engine.close()


def test_a_table_does_not_go_between_the_inputs_of_a_compaction() -> None:
    """Its output may span them: two tables of one level would overlap."""

    class HeldEnv(MemoryEnv):
        began, go_on = threading.Event(), threading.Event()

        def create(self, path: str):  # type: ignore[no-untyped-def]
            if threading.current_thread().name == "ferrisdb-compact" and not self.began.is_set():
                self.began.set()
                assert self.go_on.wait(20)
            return super().create(path)

    env = HeldEnv()
    engine = Engine.open(env, FOLDER, replace(TINY_TIERED, compaction_start_tables=3, table_bytes=10_000))
    # The first two meet, or all would only be moved; between b and y there is nothing.
    for keys in (b"ab", b"ab", b"yz"):
        engine.commit({b"%c" % key: b"flushed" for key in keys})
        engine.flush()
    assert env.began.wait(20)
    engine.ingest([(b"m", b"ingested")])
    assert levels_of(engine) == {4: 0}
    env.go_on.set()
    engine.wait_until_compacted()
    check_tree(engine)
    assert engine.statistics().compactions == 1
    assert contents(engine) == {**dict.fromkeys([b"a", b"b", b"y", b"z"], b"flushed"), b"m": b"ingested"}
    engine.close()


def test_a_child_process_compacts_what_was_ingested(tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = replace(TINY, compaction_process_bytes=0, compaction_start_tables=1)
    engine = Engine.open(OsEnv(), str(tmp_path / FOLDER), options)
    engine.commit({b"k0000": b"old", b"k0020": b"old"})
    engine.flush()
    engine.wait_until_compacted()
    engine.ingest(rows(0, 30))
    engine.commit({b"k0000": b"newer"})
    engine.flush()
    engine.wait_until_compacted()

    assert not levels_of(engine) or engine.statistics().compactions
    assert contents(engine) == {**dict(rows(0, 30)), b"k0000": b"newer"}
    assert contents(engine, 2) == dict(rows(0, 30))
    check_tree(engine)
    engine.close()


# --- who else opens the tables


def test_a_reader_beside_the_writer_sees_an_ingest_as_one_step() -> None:
    fs = CrashFS()
    env = FaultyEnv(fs)
    writer = Engine.open(env, FOLDER, STILL)
    history = [contents(writer)]
    reader = ReadOnlyEngine.open(fs, FOLDER, STILL)
    looks = 0

    mutex = threading.Lock()
    wrong: list[str] = []

    def look(call: str) -> None:
        nonlocal looks
        with mutex:
            looks += 1
            reader.refresh()
            at = reader.visible_timestamp
            batches = reader.scan(b"", None, at)
            found = {key: value for batch in batches for key, value in zip(*batch, strict=True)}
            if found != history[at]:
                # Raised here it would look like a disk that failed.
                wrong.append(call)

    env.before_call = look
    for turn in range(3):
        history.append({**history[-1], b"in the log": b"%d" % turn})
        writer.commit({b"in the log": b"%d" % turn})
        history.append({**history[-1], **dict(rows(turn, turn + 20, b"%d" % turn))})
        writer.ingest(rows(turn, turn + 20, b"%d" % turn))
    writer.close()
    look("the end")
    assert wrong == []
    assert looks > 30
    assert reader.visible_timestamp == 6
    with pytest.raises(ReadOnlyStore):
        reader.ingest([(b"a", b"b")])
    reader.close()


def test_checks_and_checkpoints_honour_it_and_find_another_table_in_its_place() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, replace(STILL, compression=Compression.NONE))
    engine.commit({b"k0001": b"old"})
    engine.ingest(rows(0, 30))
    copy = MemoryEnv()
    write_checkpoint(engine.pin_tables(), copy, "copy")
    expected = contents(engine)
    number = next(entry.number for entry in engine._manifest.state.tables if entry.ingested_at)
    engine.close()

    assert check_folder(copy, "copy").findings == ()
    restored = Engine.open(copy, "copy")
    assert contents(restored) == expected
    assert contents(restored, 1) == {b"k0001": b"old"}
    restored.close()

    # A table with commits of its own in place of the ingested one.
    other = Engine.open(env, "other")
    other.commit(dict(rows(0, 30)))
    other.flush()
    foreign = next(iter(table_files(env, "other")))
    other.close()
    path = f"{FOLDER}/{table_name(number)}"
    data = env.read_file(f"other/{foreign}")
    env.remove(path)
    file = env.create(path)
    file.append(data)
    file.sync()
    swapped = Engine.open(env, FOLDER, STILL)
    with pytest.raises(CorruptionError) as refused:
        contents(swapped)
    assert refused.value.file == path
    swapped.close()
    assert check_folder(env, FOLDER).findings != ()


def test_salvage_knows_the_commit_from_the_manifest_and_says_so_when_it_does_not() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    engine.commit({b"k0001": b"older", b"k0005": b"older"})
    engine.ingest(rows(0, 30))
    engine.commit({b"k0005": b"newer"})
    expected = contents(engine)
    engine.close()

    report = salvage(env, FOLDER, "new")
    assert not report.has_lost
    saved = Engine.open(env, "new")
    assert contents(saved) == expected
    saved.close()

    for name in env.list_directory(FOLDER):
        if name.startswith("MANIFEST"):
            env.remove(f"{FOLDER}/{name}")
    report = salvage(env, FOLDER, "without")
    assert any("it was ingested, and no manifest says with which commit" in note for note in report.notes)
    saved = Engine.open(env, "without")
    assert contents(saved).keys() == expected.keys()
    assert saved.read(b"k0001", saved.visible_timestamp) == b"older"
    saved.close()


def test_the_engine_tells_what_it_has_ingested() -> None:
    engine = Engine.open(MemoryEnv(), FOLDER, STILL)
    events: Subscription = engine.events.subscribe(timeout_s=0)
    engine.ingest(rows(0, 100))
    added = [event.table for event in events if isinstance(event, TableAdded)]
    statistics = engine.statistics()
    assert len(added) == statistics.ingested_tables == statistics.live_tables > 1
    assert sum(table.file_bytes for table in added) == statistics.ingested_bytes
    assert {table.level for table in added} == {6}
    assert statistics.log_bytes == 0
    assert statistics.commits == 1
    engine.close()


# --- what is refused


class Bad(Exception):
    """Of the caller's own."""


def raises_in_the_middle() -> Iterator[tuple[bytes, bytes]]:
    yield from rows(0, 100)
    raise Bad


@pytest.mark.parametrize(
    ("pairs", "error", "says"),
    [
        ([*rows(0, 60), (b"k0002", b"")], InvalidParameterValue, "pair 60: the key b'k0002' comes"),
        ([*rows(0, 60), *rows(59, 60)], InvalidParameterValue, "pair 60: the key b'k0059' is there twice"),
        ([(b"", b"1"), (b"", b"2")], InvalidParameterValue, "pair 1: the key b'' is there twice"),
        ([("text", b"")], InterfaceError, "pair 0: a key and a value are bytes"),
        ([(b"a", b""), (b"b", None)], InterfaceError, "pair 1: a key and a value are bytes"),
        ([(b"a", b""), (b"b",)], InterfaceError, "pair 1 is not a key and a value"),
        ([(b"a", b""), 7], InterfaceError, "pair 1 is not a key and a value"),
        (7, InterfaceError, "what is ingested must be pairs of key and value, not 7"),
        ([(b"a" * (MAX_KEY_BYTES + 1), b"")], KeyTooLarge, "pair 0: the key has 65536 bytes"),
        ([(b"k", b""), (b"s", b"")], InvalidParameterValue, "pair 1: keys from 0x73 on belong to SQL: b's'"),
        (raises_in_the_middle(), Bad, ""),
    ],
)
def test_bad_input_is_named_by_its_position_and_nothing_has_changed(
    pairs: object, error: type[Exception], says: str
) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    engine.commit({b"k0002": b"old"})
    files = env.list_directory(FOLDER)
    with pytest.raises(error) as caught:
        engine.ingest(pairs, below=b"s")  # type: ignore[arg-type]
    assert str(caught.value).startswith(says)
    assert env.list_directory(FOLDER) == files
    assert contents(engine) == {b"k0002": b"old"}
    assert engine.commit({b"b": b"2"}) == 2
    engine.close()


def test_a_closed_database_ingests_no_more() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)

    def closes_in_the_middle() -> Iterator[tuple[bytes, bytes]]:
        yield from rows(0, 50)
        engine.close()
        yield from rows(50, 100)

    with pytest.raises(InterfaceError, match="closed"):
        engine.ingest(closes_in_the_middle())
    assert table_files(env, FOLDER) == []
    for pairs in (rows(0, 1), []):
        with pytest.raises(InterfaceError, match="closed"):
            engine.ingest(pairs)


def test_who_comes_late_removes_no_file_of_the_next_owner_of_the_folder() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    owners: list[Engine] = []

    def is_overtaken() -> Iterator[tuple[bytes, bytes]]:
        yield from rows(0, 50)
        engine.close()
        # The first to open removes what is left of the ingest, so the second counts from there on:
        # its tables get the same numbers.
        Engine.open(env, FOLDER, STILL).close()
        owners.append(Engine.open(env, FOLDER, STILL))
        owners[0].ingest(rows(0, 100))
        yield from rows(50, 100)

    with pytest.raises(InterfaceError, match="closed"):
        engine.ingest(is_overtaken())
    live = {table_name(entry.number) for entry in owners[0]._manifest.state.tables}
    assert set(table_files(env, FOLDER)) == live
    owners[0].close()
    again = Engine.open(env, FOLDER, STILL)
    assert contents(again) == dict(rows(0, 100))
    again.close()


def test_an_interrupt_while_it_is_written_leaves_nothing_behind() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)

    def interrupted() -> Iterator[tuple[bytes, bytes]]:
        yield from rows(0, 50)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.ingest(interrupted())
    assert table_files(env, FOLDER) == []
    assert engine.ingest(rows(0, 50)) == 50
    engine.close()


def test_a_disk_that_fills_up_takes_all_or_nothing_and_gets_its_space_back() -> None:
    needed = tried = 0
    while True:
        fs = CrashFS()
        env = FaultyEnv(fs)
        engine = Engine.open(env, FOLDER, STILL)
        engine.commit(dict(rows(0, 3, b"old")))
        engine.flush()
        files = fs.list_directory(FOLDER)
        env.heal(free_bytes=needed)
        try:
            engine.ingest(rows(0, 60))
            assert contents(engine) == dict(rows(0, 60))
            engine.close()
            break
        except DiskFull:
            assert fs.list_directory(FOLDER) == files
            assert contents(engine) == dict(rows(0, 3, b"old"))
            env.heal(free_bytes=1_000_000)
            assert engine.ingest(rows(0, 60)) == 60
        except LogWriteFailed:
            # The manifest's edit found no room: what is there, opening tells.
            with pytest.raises(StorageError):
                engine.commit({b"a": b"b"})
        engine.close()
        env.heal(free_bytes=1_000_000)
        again = Engine.open(env, FOLDER, STILL)
        assert contents(again) in (dict(rows(0, 60)), dict(rows(0, 3, b"old")))
        again.close()
        needed += 97
        tried += 1
    assert tried > 5


@pytest.mark.parametrize("fault", [Fault.IO_ERROR, Fault.SHORT_WRITE])
def test_whichever_call_fails_it_is_all_or_nothing(fault: Fault) -> None:
    number = 0
    while True:
        number += 1
        fs = CrashFS()
        env = FaultyEnv(fs)
        engine = Engine.open(env, FOLDER, STILL)
        engine.commit(dict(rows(0, 3, b"old")))
        before, after = dict(rows(0, 3, b"old")), dict(rows(0, 60))
        env.fail_at, env.fault = len(env.calls) + number, fault
        try:
            engine.ingest(rows(0, 60))
            assert contents(engine) == after
        except Error as error:
            assert env.has_failed, error
            assert contents(engine) in (before, after)
            if isinstance(error, LogWriteFailed):
                with pytest.raises(StorageError):
                    engine.commit({b"a": b"b"})
        has_failed = env.has_failed
        env.heal()
        try:
            engine.close()
        except StorageError:
            assert has_failed
        if not has_failed:
            break
        again = Engine.open(fs.after_kill(), FOLDER, STILL)
        assert contents(again) in (before, after), env.calls
        again.ingest(rows(100, 110))
        again.close()
    assert number > 10


def test_wherever_ctrl_c_comes_it_is_all_or_nothing() -> None:
    before, after = dict(rows(0, 3, b"old")), dict(rows(0, 60))
    call, is_over = 0, False
    while not is_over:
        call += 1
        fs = CrashFS()
        env = FaultyEnv(fs)
        engine = Engine.open(env, FOLDER, STILL)
        engine.commit(before)
        left = call

        def interrupt(_: str) -> None:
            nonlocal left
            if threading.current_thread() is threading.main_thread():
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt

        env.before_call = interrupt
        try:
            engine.ingest(rows(0, 60))
            left, is_over = -1, True
        except KeyboardInterrupt:
            assert contents(engine) in (before, after)
            live = {table_name(entry.number) for entry in engine._manifest.state.tables}
            left = -1
            try:
                engine.commit({b"k0000": b"old" if contents(engine) == before else b"ingested"})
                # It is as if nothing had been asked for.
                assert set(table_files(fs, FOLDER)) == live
                assert contents(engine) == before
                assert engine.ingest(rows(0, 60)) == 60
            except StorageError as error:
                assert "refuses writes" in str(error)
        engine.close()
        again = Engine.open(fs.after_kill(), FOLDER, STILL)
        assert contents(again) in (before, after)
        again.close()
    assert call > 30


@pytest.mark.parametrize("record", ["a write", "a deleted range", "a write and a mark"])
def test_what_is_committed_in_the_last_moment_does_not_stay_in_the_log(record: str) -> None:
    """The log goes on behind the ingest's commit, which is in no log: what came before it may not
    stand there, or recovery would miss a commit between the two."""
    env = MemoryEnv()
    engine = Engine.open(env, FOLDER, STILL)
    if record == "a deleted range":
        engine.commit({}, deleted_ranges=[(b"a", b"b")])
    else:
        engine.commit({b"a": b"1"})
    if record == "a write and a mark":
        engine.close()
        engine = Engine.open(env, FOLDER, STILL)
    # As if the commit came when the flush was over, before the ingest had its turn.
    engine.flush = lambda: None  # type: ignore[method-assign]
    engine.ingest(rows(0, 3))
    engine.commit({b"b": b"2"})

    number = engine._log.number
    assert engine._manifest.state.oldest_log_number == number
    data = env.read_file(f"{FOLDER}/{number:06}.wal")
    reader = SegmentReader(data, number, "the log", last_timestamp=2, may_be_torn=False)
    assert [record.timestamp for record in reader] == [3]
    expected = contents(engine)
    engine.close()
    again = Engine.open(env, FOLDER, STILL)
    assert contents(again) == expected
    again.close()


def test_options_are_honoured(tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = StorageOptions(table_bytes=2_000, block_bytes=500)
    engine = Engine.open(OsEnv(), str(tmp_path / FOLDER), options)
    engine.ingest(rows(0, 1_000, b"v" * 10))
    tables = engine._sources.now.tables
    assert 10 < len(tables) < 20
    assert all(len(table.offsets) > 2 for table in tables[:-1])
    engine.close()

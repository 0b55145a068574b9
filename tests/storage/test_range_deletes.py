"""Deleting a range is deleting each key of it, for every reader, whatever happens below."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tree_checker import STYLES, TINY, check_tree, contents

from ferrisdb.errors import InterfaceError, InvalidParameterValue, TransactionTooLarge
from ferrisdb.storage import commit_checks
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage import engine as engine_module
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, MemtableKind, StorageOptions

Writes = dict[bytes, bytes | None]
Range = tuple[bytes, bytes | None]

KEYS = [b"", *(b"%c%d" % (letter, number) for letter in b"abc" for number in range(6)), b"\xff"]
keys = st.sampled_from(KEYS)
values = st.none() | st.binary(max_size=40)
ranges = st.tuples(keys, st.none() | keys).filter(lambda found: found[1] is None or found[0] < found[1])


def lies_in(key: bytes, bounds: Range) -> bool:
    lo, hi = bounds
    return lo <= key and (hi is None or key < hi)


class RangeDeleteModel(RuleBasedStateMachine):
    """`history[n]` is what a reader at timestamp n sees. The engine is told to keep what the
    held snapshots read; all else it may collect."""

    @initialize(
        kind=st.sampled_from(MemtableKind),
        memtable_bytes=st.sampled_from([1500, 1 << 20]),
        style=st.sampled_from(sorted(STYLES)),
    )
    def create(self, kind: MemtableKind, memtable_bytes: int, style: str) -> None:
        self.options = replace(STYLES[style], memtable=kind, memtable_bytes=memtable_bytes)
        self.env = MemoryEnv()
        self.history: list[dict[bytes, bytes]] = [{}]
        self.touched: list[tuple[Writes, list[Range]]] = []
        self.held: list[int] = []
        self.scans: list[tuple[int, Iterator[tuple[list[bytes], list[bytes]]]]] = []
        self.open()

    def open(self) -> None:
        self.engine = Engine.open(self.env, "db", self.options)
        self.engine.collect_below(lambda: min([*self.held, len(self.history) - 1]))

    @rule(writes=st.dictionaries(keys, values, min_size=1), deleted=st.lists(ranges, max_size=2))
    def commit(self, writes: Writes, deleted: list[Range]) -> None:
        timestamp = self.engine.commit(writes, deleted_ranges=deleted)
        state = dict(self.history[-1])
        for key in list(state):
            if any(lies_in(key, bounds) for bounds in deleted):
                del state[key]
        for key, value in writes.items():
            state.pop(key, None)
            if value is not None:
                state[key] = value
        self.history.append(state)
        self.touched.append((writes, deleted))
        assert timestamp == len(self.touched)

    @rule(deleted=st.lists(ranges, min_size=1, max_size=3))
    def delete_ranges(self, deleted: list[Range]) -> None:
        self.commit({}, deleted)

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        self.engine.flush()
        self.engine.wait_until_compacted()
        check_tree(self.engine)

    @rule()
    def take_snapshot(self) -> None:
        self.held.append(self.engine.visible_timestamp)

    @rule(data=st.data())
    def release_snapshot(self, data: st.DataObject) -> None:
        if self.held:
            self.held.remove(data.draw(st.sampled_from(self.held)))

    @rule(data=st.data(), bounds=ranges)
    def read(self, data: st.DataObject, bounds: Range) -> None:
        at = data.draw(st.sampled_from([*self.held, len(self.history) - 1]))
        expected = self.history[at]
        assert self.engine.read_many(KEYS, at) == [expected.get(key) for key in KEYS]
        assert contents(self.engine, at) == expected
        backwards = [
            pair for batch in self.engine.scan(*bounds, at, reverse=True) for pair in zip(*batch, strict=True)
        ]
        within = [(key, value) for key, value in expected.items() if lies_in(key, bounds)]
        assert backwards == sorted(within, reverse=True)

    @rule(data=st.data(), key=keys, bounds=ranges)
    def ask_for_the_newest(self, data: st.DataObject, key: bytes, bounds: Range) -> None:
        at = data.draw(st.sampled_from([*self.held, len(self.history) - 1]))
        later = list(enumerate(self.touched, 1))[at:]
        of_key = [
            n for n, (writes, gone) in later if key in writes or any(lies_in(key, each) for each in gone)
        ]
        assert self.engine.newest_timestamp(key, at) == max(of_key, default=0)
        lo, hi = bounds
        of_range = [
            n
            for n, (writes, gone) in later
            if any(lies_in(each, bounds) for each in writes)
            or any((hi is None or each[0] < hi) and (each[1] is None or lo < each[1]) for each in gone)
        ]
        assert self.engine.newest_timestamp_in(lo, hi, at) == max(of_range, default=0)

    @rule(reverse=st.booleans())
    def begin_scan(self, reverse: bool) -> None:
        at = len(self.history) - 1
        self.scans.append((at, self.engine.scan(b"", None, at, reverse=reverse)))

    @rule()
    def finish_scan(self) -> None:
        # Its snapshot may be long gone: what it began with is still there.
        if self.scans:
            at, scan = self.scans.pop(0)
            assert {k: v for batch in scan for k, v in zip(*batch, strict=True)} == self.history[at]

    @rule()
    def close_and_open(self) -> None:
        self.scans.clear()
        self.engine.close()
        assert check_folder(self.env, "db").findings == ()
        self.open()

    @rule()
    def kill_and_open(self) -> None:
        self.scans.clear()
        self.env, killed = self.env.copy(), self.engine
        self.open()
        killed.close()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.held.clear()
        self.compact()
        assert contents(self.engine) == self.history[-1]
        # Nobody holds an old snapshot, all is flushed and at rest: nothing is left of them.
        assert self.engine.statistics().live_range_tombstones == 0
        assert self.engine._manifest.state.deleted_ranges == ()
        self.engine.close()
        assert check_folder(self.env, "db").findings == ()


TestRangeDeleteModel = RangeDeleteModel.TestCase
TestRangeDeleteModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- what becomes of the files ------------------------------------------------------------


def filled(options: StorageOptions = TINY, rows: int = 300) -> Engine:
    engine = Engine.open(MemoryEnv(), "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(rows):
        engine.commit({b"%04d" % number: b"x" * 20})
    engine.flush()
    engine.wait_until_compacted()
    return engine


@pytest.mark.parametrize("style", STYLES)
def test_tables_that_lie_in_the_range_go_without_being_read(style: str) -> None:
    engine = filled(STYLES[style])
    before = engine.statistics()
    engine.commit({}, deleted_ranges=[(b"", None)])
    engine.flush()
    engine.wait_until_compacted()
    after = engine.statistics()
    assert after.dropped_tables == before.live_tables > 5
    assert after.compaction_read_bytes == before.compaction_read_bytes
    assert (after.live_tables, after.live_range_tombstones) == (0, 0)
    assert contents(engine) == {}
    engine.close()


@pytest.mark.parametrize("style", STYLES)
def test_a_table_across_the_end_of_the_range_is_rewritten_without_its_part(style: str) -> None:
    engine = filled(STYLES[style])
    engine.commit({}, deleted_ranges=[(b"0003", b"0297")])
    engine.flush()
    engine.wait_until_compacted()
    assert sorted(contents(engine)) == [b"0000", b"0001", b"0002", b"0297", b"0298", b"0299"]
    assert sum(table.properties.entry_count for table in engine._sources.now.tables) == 6
    assert engine.statistics().live_range_tombstones == 0
    engine.close()


def test_a_snapshot_keeps_what_was_deleted_and_its_end_frees_it() -> None:
    engine = filled()
    held = [engine.visible_timestamp]
    engine.collect_below(lambda: min([*held, engine.visible_timestamp]))
    engine.commit({}, deleted_ranges=[(b"", None)])
    engine.flush()
    engine.wait_until_compacted()
    assert len(contents(engine, held[0])) == 300
    assert contents(engine) == {}
    assert engine.statistics().live_range_tombstones == 1
    held.clear()
    engine.wait_until_compacted()
    assert engine.statistics().live_range_tombstones == 0
    assert engine.statistics().live_tables == 0
    engine.close()


def test_the_end_of_a_snapshot_frees_a_range_though_nobody_writes_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction_module, "LOOK_AGAIN_S", 0.001)
    engine = filled()
    held = [engine.visible_timestamp]
    engine.collect_below(lambda: min([*held, engine.visible_timestamp]))
    engine.commit({}, deleted_ranges=[(b"", None)])
    engine.flush()
    engine.wait_until_compacted()
    held.clear()
    deadline = time.monotonic() + 20
    while engine.statistics().live_tables and time.monotonic() < deadline:
        time.sleep(0.001)
    assert engine.statistics().live_tables == 0
    engine.close()


def test_what_is_not_yet_flushed_drops_nothing() -> None:
    # At durability OFF a power cut may take the commit. It must not leave its effect.
    engine = filled()
    tables = engine.statistics().live_tables
    engine.commit({}, Durability.OFF, deleted_ranges=[(b"", None)])
    engine.wait_until_compacted()
    assert engine.statistics().live_tables == tables
    engine.close()


def test_a_queue_whose_head_is_deleted_again_and_again_keeps_few_tombstones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "MAX_MEMTABLE_RANGE_TOMBSTONES", 10)
    monkeypatch.setattr(commit_checks, "MAX_LIVE_RANGE_TOMBSTONES", 200)
    engine = Engine.open(MemoryEnv(), "db", replace(TINY, memtable_bytes=1 << 20))
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(500):
        engine.commit({b"%06d" % number: b"x"}, deleted_ranges=[(b"", b"%06d" % max(1, number - 3))])
        if number % 50 == 0:
            engine.wait_until_compacted()
    assert len(contents(engine)) == 4
    assert engine.statistics().flushes > 20
    engine.close()


def test_a_memtable_with_nothing_but_deleted_ranges_is_flushed_to_the_manifest_alone() -> None:
    engine = Engine.open(MemoryEnv(), "db")
    engine.commit({}, deleted_ranges=[(b"a", b"b"), (b"c", None)])
    engine.flush()
    assert engine.statistics().live_tables == 0
    assert [tuple(found) for found in engine._manifest.state.deleted_ranges] == [
        (b"a", b"b", 1),
        (b"c", None, 1),
    ]
    assert engine._manifest.state.last_timestamp == 1
    engine.close()


# --- what is refused ----------------------------------------------------------------------


def test_a_range_that_is_none_is_refused_before_it_is_logged() -> None:
    engine = Engine.open(MemoryEnv(), "db")
    for bad in ((b"b", b"a"), (b"a", b"a"), (b"x" * 70_000, None)):
        with pytest.raises(InvalidParameterValue):
            engine.commit({}, deleted_ranges=[bad])
    with pytest.raises(InterfaceError):
        engine.commit({}, deleted_ranges=[("a", "b")])  # type: ignore[list-item]
    assert engine.statistics().log_bytes == 0
    engine.close()


def test_more_live_ranges_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_checks, "MAX_LIVE_RANGE_TOMBSTONES", 3)
    engine = Engine.open(MemoryEnv(), "db")
    engine.commit({}, deleted_ranges=[(b"a", b"b"), (b"c", b"d")])
    with pytest.raises(TransactionTooLarge, match="2 deleted ranges are alive, and 2 more would pass 3"):
        engine.commit({}, deleted_ranges=[(b"e", b"f"), (b"g", b"h")])
    engine.commit({}, deleted_ranges=[(b"e", b"f")])
    engine.close()


# --- beside other threads -----------------------------------------------------------------


def test_readers_beside_range_deletes_see_whole_commits() -> None:
    """Each commit empties the range and fills it with its number: a mixture is never seen."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    engine = Engine.open(MemoryEnv(), "db", TINY)
    lock = threading.Lock()
    held: list[int] = []

    def oldest() -> int:
        with lock:
            return min([*held, engine.visible_timestamp])

    engine.collect_below(oldest)
    engine.commit({b"%02d" % key: b"0" for key in range(20)})
    failures: list[object] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            with lock:
                at = engine.visible_timestamp
                held.append(at)
            try:
                found = contents(engine, at)
                # The timestamps count from 1, the numbers from 0.
                if set(found.values()) != {b"%d" % (at - 1)} or not 1 <= len(found) <= 20:
                    failures.append((at, found))
                for key, value in found.items():
                    if engine.read(key, at) != value:
                        failures.append((at, key))
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                with lock:
                    held.remove(at)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 250):
        written = chance.sample(range(20), chance.randrange(1, 20))
        engine.commit({b"%02d" % key: b"%d" % number for key in written}, deleted_ranges=[(b"0", b"2")])
    is_over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    engine.wait_until_compacted()
    engine.close()

"""Compaction: the tree keeps its shape, and no reader ever notices."""

import random
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from tree_checker import STYLES, TINY, TINY_TIERED, check_shape, check_tree, contents, table_files

from ferrisdb.errors import DiskFull, InterfaceError, StorageError
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.events import CompactionFinished, TableMoved
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Compression, StorageOptions

Writes = dict[bytes, bytes | None]


class SteeredFile:
    def __init__(self, env: "SteeredEnv", file: AppendFile, path: str) -> None:
        self.env, self.file, self.path = env, file, path

    def append(self, data: bytes) -> None:
        if ".sst." in self.path:
            self.env.before_output()
        self.file.append(data)

    def sync(self) -> None:
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class SteeredEnv(MemoryEnv):
    """`before_output` is called before anything is written to a compaction's output."""

    def __init__(self) -> None:
        super().__init__()
        self.before_output = lambda: None

    def create(self, path: str) -> AppendFile:
        return SteeredFile(self, super().create(path), path)


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.0001)


# --- the model --------------------------------------------------------------------------

FEW_KEYS = [b"", *(b"%c%d" % (letter, number) for letter in b"abc" for number in range(6))]
keys = st.sampled_from(FEW_KEYS)
values = st.none() | st.binary(max_size=40)
styles = st.sampled_from(list(STYLES.values()))


class CompactionModel(RuleBasedStateMachine):
    """Whatever is compacted, each snapshot in use shows what a dict of its time shows.

    Reopening may change the style: each must be able to go on with what the other has left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.env = MemoryEnv()
        self.history: list[dict[bytes, bytes]] = [{}]
        self.newest: dict[bytes, int] = {}
        self.held: list[int] = []
        self.scans: list[tuple[int, Iterator[tuple[list[bytes], list[bytes]]]]] = []
        self.open(TINY)

    def open(self, options: StorageOptions) -> None:
        self.engine = Engine.open(self.env, "db", options)
        self.engine.collect_below(lambda: min([*self.held, len(self.history) - 1]))

    @rule(writes=st.dictionaries(keys, values, min_size=1))
    def commit(self, writes: Writes) -> None:
        timestamp = self.engine.commit(writes)
        state = {**self.history[-1], **{k: v for k, v in writes.items() if v is not None}}
        for key, value in writes.items():
            if value is None:
                state.pop(key, None)
            self.newest[key] = timestamp
        self.history.append(state)

    @rule()
    def fill(self) -> None:
        # Much beside what the other rules write, so that small runs come to lie above a large
        # one, which has older versions of their keys.
        self.commit({b"z%02d" % number: b"z" * 60 for number in range(60)})
        self.commit(dict.fromkeys(FEW_KEYS, b"below"))
        self.compact()

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        self.engine.flush()
        self.engine.wait_until_compacted()
        check_tree(self.engine)
        check_shape(self.engine)

    @rule()
    def take_snapshot(self) -> None:
        self.held.append(self.engine.visible_timestamp)

    @rule(data=st.data())
    def release_snapshot(self, data: st.DataObject) -> None:
        if self.held:
            self.held.remove(data.draw(st.sampled_from(self.held)))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from([*self.held, len(self.history) - 1]))
        for key in [b"a0", b"b3", b"nothing", *self.history[at]]:
            assert self.engine.read(key, at) == self.history[at].get(key)
        assert contents(self.engine, at) == self.history[at]
        backwards = [key for batch in self.engine.scan(b"", None, at, reverse=True) for key in batch[0]]
        assert backwards == sorted(self.history[at], reverse=True)

    @rule(data=st.data(), key=keys)
    def ask_for_the_newest(self, data: st.DataObject, key: bytes) -> None:
        # By a transaction with this snapshot: was the key changed since?
        at = data.draw(st.sampled_from([*self.held, len(self.history) - 1]))
        newest = self.newest.get(key, 0)
        assert self.engine.newest_timestamp(key, at) == (newest if newest > at else 0)

    @rule()
    def begin_scan(self) -> None:
        at = len(self.history) - 1
        self.scans.append((at, self.engine.scan(b"", None, at)))

    @rule()
    def finish_scan(self) -> None:
        # Its snapshot may be long gone: what it began with is still there.
        if self.scans:
            at, scan = self.scans.pop(0)
            found = {k: v for batch in scan for k, v in zip(*batch, strict=True)}
            assert found == self.history[at]

    @rule(options=styles)
    def close_and_open(self, options: StorageOptions) -> None:
        self.scans.clear()
        self.engine.close()
        live = {entry.number for entry in self.engine._manifest.state.tables}
        assert {int(name.split(".")[0]) for name in table_files(self.env, "db")} == live
        self.open(options)

    @rule(options=styles)
    def kill_and_open(self, options: StorageOptions) -> None:
        self.scans.clear()
        self.env, killed = self.env.copy(), self.engine
        self.open(options)
        killed.close()

    def teardown(self) -> None:
        self.compact()
        assert contents(self.engine) == self.history[-1]
        self.engine.close()


TestCompactionModel = CompactionModel.TestCase
TestCompactionModel.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class TieredModel(CompactionModel):
    """The same, tiered from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.engine.close()
        self.open(TINY_TIERED)
        self.fill()


TestTieredModel = TieredModel.TestCase
TestTieredModel.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)

both_styles = pytest.mark.parametrize("options", STYLES.values(), ids=STYLES)


# --- the shape of the tree ----------------------------------------------------------------


@both_styles
def test_a_random_workload_fills_several_levels_in_order(options: StorageOptions) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    engine = Engine.open(MemoryEnv(), "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    state: dict[bytes, bytes] = {}
    most_levels = 0
    for _ in range(400):
        writes: Writes = {
            b"key%04d" % chance.randrange(600): chance.randbytes(20) if chance.random() < 0.8 else None
            for _ in range(5)
        }
        engine.commit(writes)
        state.update(writes)  # type: ignore[arg-type]
        most_levels = max(most_levels, sum(count > 0 for count in engine.statistics().tables_per_level))
    engine.flush()
    engine.wait_until_compacted()
    check_tree(engine)
    check_shape(engine)
    assert contents(engine) == {key: value for key, value in state.items() if value is not None}
    # Tiered, it may come to rest at the end of a cycle, when all is one run.
    assert most_levels > 2
    engine.close()


@both_styles
def test_what_overlaps_nothing_is_moved_and_not_rewritten(options: StorageOptions) -> None:
    engine = Engine.open(MemoryEnv(), "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(300):
        engine.commit({b"%06d" % number: b"x" * 20})
    engine.flush()
    engine.wait_until_compacted()
    found = engine.statistics()
    moved = [event for event in engine.events.history() if isinstance(event, TableMoved)]
    assert found.moves == len(moved) > 5
    assert (found.compactions, found.compaction_written_bytes) == (0, 0)
    assert len(contents(engine)) == 300
    check_tree(engine)
    engine.close()


def test_overwriting_the_same_keys_does_not_fill_the_disk() -> None:
    env = MemoryEnv()
    options = StorageOptions(
        memtable_bytes=20_000, table_bytes=4_000, level_base_bytes=20_000, block_bytes=500
    )
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    chance = random.Random(5)

    def load(rounds: int) -> None:
        for _ in range(rounds):
            for first in range(0, 1000, 50):
                engine.commit({b"%05d" % key: chance.randbytes(60) for key in range(first, first + 50)})
        engine.flush()
        engine.wait_until_compacted()

    load(8)
    used_bytes = engine.statistics().table_bytes
    live_bytes = sum(len(key) + len(value) for key, value in contents(engine).items())
    fresh = Engine.open(MemoryEnv(), "db", options)
    fresh.commit(dict(contents(engine)))
    fresh.flush()
    needed_bytes = fresh.statistics().table_bytes
    fresh.close()
    assert needed_bytes > live_bytes
    assert used_bytes / needed_bytes < 1.3
    engine.close()


@both_styles
def test_deleted_rows_and_their_tombstones_go(options: StorageOptions) -> None:
    engine = Engine.open(MemoryEnv(), "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    for value in (b"v" * 20, None):
        for number in range(200):
            engine.commit({b"%04d" % number: value})
        engine.flush()
        engine.wait_until_compacted()
    left = sum(table.properties.entry_count for table in engine._sources.now.tables)
    assert left < 100
    assert contents(engine) == {}
    engine.close()


def test_a_snapshot_in_use_keeps_its_versions_and_letting_it_go_frees_them() -> None:
    engine = Engine.open(MemoryEnv(), "db", TINY)
    held = [1]
    engine.collect_below(lambda: min([*held, engine.visible_timestamp]))
    engine.commit({b"counter": b"1", b"deleted": b"seen"})
    engine.commit({b"deleted": None})
    for number in range(3, 200):
        engine.commit({b"counter": b"%d" % number})
    engine.flush()
    engine.wait_until_compacted()
    assert contents(engine, 1) == {b"counter": b"1", b"deleted": b"seen"}
    held.clear()
    engine.wait_until_compacted()
    assert contents(engine) == {b"counter": b"199"}
    # What is still in the upper levels is a few at most.
    assert sum(table.properties.entry_count for table in engine._sources.now.tables) < 30
    engine.close()


@both_styles
def test_until_somebody_says_which_snapshots_are_in_use_every_version_stays(options: StorageOptions) -> None:
    engine = Engine.open(MemoryEnv(), "db", options)
    for number in range(1, 300):
        engine.commit({b"k": b"%d" % number, b"fill%d" % (number % 7): b"x" * 30})
    engine.flush()
    engine.wait_until_compacted()
    assert engine.statistics().compactions > 0
    assert [engine.read(b"k", at) for at in range(1, 300)] == [b"%d" % at for at in range(1, 300)]
    engine.close()


# --- readers ------------------------------------------------------------------------------


@both_styles
def test_a_table_is_removed_with_its_last_reader(options: StorageOptions) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(100):
        engine.commit({b"%02d" % number: b"old" * 5})
    engine.flush()
    engine.wait_until_compacted()
    scan = engine.scan(b"", None, 100)
    begun = next(scan)
    for number in range(100):
        engine.commit({b"%02d" % number: b"new" * 5})
    engine.flush()
    engine.wait_until_compacted()
    live = len(engine._sources.now.tables)
    assert engine.statistics().obsolete_tables > 0
    assert len(table_files(env, "db")) > live

    rest = [pair for batch in scan for pair in zip(*batch, strict=True)]
    assert [*zip(*begun, strict=True), *rest] == [(b"%02d" % n, b"old" * 5) for n in range(100)]
    del scan
    while engine.statistics().obsolete_tables:
        engine.wait_until_compacted()
    assert len(table_files(env, "db")) == live
    engine.close()


@both_styles
def test_closing_removes_what_a_stopped_reader_still_held(options: StorageOptions) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    scans = []
    for turn in range(6):
        engine.commit({b"%03d" % number: b"%d" % turn * 10 for number in range(40)})
        engine.flush()
        scans.append(engine.scan(b"", None, turn + 1))
        next(scans[-1])
    engine.wait_until_compacted()
    assert engine.statistics().obsolete_tables > 0
    engine.close()
    live = {entry.number for entry in engine._manifest.state.tables}
    assert len(table_files(env, "db")) == len(live)
    with pytest.raises(InterfaceError):
        for scan in scans:
            list(scan)


@both_styles
def test_readers_and_writers_beside_compaction_see_whole_commits(options: StorageOptions) -> None:
    engine = Engine.open(MemoryEnv(), "db", options)
    lock = threading.Lock()
    held: list[int] = []

    def oldest() -> int:
        with lock:
            return min([*held, engine.visible_timestamp])

    engine.collect_below(oldest)
    problems: list[str] = []
    is_done = threading.Event()
    pairs = [(b"left%02d" % n, b"right%02d" % n) for n in range(20)]
    engine.commit({key: b"0" for pair in pairs for key in pair})

    def watch() -> None:
        while not is_done.is_set():
            with lock:
                now = engine.visible_timestamp
                held.append(now)
            try:
                first, again = contents(engine, now), contents(engine, now)
                points = engine.read_many([key for pair in pairs for key in pair], now)
                if first != again or points != [first[key] for pair in pairs for key in pair]:
                    problems.append(f"snapshot {now} has changed")
                if any(first[left] != first[right] for left, right in pairs):
                    problems.append(f"half a commit at {now}")
            except Exception as error:
                problems.append(repr(error))
            with lock:
                held.remove(now)

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    chance = random.Random(7)
    for number in range(1, 600):
        left, right = chance.choice(pairs)
        engine.commit({left: b"%d" % number * 5, right: b"%d" % number * 5})
    is_done.set()
    for watcher in watchers:
        watcher.join()
    assert problems == []
    engine.wait_until_compacted()
    assert engine.statistics().compactions > 3
    check_tree(engine)
    engine.close()


def test_tables_that_compress_well_are_cut_where_others_are() -> None:
    for compression in (Compression.NONE, Compression.ZSTD):
        options = StorageOptions(table_bytes=10_000, compression=compression)
        engine = Engine.open(MemoryEnv(), "db", options)
        for turn in range(4):
            engine.commit({b"%06d" % key: b"same " * 20 for key in range(turn, 2000, 4)})
            engine.flush()
        engine.wait_until_compacted()
        check_tree(engine)
        # Some 85 rows are a table's share; runs of rows are not cut, so it may be some more.
        assert max(table.properties.entry_count for table in engine._sources.now.tables) < 200
        engine.close()


# --- writers ------------------------------------------------------------------------------


def test_writers_are_slowed_then_stopped_then_released() -> None:
    env = SteeredEnv()
    engine = Engine.open(env, "db", TINY)
    go_on = threading.Event()
    env.before_output = lambda: go_on.wait(20)

    def work() -> None:
        for number in range(400):
            engine.commit({b"%03d" % (number % 50): b"x" * 50})

    writer = threading.Thread(target=work)
    writer.start()
    while engine.statistics().stops == 0:
        threading.Event().wait(0.001)
    stopped = engine.statistics()
    assert stopped.tables_per_level[0] >= TINY.compaction_stop_tables
    assert stopped.slowed_groups > 0
    assert stopped.is_compacting
    assert writer.is_alive()
    go_on.set()
    writer.join()
    assert len(contents(engine)) == 50
    engine.wait_until_compacted()
    check_tree(engine)
    engine.close()


def test_closing_does_not_wait_for_a_compaction_that_is_behind() -> None:
    env = SteeredEnv()
    engine = Engine.open(env, "db", TINY)
    env.before_output = lambda: threading.Event().wait(0.02)
    for number in range(200):
        engine.commit({b"%03d" % (number % 50): b"x" * 50})
    engine.close()
    live = {entry.number for entry in engine._manifest.state.tables}
    assert len(table_files(env, "db")) == len(live)
    again = Engine.open(env, "db", TINY)
    assert again.visible_timestamp == 200
    again.close()


# --- what goes wrong ----------------------------------------------------------------------


def load(engine: Engine, first: int = 0) -> None:
    for number in range(first, first + 200):
        engine.commit({b"%03d" % (number % 50): b"%d" % number})
    engine.flush()


def test_a_full_disk_is_tried_again_and_when_there_is_room_all_is_well() -> None:
    env = SteeredEnv()
    failures = iter([True] * 3)

    def fail() -> None:
        if next(failures, False):
            raise DiskFull("cannot write: no space left")

    env.before_output = fail
    engine = Engine.open(env, "db", TINY)
    load(engine)
    engine.wait_until_compacted()
    found = engine.statistics()
    assert (found.compaction_failures, found.compaction_error) == (3, "cannot write: no space left")
    check_tree(engine)
    check_shape(engine)
    engine.close()
    assert not [name for name in table_files(env, "db") if not name.endswith(".sst")]


def test_after_too_many_failures_compaction_stops_and_all_else_goes_on() -> None:
    env = SteeredEnv()

    def fail() -> None:
        raise DiskFull("cannot write: no space left")

    env.before_output = fail
    engine = Engine.open(env, "db", TINY)
    load(engine)
    with pytest.raises(StorageError, match="compaction has stopped: cannot write: no space left"):
        engine.wait_until_compacted()
    # Many more tables than writers would wait for, if there were anything to wait for.
    for turn in range(1, 8):
        load(engine, turn * 200)
    found = engine.statistics()
    assert found.tables_per_level[0] > TINY.compaction_stop_tables
    expected = contents(engine)
    engine.close()
    assert not [name for name in table_files(env, "db") if not name.endswith(".sst")]

    env.before_output = lambda: None
    again = Engine.open(env, "db", TINY)
    again.wait_until_compacted()
    assert contents(again) == expected
    check_shape(again)
    again.close()


def test_when_a_disk_that_was_full_for_long_has_room_the_next_flush_mends_the_tree() -> None:
    env = SteeredEnv()

    def fail() -> None:
        raise DiskFull("cannot write: no space left")

    env.before_output = fail
    engine = Engine.open(env, "db", TINY)
    load(engine)
    with pytest.raises(StorageError, match="compaction has stopped") as stopped:
        engine.wait_until_compacted()
    assert stopped.value.hint == "it is tried again by the next flush"
    load(engine, 200)
    with engine.events.subscribe(timeout_s=20) as events:
        env.before_output = lambda: None
        # One flush, and nobody who asks for a compaction.
        engine.commit({b"one": b"more"})
        engine.flush()
        assert any(isinstance(event, CompactionFinished) for event in events)
    expected = contents(engine)
    engine.wait_until_compacted()
    check_tree(engine)
    check_shape(engine)
    assert contents(engine) == expected
    # Writers wait for it again, as before.
    go_on = threading.Event()
    env.before_output = lambda: go_on.wait(20)
    writer = threading.Thread(target=load, args=(engine, 400))
    stops = engine.statistics().stops
    writer.start()
    while engine.statistics().stops == stops:
        threading.Event().wait(0.001)
    go_on.set()
    writer.join()
    engine.close()


def test_each_attempt_of_a_compaction_that_rests_has_its_own_wake() -> None:
    env = SteeredEnv()

    def fail() -> None:
        raise DiskFull("cannot write: no space left")

    env.before_output = fail
    engine = Engine.open(env, "db", TINY)
    load(engine)
    for more in range(3):
        with pytest.raises(StorageError, match="compaction has stopped"):
            engine.wait_until_compacted()
        if more == 0:
            failures = engine.statistics().compaction_failures
    # Two were asked for. A wake of before may have come late.
    assert failures + 2 <= engine.statistics().compaction_failures <= failures + 4
    engine.close()


def test_a_damaged_input_stops_compaction_and_is_named() -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db", StorageOptions(memtable_bytes=1_000_000))
    for number in range(3):
        engine.commit({b"a%d" % number: b"x" * 50, b"b": b"%d" % number})
        engine.flush()
    name = table_files(env, "db")[0]
    data = bytearray(env.read_file(f"db/{name}"))
    data[30] ^= 1
    # In place, under the open reader, as a bad disk does it.
    env._files[f"db/{name}"][:] = data
    engine.commit({b"c": b"fine", b"b": b"3"})
    engine.flush()
    with pytest.raises(StorageError, match=rf"compaction has stopped: .*{name}, byte 16"):
        engine.wait_until_compacted()
    found = engine.statistics()
    assert (found.compaction_failures, found.tables_per_level[0]) == (1, 4)
    assert name in str(found.compaction_error)
    assert engine.read(b"c", 4) == b"fine"
    assert engine.commit({b"still": b"works"}) == 5
    # A second reading would find the same: it is not tried again.
    engine.flush()
    with pytest.raises(StorageError, match="compaction has stopped"):
        engine.wait_until_compacted()
    assert engine.statistics().compaction_failures == 1
    engine.close()


def test_the_store_of_transactions_says_which_snapshots_are_in_use() -> None:
    from ferrisdb.txn.local import LocalStore

    store = LocalStore(Engine.open(MemoryEnv(), "db", TINY))

    def write(value: bytes) -> None:
        transaction = store.begin()
        for number in range(20):
            transaction.put(b"%02d" % number, value)
        transaction.commit()
        store.flush()

    write(b"first")
    reader = store.begin()
    assert reader.get(b"07") == b"first"
    for turn in range(8):
        write(b"later %d" % turn)
    store._engine.wait_until_compacted()
    # Of each key its version of then and its newest one are left; nobody can ask for the seven between.
    assert store.statistics().collected_versions == 7 * 20
    assert [value for _, value in reader.scan(b"", None)] == [b"first"] * 20
    reader.rollback()
    write(b"last")
    store._engine.wait_until_compacted()
    versions = sum(table.properties.entry_count for table in store._engine._sources.now.tables)
    assert versions == 180 + 20 - store.statistics().collected_versions < 60
    store.close()


def test_a_stop_that_comes_while_other_events_are_taken_is_not_lost() -> None:
    engine = Engine.open(MemoryEnv(), "db", StorageOptions())
    compactor = engine._compactor
    events = compactor._events

    class StopArrivesNow:
        """The queue, at the moment when `stop` sends its event and the thread takes all there are."""

        def put(self, event: None) -> None:
            events.put(event)

        def get(self, timeout: float | None = None) -> object:
            return events.get(timeout=timeout)

        def get_nowait(self) -> object:
            compactor._events = events
            compactor.begin_to_stop()
            return events.get_nowait()

    compactor._events = StopArrivesNow()  # type: ignore[assignment]
    compactor.wake()
    compactor._thread.join(10)
    assert not compactor._thread.is_alive()
    engine.close()


def test_a_snapshot_that_is_let_go_frees_its_versions_though_nobody_writes_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction_module, "LOOK_AGAIN_S", 0.001)
    engine = Engine.open(MemoryEnv(), "db", TINY)
    held = [0]
    engine.collect_below(lambda: min([*held, engine.visible_timestamp]))
    for turn in range(30):
        engine.commit({b"key": b"%d" % turn * 100})
    held[:] = [1]
    engine.flush()
    engine.wait_until_compacted()
    assert len(versions_of(engine, b"key")) > 1
    held.clear()
    deadline = time.monotonic() + 20
    while len(versions_of(engine, b"key")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(versions_of(engine, b"key")) == 1
    engine.close()


def test_a_snapshot_that_is_let_go_frees_a_deleted_range_though_nobody_writes_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction_module, "LOOK_AGAIN_S", 0.001)
    engine = Engine.open(MemoryEnv(), "db", TINY)
    engine.commit({b"%02d" % number: b"x" * 20 for number in range(50)})
    held = [engine.visible_timestamp]
    engine.collect_below(lambda: min([*held, engine.visible_timestamp]))
    engine.commit({}, deleted_ranges=[(b"", None)])
    engine.flush()
    engine.wait_until_compacted()
    assert len(contents(engine, held[0])) == 50
    held.clear()
    deadline = time.monotonic() + 20
    while engine.statistics().live_range_tombstones and time.monotonic() < deadline:
        time.sleep(0.001)
    found = engine.statistics()
    assert (found.live_tables, found.live_range_tombstones) == (0, 0)
    engine.close()


def versions_of(engine: Engine, key: bytes) -> list[int]:
    return [at for table in engine._sources.now.tables for row, at, _ in table.entries() if row == key]

"""The event stream: what the engine tells of itself is true, and whoever listens disturbs nobody."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterable

import pytest
from tree_checker import TINY, contents

from ferrisdb.errors import DiskFull, InvalidParameterValue, ProgrammingError, StorageError
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage import event_hub
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.event_hub import EventHub, Subscription
from ferrisdb.storage.events import (
    BackgroundError,
    CompactionFailed,
    CompactionFinished,
    CompactionStarted,
    Event,
    FlushFinished,
    FlushStarted,
    LogSegmentBegun,
    MemtableSealed,
    RecoveryFinished,
    TableAdded,
    TableMoved,
    TableRemoved,
    WaitReason,
    WriteSlowdownEnded,
    WriteSlowdownStarted,
    WritesRefused,
    WriteStallEnded,
    WriteStallStarted,
)
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions

LONG_S = 30.0
"""Longer than anything here takes; only a failing test waits for it."""


class HeldUpFile:
    def __init__(self, file: AppendFile, before_append) -> None:
        self.file, self.before_append = file, before_append

    def append(self, data: bytes) -> None:
        self.before_append()
        self.file.append(data)

    def sync(self) -> None:
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class SteeredDisk(MemoryEnv):
    """`before_flush` is called before a flush writes, `before_output` before a compaction does."""

    def __init__(self) -> None:
        super().__init__()
        self.before_flush = lambda: None
        self.before_output = lambda: None

    def create(self, path: str) -> AppendFile:
        file = super().create(path)
        if path.endswith(".sst"):
            return HeldUpFile(file, self.before_flush)
        return HeldUpFile(file, self.before_output) if ".sst." in path else file


def open_engine(env: MemoryEnv, options: StorageOptions = TINY) -> Engine:
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine._visible_timestamp)
    return engine


def fill(engine: Engine, chance: random.Random, commits: int) -> None:
    for _ in range(commits):
        engine.commit({b"%04d" % chance.randrange(500): chance.randbytes(20) for _ in range(5)})


def replayed(events: Iterable[Event]) -> dict[int, int]:
    """The level of each live table, as the events tell it."""
    levels: dict[int, int] = {}
    for event in events:
        match event:
            case RecoveryFinished(tables=tables):
                levels = {table.number: table.level for table in tables}
            case TableAdded(table=table):
                assert table.number not in levels, "added twice"
                levels[table.number] = table.level
            case TableMoved(table=table, from_level=from_level):
                assert levels[table.number] == from_level
                levels[table.number] = table.level
            case TableRemoved(table=table):
                assert levels.pop(table.number) == table.level
    return levels


def live(engine: Engine) -> dict[int, int]:
    return {entry.number: entry.level for entry in engine._manifest.state.tables}


# --- the stream is true --------------------------------------------------------------------


def test_who_replays_the_events_has_exactly_the_live_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "HISTORY_EVENTS", 100_000)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    env = MemoryEnv()
    for _ in range(3):
        engine = open_engine(env)
        with engine.events.subscribe(timeout_s=0, with_history=True) as events:
            fill(engine, chance, 150)
            if chance.random() < 0.7:
                engine.flush()
                engine.wait_until_compacted()
                assert replayed(engine.events.history()) == live(engine)
            engine.close()
            heard = list(events)
        # What was told to the end is what the next open finds.
        assert replayed(heard) == live(engine)
        assert {TableAdded, TableRemoved, CompactionFinished} <= set(map(type, heard))
        for event in heard:
            assert "\n" not in str(event)
            assert "<" not in str(event), str(event)


def test_a_flush_is_told_from_the_sealed_memtable_to_the_table() -> None:
    engine = open_engine(MemoryEnv(), StorageOptions())
    engine.commit({b"a": b"1", b"b": b"2"})
    engine.flush()
    engine.close()  # The last event comes just after those who waited for the flush go on.
    created, begun, sealed, started, added, finished = engine.events.history()
    assert isinstance(created, RecoveryFinished)
    assert created.is_new
    assert isinstance(begun, LogSegmentBegun)
    assert isinstance(sealed, MemtableSealed)
    assert isinstance(started, FlushStarted)
    assert isinstance(added, TableAdded)
    assert isinstance(finished, FlushFinished)
    assert sealed.log_number == started.log_number == finished.log_number < begun.number
    assert sealed.entries == started.entries == finished.entries == 2
    assert finished.table == added.table
    assert added.table.level == 0
    assert str(sealed).startswith(f"memtable of log segment {sealed.log_number} sealed: 2 versions")


def test_recovery_tells_what_it_found_and_what_it_cut_off() -> None:
    # Given a table, three commits that are only in the log, and a torn record behind them.
    env = MemoryEnv()
    engine = open_engine(env, StorageOptions())
    engine.commit({b"a": b"1"})
    engine.flush()
    for key in (b"b", b"c", b"d"):
        engine.commit({key: b"2"})
    crashed = env.copy()
    engine.close()
    (log,) = [name for name in crashed.list_directory("db") if name.endswith(".wal")][-1:]
    file = crashed.open_append(f"db/{log}")
    file.append(b"torn!")
    file.close()
    # When it is opened, then a late listener still sees what recovery did.
    engine = open_engine(crashed, StorageOptions())
    told = engine.events.history()[0]
    assert isinstance(told, RecoveryFinished)
    assert (told.is_new, told.segments, told.commits, told.cut_bytes) == (False, 1, 3, 5)
    assert {table.number: table.level for table in told.tables} == live(engine)
    assert str(told).startswith("recovered 3 commits from 1 log segment, cut off 5 bytes of a torn end")
    engine.close()


def test_a_compaction_tells_what_went_in_and_what_came_out() -> None:
    engine = open_engine(MemoryEnv())
    for _ in range(6):
        engine.commit({b"%03d" % key: b"v" * 10 for key in range(100)})
        engine.flush()
    engine.wait_until_compacted()
    engine.close()
    events = engine.events.history()
    finished = [event for event in events if isinstance(event, CompactionFinished)]
    assert len(finished) == sum(isinstance(event, CompactionStarted) for event in events) > 0
    found = engine._compactor.statistics
    assert sum(event.input_bytes for event in finished) == found.read_bytes
    assert sum(event.output_bytes for event in finished) == found.written_bytes
    assert sum(event.collected_versions for event in finished) == found.collected_versions > 0
    assert not any(event.in_child for event in finished)


def test_a_failed_compaction_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.0001)
    env = SteeredDisk()

    def refuse() -> None:
        raise DiskFull("no room")

    env.before_output = refuse
    engine = open_engine(env)
    with pytest.raises(StorageError, match="compaction has stopped"):
        while True:
            engine.commit({b"%03d" % key: b"v" for key in range(50)})
            engine.flush()
            engine.wait_until_compacted()
    engine.close()
    events = engine.events.history()
    failed = [event for event in events if isinstance(event, CompactionFailed)]
    errors = [event for event in events if isinstance(event, BackgroundError)]
    assert {event.reason for event in [*failed, *errors]} == {"no room"}
    assert len(failed) == len(errors) == compaction_module.MAX_ATTEMPTS
    assert not any(error.has_given_up for error in errors)
    assert [error.rests for error in errors] == [False, False, False, False, True]
    assert str(errors[-1]) == "compaction failed: no room; tried again after the next flush"


def test_a_failed_flush_is_told_and_that_writes_are_refused() -> None:
    env = SteeredDisk()

    def refuse() -> None:
        raise DiskFull("no room")

    env.before_flush = refuse
    engine = open_engine(env)
    engine.commit({b"a": b"1"})
    with pytest.raises(StorageError):
        engine.flush()
    engine.close()
    errors = [event for event in engine.events.history() if isinstance(event, BackgroundError)]
    assert [(error.task, error.has_given_up) for error in errors] == [("flush", True)]
    refused = [event for event in engine.events.history() if isinstance(event, WritesRefused)]
    assert len(refused) == 1
    assert "no room" in refused[0].reason


# --- a wait that started ends --------------------------------------------------------------


def commit_until(engine: Engine, is_enough) -> threading.Thread:
    def work() -> None:
        number = 0
        while not is_enough():
            number += 1
            try:
                engine.commit({b"%06d" % number: b"x" * 100})
            except StorageError:
                return

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def next_of(events: Subscription, kind: type[Event]) -> Event:
    while True:
        event = events.next_event(LONG_S)
        assert event is not None, f"no {kind.__name__} came"
        if isinstance(event, kind):
            return event


@pytest.mark.parametrize("ends_by", ["flush", "close"])
def test_a_stall_for_a_flush_has_a_start_and_an_end(ends_by: str) -> None:
    env = SteeredDisk()
    may_flush = threading.Event()
    env.before_flush = lambda: may_flush.wait(LONG_S)
    engine = open_engine(env)
    with engine.events.subscribe() as events:
        writer = commit_until(engine, lambda: engine._flusher.stall_count > 0)
        started = next_of(events, WriteStallStarted)
        assert started.reason is WaitReason.FLUSH
        assert not any(isinstance(event, WriteStallEnded) for event in engine.events.history())
        if ends_by == "close":
            threading.Timer(0.05, may_flush.set).start()
            engine.close()
        may_flush.set()
        ended = next_of(events, WriteStallEnded)
        assert ended.reason is WaitReason.FLUSH
        assert ended.duration_s == pytest.approx(ended.at_s - started.at_s)
        writer.join()
        assert engine._flusher.stalled_s >= ended.duration_s
    engine.close()


@pytest.mark.parametrize("ends_by", ["compaction", "close"])
def test_a_slowdown_and_a_stall_for_compaction_have_a_start_and_an_end(ends_by: str) -> None:
    env = SteeredDisk()
    may_compact = threading.Event()
    env.before_output = lambda: may_compact.wait(LONG_S)
    engine = open_engine(env)
    engine.commit({b"": b"", b"~": b""})  # All tables overlap: no moves.
    with engine.events.subscribe() as events:
        numbers = iter(range(1_000_000))

        def work() -> None:
            while engine._compactor.statistics.stops == 0:
                engine.commit({b"": b"", b"%06d" % next(numbers): b"x" * 100, b"~": b""})

        writer = threading.Thread(target=work)
        writer.start()
        slowed = next_of(events, WriteSlowdownStarted)
        stalled = next_of(events, WriteStallStarted)
        assert stalled.reason is WaitReason.COMPACTION
        if ends_by == "close":
            threading.Timer(0.05, may_compact.set).start()
            engine.close()
        may_compact.set()
        rest = []
        while not {WriteStallEnded, WriteSlowdownEnded} <= set(map(type, rest)):
            rest.append(events.next_event(LONG_S))
            assert rest[-1] is not None, "no end was told"
        for start, end_kind in ((slowed, WriteSlowdownEnded), (stalled, WriteStallEnded)):
            (end,) = [event for event in rest if isinstance(event, end_kind)]
            assert end.duration_s == pytest.approx(end.at_s - start.at_s)
        writer.join()
    engine.close()


def test_every_start_of_a_busy_day_has_its_end() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    engine = open_engine(MemoryEnv())
    with engine.events.subscribe(timeout_s=0) as events:
        writers = [
            threading.Thread(target=fill, args=(engine, random.Random(seed + i), 150)) for i in range(3)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        engine.close()
        heard = list(events)
    kinds = [type(event) for event in heard]
    assert events.dropped == 0
    for start, ends in (
        (FlushStarted, {FlushFinished}),
        (CompactionStarted, {CompactionFinished, CompactionFailed}),
        (WriteStallStarted, {WriteStallEnded}),
        (WriteSlowdownStarted, {WriteSlowdownEnded}),
    ):
        is_open = False
        for kind in kinds:
            if kind is start or kind in ends:
                assert is_open == (kind in ends), f"{start.__name__} and its end do not alternate"
                is_open = not is_open
        assert not is_open, f"{start.__name__} never ended"


# --- who listens ---------------------------------------------------------------------------


def told(hub: EventHub, numbers: Iterable[int]) -> None:
    for number in numbers:
        hub.emit(LogSegmentBegun(float(number), number))


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "QUEUE_EVENTS", 10)
    hub = EventHub(time.monotonic)
    slow = hub.subscribe(timeout_s=0)
    told(hub, range(25))
    assert [event.at_s for event in slow] == list(range(15, 25))
    assert slow.dropped == 15
    told(hub, [99])
    assert [event.at_s for event in slow] == [99], "an iteration that timed out may be begun again"


def test_the_history_is_bounded_and_joins_the_stream_without_a_gap() -> None:
    hub = EventHub(time.monotonic)
    told(hub, range(1500))
    assert [event.at_s for event in hub.history()] == list(range(500, 1500))
    late = hub.subscribe(timeout_s=0, with_history=True)
    told(hub, [1500])
    assert [event.at_s for event in late] == list(range(500, 1501))


def test_closing_the_database_ends_the_iteration_of_who_waits() -> None:
    engine = open_engine(MemoryEnv())
    events = engine.events.subscribe()
    heard: list[Event] = []
    reader = threading.Thread(target=lambda: heard.extend(events))
    reader.start()
    engine.commit({b"a": b"1"})
    engine.flush()
    engine.close()
    reader.join(LONG_S)
    assert not reader.is_alive()
    assert any(isinstance(event, FlushFinished) for event in heard)
    assert list(engine.events.subscribe()) == [], "a subscription to a closed database is over at once"


def test_a_closed_subscription_gives_what_it_has_and_takes_no_more() -> None:
    hub = EventHub(time.monotonic)
    events = hub.subscribe()
    told(hub, [1])
    events.close()
    events.close()
    told(hub, [2])
    assert [event.at_s for event in events] == [1]


def test_subscriptions_are_limited_and_forgotten_ones_do_not_count() -> None:
    hub = EventHub(time.monotonic)
    held = [hub.subscribe() for _ in range(event_hub.MAX_SUBSCRIPTIONS)]
    with pytest.raises(ProgrammingError, match="100 subscriptions"):
        hub.subscribe()
    held.pop().close()
    held.append(hub.subscribe())
    held.clear()
    gc.collect()
    hub.subscribe()
    assert len(hub._subscriptions) == 1


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf"), "soon"])
def test_a_timeout_that_is_none_is_refused(timeout_s: float) -> None:
    hub = EventHub(time.monotonic)
    with pytest.raises(InvalidParameterValue, match="timeout_s is"):
        hub.subscribe(timeout_s=timeout_s)
    with pytest.raises(InvalidParameterValue, match="timeout_s is"):
        hub.subscribe().next_event(timeout_s)


def test_a_listener_who_never_reads_stops_nobody() -> None:
    engine = open_engine(MemoryEnv())
    never_read = engine.events.subscribe()
    fill(engine, random.Random(1), 100)
    engine.flush()
    engine.wait_until_compacted()
    assert len(contents(engine)) > 100
    engine.close()
    assert never_read.next_event(0) is not None

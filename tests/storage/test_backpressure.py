"""Writers are slowed down by bytes: a load waits while level 0 is too full, single rows do not."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ferrisdb.storage.backpressure import Backpressure
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.level import EMPTY_LEVELS
from ferrisdb.storage.memtable_kinds import new_memtable
from ferrisdb.storage.options import Durability, MemtableKind, StorageOptions
from ferrisdb.storage.sources import LiveSources, Sources
from ferrisdb.storage.statistics import CompactionStatistics
from tests.storage.test_compaction import SteeredEnv

MEBIBYTE = 1024 * 1024

OPTIONS = StorageOptions(
    durability=Durability.OFF,
    memtable_bytes=64 * MEBIBYTE,
    compaction_start_tables=2,
    compaction_slow_tables=3,
    compaction_stop_tables=9,
    compaction_process_bytes=MEBIBYTE * MEBIBYTE,
)


OpenEngine = Callable[[int, StorageOptions], Engine]


@pytest.fixture
def engine_with() -> Iterator[OpenEngine]:
    """A function of (tables in level 0, options). No compaction ends before the test does."""
    env = SteeredEnv()
    test_is_over = threading.Event()
    env.before_output = lambda: test_is_over.wait(20)
    engines = []

    def open_engine(tables: int, options: StorageOptions) -> Engine:
        late = replace(
            OPTIONS, compaction_start_tables=90, compaction_slow_tables=90, compaction_stop_tables=90
        )
        engine = Engine.open(env, "db", late)
        for number in range(tables):
            # Tables that lie apart would be moved away, without a compaction.
            engine.commit({b"first": b"%d" % number, b"last": b"%d" % number})
            engine.flush()
        engine.close()
        engines.append(Engine.open(env, "db", options))
        return engines[-1]

    yield open_engine
    test_is_over.set()
    for engine in engines:
        engine.close()


def test_small_commits_beside_a_compaction_do_not_wait(engine_with: OpenEngine) -> None:
    engine = engine_with(3, OPTIONS)
    for number in range(50):
        engine.commit({b"%d" % number: b"x" * 100})
    assert engine.statistics().slowed_groups == 0


def test_a_large_commit_is_waited_for_by_the_next_group(engine_with: OpenEngine) -> None:
    engine = engine_with(3, OPTIONS)
    engine.commit({b"large": b"x" * (100 * 1024)})
    assert engine.statistics().slowed_groups == 0
    engine.commit({b"next": b"x"})
    assert engine.statistics().slowed_groups == 1
    engine.commit({b"next": b"y"})
    assert engine.statistics().slowed_groups == 1, "what was owed is paid"


def test_nobody_waits_for_what_was_written_before_level_0_was_too_full(engine_with: OpenEngine) -> None:
    engine = engine_with(2, OPTIONS)
    engine.commit({b"first": b"x" * MEBIBYTE, b"last": b"x"})
    engine.commit({b"another": b"x"})
    engine.flush()
    engine.commit({b"next": b"x"})
    assert engine.statistics().tables_per_level[0] == 3
    assert engine.statistics().slowed_groups == 0


def test_each_table_more_halves_the_pace(engine_with: OpenEngine) -> None:
    """So that small commits wait, too, before level 0 is full."""
    slow = replace(OPTIONS, compaction_slow_bytes_per_s=64 * 100 * 1024)
    three_above = engine_with(6, slow)
    for number in range(2):
        three_above.commit({b"%d" % number: b"x" * 1024})
    assert three_above.statistics().slowed_groups == 1


def test_where_level_0_is_only_just_too_full_the_same_commits_go_on(engine_with: OpenEngine) -> None:
    slow = replace(OPTIONS, compaction_slow_bytes_per_s=64 * 100 * 1024)
    at_the_mark = engine_with(3, slow)
    for number in range(2):
        at_the_mark.commit({b"%d" % number: b"x" * 1024})
    assert at_the_mark.statistics().slowed_groups == 0


def test_thousands_of_tables_in_level_0_as_of_an_ingest_are_no_division_by_zero() -> None:
    sources = LiveSources(
        Sources(new_memtable(MemtableKind.SORTED), (), (), EMPTY_LEVELS), EventHub(lambda: 0.0)
    )
    sources.now = replace(sources.now, level_zero=(None,) * 2000)  # type: ignore[arg-type]
    statistics = CompactionStatistics()
    Backpressure(OPTIONS, sources, statistics, lambda: False).slow_down(0)
    assert statistics.slowed_groups == 0, "nothing was written that is to be waited for"

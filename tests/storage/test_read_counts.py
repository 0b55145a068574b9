"""What reads cost is counted by level, and three factors say what the tree pays."""

from __future__ import annotations

import random

import pytest
from tree_checker import TINY

from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.read_counts import LevelStatistics
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable


def open_engine(options: StorageOptions | None = None) -> Engine:
    engine = Engine.open(MemoryEnv(), "db", options)
    engine.collect_below(lambda: engine._visible_timestamp)
    return engine


def with_one_table(keys: int, **options: int) -> Engine:
    """All in one table of level 0, in blocks of which none is in the cache."""
    engine = open_engine(StorageOptions(**options))
    engine.commit({b"%05d" % (2 * number): b"v" * 20 for number in range(keys)})
    engine.flush()
    return engine


def level_zero(engine: Engine) -> LevelStatistics:
    return engine.statistics().levels[0]


def test_a_read_that_finds_its_key_asks_one_block_first_on_disk_then_in_memory() -> None:
    engine = with_one_table(1000)
    (table,) = engine._sources.now.level_zero
    for _ in range(3):
        assert engine.read(b"00500", engine.visible_timestamp) == b"v" * 20
    found = level_zero(engine)
    assert (found.point_reads, found.point_blocks, found.blocks_read, found.cache_hits) == (3, 3, 1, 2)
    assert found.read_bytes in table._lengths
    assert (found.bloom_negatives, found.bloom_false_positives, found.scanned_blocks) == (0, 0, 0)
    assert engine.statistics().lookups == 3
    assert engine.statistics().read_amplification == 1.0
    engine.close()


def test_a_filter_ends_most_reads_of_absent_keys_and_is_caught_when_it_does_not() -> None:
    engine = with_one_table(5000)
    (table,) = engine._sources.now.level_zero
    absent = [b"%05d" % (2 * number + 1) for number in range(5000)]
    let_pass = sum(table._filter.may_contain(key) for key in absent)
    for key in absent:
        assert engine.read(key, engine.visible_timestamp) is None
    found = level_zero(engine)
    assert found.point_reads == 5000
    assert found.bloom_negatives == 5000 - let_pass
    assert found.bloom_false_positives == let_pass
    assert 0 < let_pass < 200
    engine.close()


def test_a_version_that_is_too_new_is_no_fault_of_the_filter() -> None:
    engine = with_one_table(10)
    assert engine.read(b"00004", 0) is None
    assert (level_zero(engine).point_reads, level_zero(engine).bloom_false_positives) == (1, 0)
    engine.close()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_counts_its_blocks_and_no_point_reads(reverse: bool) -> None:
    engine = with_one_table(1000)
    (table,) = engine._sources.now.level_zero
    for _ in engine.scan(b"", None, engine.visible_timestamp, reverse=reverse):
        pass
    found = level_zero(engine)
    assert found.scanned_blocks == found.blocks_read == len(table.offsets)
    assert found.read_bytes == sum(table._lengths)
    assert (found.point_reads, found.point_blocks) == (0, 0)
    engine.close()


def test_a_key_whose_versions_fill_blocks_is_one_read_of_several_blocks() -> None:
    env = MemoryEnv()
    rows = [(b"a", 1, b"x"), *((b"k", 50 - age, b"v" * 30) for age in range(50)), (b"z", 1, b"x")]
    write_sstable(env, "t", rows, block_bytes=100)
    table = SSTableReader.open(env, "t", 1, BlockCache(1 << 20))
    chance = random.Random(3)
    for reads in range(1, 100):
        timestamp = chance.randrange(52)
        assert table.read(b"k", timestamp) == (b"v" * 30 if timestamp else table.read(b"nothing", 1))
        assert table.counts.point_reads - table.counts.bloom_negatives == reads
    for timestamp in (0, 1, 7, 25, 51):
        list(table.chunks(b"", None, timestamp))
        assert table.counts.point_reads - table.counts.bloom_negatives == reads
    assert table.counts.bloom_false_positives == 0


def test_what_a_level_has_counted_stays_when_its_tables_are_compacted_away() -> None:
    engine = open_engine(TINY)
    chance = random.Random(8)
    reads = 0
    for _ in range(6):
        for _ in range(30):
            engine.commit({b"%04d" % chance.randrange(300): chance.randbytes(20) for _ in range(5)})
        engine.flush()
        engine.wait_until_compacted()
        before = engine.statistics().levels
        for _ in range(50):
            engine.read(b"%04d" % chance.randrange(300), engine.visible_timestamp)
            reads += 1
        after = engine.statistics().levels
        for old, new in zip(before, after, strict=True):
            for name in ("point_reads", "bloom_negatives", "cache_hits", "blocks_read", "read_bytes"):
                assert getattr(new, name) >= getattr(old, name), name
        # All keys are in tables: each read was answered by some level.
        assert sum(level.point_blocks for level in after) <= reads + sum(
            level.bloom_false_positives for level in after
        )
    found = engine.statistics()
    assert found.compactions > 0
    assert found.lookups == reads
    assert sum(level.blocks_read for level in found.levels) == found.cache_misses
    assert sum(level.cache_hits for level in found.levels) == found.cache_hits
    assert sum(level.table_bytes for level in found.levels) == found.table_bytes
    engine.close()


# --- amplification ------------------------------------------------------------------------


def test_before_anything_happened_no_factor_is_known() -> None:
    engine = open_engine()
    found = engine.statistics()
    assert (found.write_amplification, found.read_amplification, found.space_amplification) == (None,) * 3
    engine.close()


def test_bytes_are_written_once_to_the_log_and_again_by_flush_and_compaction() -> None:
    engine = open_engine(StorageOptions())
    engine.commit({b"k%d" % number: b"v" * 100 for number in range(1000)})
    alone = engine.statistics().write_amplification
    assert alone is not None
    assert 1.0 < alone < 1.01, "the log, with what it adds to a record"
    engine.flush()
    flushed = engine.statistics().write_amplification
    assert flushed is not None
    assert 2.0 < flushed < 2.3
    engine.close()


def space(engine: Engine) -> float:
    found = engine.statistics().space_amplification
    assert found is not None
    return found


def test_space_is_under_1_3_when_compaction_is_done_and_the_bound_holds() -> None:
    # Keys are overwritten at random, as often as there are; then compaction comes to its end.
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    options = StorageOptions(
        memtable_bytes=40_000, table_bytes=20_000, level_base_bytes=100_000, block_bytes=1000
    )
    engine = open_engine(options)
    for _ in range(200):
        engine.commit({b"%05d" % chance.randrange(5000): chance.randbytes(40) for _ in range(100)})
    engine.flush()
    engine.wait_until_compacted()
    # Rows are alike in size, so the true factor is that of rows.
    stored = sum(table.properties.entry_count for table in engine._sources.now.tables)
    live = sum(len(keys) for keys, _ in engine.scan(b"", None, engine.visible_timestamp))
    assert stored / live <= space(engine) * 1.01, "it is at most what is told"
    assert space(engine) < 1.3
    engine.close()


def test_old_versions_and_deleted_rows_count_as_space_that_is_paid_for_nothing() -> None:
    engine = open_engine(
        StorageOptions(compaction_start_tables=100, compaction_slow_tables=100, compaction_stop_tables=100)
    )
    rows = {b"%05d" % number: b"v" * 50 for number in range(2000)}
    engine.collect_below(lambda: 0)
    engine.commit(rows)
    engine.flush()
    assert space(engine) == pytest.approx(1.0, abs=0.02)
    for _ in range(3):
        engine.commit(rows)
    engine.flush()
    assert space(engine) == pytest.approx(4.0, abs=0.2), "every row is there four times"
    engine.commit(dict.fromkeys(rows))
    engine.flush()
    assert engine.statistics().space_amplification is None, "nothing is live for sure"
    engine.close()


def test_rows_of_a_deleted_range_are_not_taken_for_live_ones() -> None:
    engine = open_engine(StorageOptions())
    engine.collect_below(lambda: 0)
    engine.commit({b"%05d" % number: b"v" * 50 for number in range(2000)})
    engine.flush()
    engine.commit({b"%05d" % number: b"v" * 50 for number in range(3000, 4000)})
    engine.commit({}, deleted_ranges=[(b"", b"02000")])
    engine.flush()
    assert space(engine) == pytest.approx(3.0, abs=0.1), "a third of the rows is live"
    engine.commit({}, deleted_ranges=[(b"", None)])
    assert engine.statistics().space_amplification is None
    engine.close()

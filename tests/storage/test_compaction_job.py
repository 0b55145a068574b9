"""Merging and collecting, judged by looking at every version and every snapshot."""

import pytest
import version_model as model
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.compaction_job import (
    CompactionJob,
    CompactionResult,
    collect,
    merge_runs,
    run_compaction,
)
from ferrisdb.storage.file_names import table_name, unfinished_table_name
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Compression
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.storage.version import MISSING

watermarks = st.integers(min_value=0, max_value=13)


def snapshots_at(watermark: int) -> list[int]:
    """Nobody reads below it, and anybody may from there on. 0: all is kept."""
    return [watermark] if watermark else []


def columns(versions: model.Versions):
    found = model.entries(versions)
    return [key for key, _, _ in found], [at for _, at, _ in found], [value for _, _, value in found]


def as_model(entries) -> model.Versions:
    found: model.Versions = {}
    for key, at, value in entries:
        found.setdefault(key, {})[at] = value
    return found


@given(model.versions, watermarks, st.sets(model.keys))
def test_whoever_reads_at_or_above_the_watermark_sees_no_difference(versions, watermark, deeper):
    rows = columns(versions)
    kept = as_model(zip(*collect(rows, snapshots_at(watermark), deeper.__contains__), strict=True))
    for key in versions:
        for timestamp in range(watermark, 14):
            before, after = model.read(versions, key, timestamp), model.read(kept, key, timestamp)
            # A tombstone may only become "nothing here" when nothing deeper would come to light.
            assert after == before or (before is None and after is MISSING and key not in deeper)


@given(model.versions, watermarks.filter(bool), st.sets(model.keys))
def test_nothing_is_kept_that_nobody_can_see(versions, watermark, deeper):
    keys, timestamps, values = collect(columns(versions), snapshots_at(watermark), deeper.__contains__)
    old = [row for row, at in enumerate(timestamps) if at <= watermark]
    assert len({keys[row] for row in old}) == len(old)
    assert all(keys[row] in deeper for row in old if values[row] is None)


def test_without_a_watermark_every_version_is_kept():
    versions = {b"a": {3: None, 2: b"x", 1: None}}
    assert collect(columns(versions), (), lambda key: False) == columns(versions)


@given(st.lists(model.versions.filter(bool), min_size=1, max_size=4), st.sampled_from([1, 20, 60, 1000]))
def test_merged_runs_are_all_versions_in_order_and_no_key_is_cut(ages, block_bytes):
    # The first is the newest: its timestamps lie above those of all others.
    env = MemoryEnv()
    merged: model.Versions = {}
    tables = []
    for age, versions in enumerate(ages):
        shifted = {
            key: {at + 20 * (len(ages) - age): value for at, value in chain.items()}
            for key, chain in versions.items()
        }
        for key, chain in shifted.items():
            merged.setdefault(key, {}).update(chain)
        write_sstable(env, f"{age}", model.entries(shifted), block_bytes=block_bytes)
        tables.append(SSTableReader.open(env, f"{age}", age, BlockCache(0)))

    runs = list(merge_runs([table.runs() for table in tables]))

    assert [entry for run in runs for entry in zip(*run, strict=True)] == model.entries(merged)
    last_keys = [run[0][-1] for run in runs]
    first_keys = [run[0][0] for run in runs]
    assert all(last < first for last, first in zip(last_keys, first_keys[1:], strict=False))


@given(model.versions.filter(bool), st.integers(1, 200), watermarks)
def test_outputs_are_disjoint_and_hold_what_was_kept(versions, table_bytes, watermark):
    env = MemoryEnv()
    env.make_directory("db")
    write_sstable(env, f"db/{table_name(1)}", model.entries(versions), block_bytes=60)
    job = CompactionJob(
        folder="db",
        sources=[[1]],
        output_mark="0123abcd",
        table_bytes=table_bytes,
        block_bytes=60,
        snapshots=snapshots_at(watermark),
        deeper=[[(b"a", b"b")]],
    )
    result = run_compaction(env, CompactionJob.decode(job.encode()), lambda: None)
    assert CompactionResult.decode(result.encode()) == result

    def lies_deeper(key: bytes) -> bool:
        return b"a" <= key <= b"b"

    expected = list(zip(*collect(columns(versions), snapshots_at(watermark), lies_deeper), strict=True))
    found = []
    for number, properties in enumerate(result.tables, 1):
        path = f"db/{unfinished_table_name(number, '0123abcd')}"
        table = SSTableReader.open(env, path, number, BlockCache(0))
        assert table.properties == properties
        assert not found or found[-1][0] < properties.smallest_key
        found += table.entries()
    assert found == expected
    assert result.read_count == len(model.entries(versions))
    assert result.collected_count == result.read_count - len(found)


@pytest.mark.parametrize("compression", Compression)
def test_no_output_is_larger_than_it_should_be_however_well_the_inputs_were_compressed(compression):
    # The inputs' files are tiny, and say nothing of how many outputs their rows make.
    rows = [(b"%06d" % number, 1, b"same " * 20) for number in range(2000)]
    env = MemoryEnv()
    env.make_directory("db")
    write_sstable(env, f"db/{table_name(1)}", rows, block_bytes=4096, compression=compression)
    job = CompactionJob("db", [[1]], "0123abcd", 10_000, 1000, [], [], compression=compression.value)
    result = run_compaction(env, job, lambda: None)
    counts = [table.entry_count for table in result.tables]
    assert sum(counts) == len(rows)
    # A table is cut with the run that fills it.
    assert max(counts) <= 2 * 10_000 // len(b"%06d" % 0 + b"same " * 20)


def test_a_job_leaves_no_input_open():
    closed = []

    class WatchedFile:
        def __init__(self, file):
            self.read_at, self.size = file.read_at, file.size

        def close(self):
            closed.append(self)

    class WatchedEnv(MemoryEnv):
        def open_read(self, path):
            return WatchedFile(super().open_read(path))

    env = WatchedEnv()
    env.make_directory("db")
    for number in (1, 2):
        write_sstable(env, f"db/{table_name(number)}", [(b"k", number, b"v")], block_bytes=60)
    job = CompactionJob("db", [[2], [1]], "0123abcd", 1000, 60, [], [])
    run_compaction(env, job, lambda: None)
    assert len(closed) == 2

    def stop():
        raise KeyError

    with pytest.raises(KeyError):
        run_compaction(env, job, stop)
    assert len(closed) == 4

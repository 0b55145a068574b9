"""What must hold of the tree of tables at every moment at which nothing is being compacted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ferrisdb.storage.compaction_picker import CompactionPicker
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import Env
from ferrisdb.storage.options import CompactionStyle, StorageOptions

TINY = StorageOptions(
    memtable_bytes=1500,
    block_bytes=100,
    manifest_bytes=600,
    table_bytes=400,
    level_base_bytes=800,
    level_growth=2,
    compaction_start_tables=2,
    compaction_slow_tables=6,
    compaction_slow_bytes_per_s=20_000,
    compaction_stop_tables=8,
)

TINY_TIERED = replace(TINY, compaction=CompactionStyle.TIERED)
STYLES = {"leveled": TINY, "tiered": TINY_TIERED}


def check_tree(engine: Engine) -> None:
    """Levels are in order and disjoint, age goes down, and the manifest says the same."""
    sources = engine._sources.now
    seen_oldest: dict[bytes, int] = {}
    for level in range(7):
        tables = sources.tables_of(level)
        ranges = [(table.properties.smallest_key, table.properties.largest_key) for table in tables]
        if level:
            flat = [key for pair in ranges for key in pair]
            assert flat == sorted(flat), f"level {level} is out of order: {ranges}"
            for (_, largest), (smallest, _) in pairwise(ranges):
                assert largest < smallest, f"a key in two tables of level {level}"
        for table in tables:
            in_table: dict[bytes, int] = {}
            for key, timestamp, _ in table.entries():
                assert timestamp < seen_oldest.get(key, 1 << 62), (
                    f"{key!r} at {timestamp} in level {level} is newer than what lies above it"
                )
                in_table[key] = timestamp
            seen_oldest.update(in_table)
    in_manifest = [(entry.level, entry.number) for entry in engine._manifest.state.tables]
    assert in_manifest == [(level, table.number) for level in range(7) for table in sources.tables_of(level)]
    assert engine._manifest.state.last_timestamp == sources.flushed_timestamp


def check_shape(engine: Engine) -> None:
    """No level is larger than it should be."""
    picker = engine._compactor._picker
    if isinstance(picker, CompactionPicker):
        scores = picker.scores(engine._sources.now)
        assert max(scores) < 1, scores
    assert picker.pick(engine._sources.now, 0) is None


def table_files(env: Env, folder: str) -> list[str]:
    """Names of all files that are, or would become, tables."""
    return [name for name in env.list_directory(folder) if ".sst" in name]


def contents(engine: Engine, timestamp: int | None = None) -> dict[bytes, bytes]:
    timestamp = engine.visible_timestamp if timestamp is None else timestamp
    found: dict[bytes, bytes] = {}
    for keys, values in engine.scan(b"", None, timestamp):
        found.update(zip(keys, values, strict=True))
    return found

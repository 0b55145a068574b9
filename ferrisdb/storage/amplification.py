"""Amplification: what an LSM tree pays, for writes, for reads and in space.

    write   bytes written to log and tables  /  bytes committed        what compaction costs
    read    blocks looked into               /  reads of one key       what levels cost
    space   bytes of all tables              /  bytes of live versions what waiting costs

No tree has all three small (Athanassoulis et al., "Designing Access Methods: The RUM
Conjecture", EDBT 2016): to compact less makes writes cheaper, reads and space dearer.

The first two are quotients of counters (`EngineStatistics`). The third asks how many bytes are
live, and nobody knows that without reading everything. It is usual to take the bytes of the
last level for them. That is wrong where the last level is small, as in a young database, where
it has old versions, and after a great delete. So a bound is taken from what each table knows
about itself:

    a sorted run (a table of level 0, or a level) holds each key once or more
      keys, at least         from the length of its filter, to within four a table; none of a
                             table that meets a deleted range, for that may hide them all
    - tombstones             its own, and those of all newer runs: each can hide one
    = live keys, at least    x bytes of an entry = live bytes, at least

The largest of the runs decides. Live data are at least that, so the amplification is at most
the quotient: it may be better than told, and is not worse, as far as one run's rows are alike
in size. In a tree at rest, whose last level holds nine tenths of all, the bound is near.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.range_tombstones import FlatView
from ferrisdb.storage.read_counts import LevelStatistics, ReadCounts, describe_level
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader


def space_amplification(sources: Sources) -> float | None:
    """Bytes of all tables by bytes of live versions, at most. None when nothing is live for sure."""
    live_bytes = 0.0
    tombstones = 0
    deleted = sources.range_tombstones.as_of(MAX_TIMESTAMP)
    for run in _runs(sources):
        tombstones += sum(table.properties.tombstone_count for table in run)
        live_keys = sum(table.fewest_keys for table in run if not _meets(table, deleted)) - tombstones
        run_bytes = sum(table.properties.file_bytes for table in run)
        entries = sum(table.properties.entry_count for table in run)
        live_bytes = max(live_bytes, run_bytes * live_keys / max(1, entries))
    if live_bytes == 0:
        return None
    return sum(table.properties.file_bytes for table in sources.tables) / live_bytes


def _meets(table: SSTableReader, deleted: FlatView) -> bool:
    found = table.properties
    return max(deleted.floors_between(found.smallest_key, found.largest_key)) > found.smallest_timestamp


def _runs(sources: Sources) -> list[tuple[SSTableReader, ...]]:
    """Newest first; none is empty."""
    each_alone = [(table,) for table in sources.level_zero]
    return each_alone + [level.tables for level in sources.levels if level.tables]


def describe_levels(sources: Sources, counts: Sequence[ReadCounts]) -> tuple[LevelStatistics, ...]:
    """From level 0 on."""
    return tuple(
        describe_level(level, [table.properties.file_bytes for table in sources.tables_of(level)], counted)
        for level, counted in enumerate(counts)
    )

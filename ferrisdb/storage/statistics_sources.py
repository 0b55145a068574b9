"""Where an engine's statistics come from: each part counts for itself, and here it is put together.

    log and commits     group_commit, background_sync
    flushes             flush
    the tree            sources, and amplification over it
    compactions         compaction
    blocks in memory    block_cache

Limits: nothing is locked, so counters of parts that are at work may be a step apart.
"""

from __future__ import annotations

from ferrisdb.storage.amplification import describe_levels, space_amplification
from ferrisdb.storage.background_sync import BackgroundSync
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.compaction import Compactor
from ferrisdb.storage.flush import Flusher
from ferrisdb.storage.group_commit import GroupCommit
from ferrisdb.storage.sources import LiveSources
from ferrisdb.storage.statistics import EngineStatistics


def gather_statistics(
    live_sources: LiveSources,
    *,
    commits: GroupCommit,
    background_sync: BackgroundSync,
    flusher: Flusher,
    compactor: Compactor,
    cache: BlockCache,
    last_timestamp: int,
    lookups: int,
    ingested_tables: int,
    ingested_bytes: int,
) -> EngineStatistics:
    """Counters since opening, and what is alive now."""
    sources = live_sources.now
    compaction = compactor.statistics
    levels = describe_levels(sources, live_sources.read_counts)
    return EngineStatistics(
        commits=commits.commit_count,
        groups=commits.group_count,
        fsyncs=commits.sync_count + background_sync.sync_count,
        log_bytes=commits.written_bytes,
        last_timestamp=last_timestamp,
        flushes=flusher.flush_count,
        flushed_bytes=flusher.flushed_bytes,
        stalls=flusher.stall_count,
        stalled_s=flusher.stalled_s,
        memtable_bytes=sources.active.approximate_bytes,
        flushing_memtables=len(sources.flushing),
        live_tables=len(sources.tables),
        table_bytes=sum(table.properties.file_bytes for table in sources.tables),
        cache_hits=sum(level.cache_hits for level in levels),
        cache_misses=cache.misses,
        cache_bytes=cache.size_bytes,
        tables_per_level=(len(sources.level_zero), *(len(level.tables) for level in sources.levels)),
        live_range_tombstones=len(sources.range_tombstones.all),
        is_compacting=compaction.is_running,
        compactions=compaction.compactions,
        moves=compaction.moves,
        compaction_read_bytes=compaction.read_bytes,
        compaction_written_bytes=compaction.written_bytes,
        collected_versions=compaction.collected_versions,
        dropped_tables=compaction.dropped_tables,
        obsolete_tables=compactor.obsolete_count,
        slowed_groups=compaction.slowed_groups,
        stops=compaction.stops,
        compaction_stalled_s=compaction.stalled_s,
        compaction_failures=compaction.failures,
        compaction_error=compaction.error,
        cache_evictions=cache.evictions,
        cache_passed_through=cache.passed_through,
        committed_bytes=commits.committed_bytes,
        lookups=lookups,
        levels=levels,
        space_amplification=space_amplification(sources),
        filtered_versions=compaction.filtered_versions,
        ingested_tables=ingested_tables,
        ingested_bytes=ingested_bytes,
    )

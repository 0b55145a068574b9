"""What an engine has done since it was opened, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisdb.immutable import immutable
from ferrisdb.storage.read_counts import LevelStatistics


@immutable
class EngineStatistics:
    commits: int
    groups: int
    """Writes to the log. `commits / groups` is how many shared one."""
    fsyncs: int
    """Of the log, for commits."""
    log_bytes: int
    """Written to the log for commits."""
    last_timestamp: int
    flushes: int
    flushed_bytes: int
    stalls: int
    """Times that writers waited for a flush."""
    stalled_s: float
    memtable_bytes: int
    """Of the active memtable, as estimated."""
    flushing_memtables: int
    live_tables: int
    table_bytes: int
    cache_hits: int
    cache_misses: int
    cache_bytes: int
    tables_per_level: tuple[int, ...]
    """From level 0 on."""
    live_range_tombstones: int
    """Deleted ranges that hide something, as far as is known."""
    is_compacting: bool
    compactions: int
    """Tables that were rewritten into others, counted in batches."""
    moves: int
    """Tables that went to a deeper level without being rewritten."""
    compaction_read_bytes: int
    compaction_written_bytes: int
    collected_versions: int
    """That nobody could read any more."""
    dropped_tables: int
    """Removed without being read: all that they had lay in deleted ranges."""
    obsolete_tables: int
    """Whose files are kept for readers that began before a compaction."""
    slowed_groups: int
    """Of commits, held up because compaction was behind."""
    stops: int
    """Times that writers waited for compaction."""
    compaction_stalled_s: float
    """What both took."""
    compaction_failures: int
    compaction_error: str | None
    """The last one. Compaction tries again a few times, then once after each flush; where that
    would be of no use, as with a damaged table, not before the next open."""
    filtered_versions: int
    """That had expired, or that the compaction filter did not want."""
    cache_evictions: int
    cache_passed_through: int
    """Of the evictions: blocks that nobody asked for a second time, as those of a large scan."""
    committed_bytes: int
    """Of keys and values that users committed, as they are packed."""
    lookups: int
    """Reads of one key, wherever they ended. With several threads it may be a few too small."""
    levels: tuple[LevelStatistics, ...]
    """From level 0 on."""
    space_amplification: float | None
    """Bytes of all tables by bytes that hold live versions, at most. None while that is not known."""
    ingested_tables: int = 0
    ingested_bytes: int = 0
    """Of their files, which did not go through the log."""

    @property
    def write_amplification(self) -> float | None:
        """Bytes written by bytes committed; None before the first commit."""
        written_bytes = self.log_bytes + self.flushed_bytes + self.compaction_written_bytes
        # What was ingested is written as it comes.
        committed_bytes = self.committed_bytes + self.ingested_bytes
        return (written_bytes + self.ingested_bytes) / committed_bytes if committed_bytes else None

    @property
    def read_amplification(self) -> float | None:
        """Blocks looked into by reads of one key; below 1 where memtables answer. None without reads."""
        blocks = sum(level.point_blocks for level in self.levels)
        return blocks / self.lookups if self.lookups else None


@dataclass
class CompactionStatistics:
    """What the compaction counts as it goes. Written by one thread each, read by all."""

    is_running: bool = False
    compactions: int = 0
    moves: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    collected_versions: int = 0
    dropped_tables: int = 0
    filtered_versions: int = 0
    slowed_groups: int = 0
    stops: int = 0
    stalled_s: float = 0.0
    failures: int = 0
    error: str | None = None

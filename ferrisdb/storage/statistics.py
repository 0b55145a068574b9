"""What an engine has done since it was opened, in numbers."""

from __future__ import annotations

from ferrisdb.immutable import immutable


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

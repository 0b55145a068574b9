"""What the user of a storage engine can choose, with the defaults and their reasons."""

from __future__ import annotations

import enum
import math
from typing import Final

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.immutable import immutable
from ferrisdb.storage.compaction_filter import MAX_EXPIRIES, CompactionFilter, Expiry


class Durability(enum.Enum):
    """What a commit has waited for when it returns."""

    FULL = "full"
    """The disk: the commit survives a power cut. Nobody sees it before that."""
    NORMAL = "normal"
    """The operating system: the commit survives the end of the process. A background thread
    syncs the log, so a power cut takes at most the commits of the last `sync_interval_ms`."""
    OFF = "off"
    """Nothing: it survives the end of the process, and a power cut only once the operating
    system has written it. What a power cut leaves is always a prefix of the commits."""


class MemtableKind(enum.Enum):
    """Which structure holds the newest writes. Both answer alike (see `memtable_kinds`)."""

    SORTED = "sorted"
    """A dict, and keys sorted when an order is asked for."""
    SKIP_LIST = "skip list"
    """Always in order; readers take no lock. Ten times slower in Python, ranges twice."""


class CompactionStyle(enum.Enum):
    """Which tables are merged with which. May be another one at every open."""

    LEVELED = "leveled"
    """New tables into the next, larger level, a piece at a time: few places to read, little
    space wasted, more bytes rewritten. See `compaction_picker`."""
    TIERED = "tiered"
    """Tables with tables of their own size: fewer bytes rewritten, more places to read, up
    to twice the space. See `compaction_tiered`."""


class Compression(enum.Enum):
    """How the blocks of new tables are stored (see `compression`). Every kind is always read."""

    NONE = "none"
    ZSTD = "zstd"
    LZ4 = "lz4"


class RecoveryMode(enum.Enum):
    """What opening does with a log whose end is not whole."""

    TOLERATE_TAIL = "tolerate tail"
    """A torn end is what a crash leaves: cut it off. Damage anywhere else is an error."""
    STRICT = "strict"
    """Any tear is an error."""
    SALVAGE = "salvage"
    """A torn end is cut off; of a log that is damaged elsewhere what is sound is kept, and
    `Engine.recovery_report` tells what is lost."""


@immutable
class StorageOptions:
    memtable_bytes: int = 32 * 1024 * 1024
    """The memtable is flushed when it passes this. Also what a recovery replays at most, times
    the number of memtables."""
    memtable: MemtableKind = MemtableKind.SORTED
    block_bytes: int = 4096
    """Of a table: what one point read decodes and checks."""
    compression: Compression = Compression.NONE
    """Of the blocks of tables that are written from now on. Needs `ferrisdb[compression]`."""
    cache_bytes: int = 64 * 1024 * 1024
    """Decoded blocks kept in memory."""
    durability: Durability = Durability.FULL
    """Of a commit that does not say otherwise."""
    sync_interval_ms: int = 100
    """A commit at durability NORMAL is synced within this time and that of one sync."""
    max_flushing_memtables: int = 2
    """Full memtables that may wait for the disk before writers wait for them."""
    recovery_mode: RecoveryMode = RecoveryMode.TOLERATE_TAIL
    manifest_bytes: int = 1024 * 1024
    """The manifest is replaced by a snapshot of itself when it passes this."""
    table_bytes: int = 8 * 1024 * 1024
    """Compaction begins a new table when one has reached this. Smaller ones make each
    compaction shorter and give more files to open."""
    level_base_bytes: int = 64 * 1024 * 1024
    """No level above the last is meant to be larger than this, unless a deeper one is also
    above it."""
    level_growth: int = 10
    """Each level is meant to be this many times as large as the one above it. Less rewrites
    less and wastes more space."""
    compaction_start_tables: int = 4
    """Tables of level 0 at which compaction begins: a read may have to ask each of them."""
    compaction_slow_tables: int = 8
    """Tables of level 0 at which writers are slowed down."""
    compaction_slow_bytes_per_s: int = 8 * 1024 * 1024
    """To this many bytes of the log; to half of it with one table more, and so on."""
    compaction_stop_tables: int = 12
    """Tables of level 0 at which writers wait for compaction."""
    compaction_process_bytes: int = 1024 * 1024
    """A compaction of this many bytes or more runs in a child process. For a smaller one the
    start of a Python, some 100 ms, would be most of the work: it runs in a thread."""
    compaction: CompactionStyle = CompactionStyle.LEVELED
    compaction_filter: CompactionFilter | None = None
    """A function that says of each row that is compacted whether it is still wanted."""
    expiries: tuple[Expiry, ...] = ()
    """Rows that compaction may drop some time after their commit, by prefixes of their keys."""

    retention_s: float = 0.0
    """Versions are kept so long after they were overwritten or deleted, also when no snapshot
    needs them: who asks for a timestamp within this time reads what was there then."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InvalidParameterValue(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.retention_s < math.inf:
            raise InvalidParameterValue(f"retention_s is {self.retention_s}; it must not be negative")
        if self.cache_bytes < 0:
            raise InvalidParameterValue(f"cache_bytes is {self.cache_bytes}; it must not be negative")
        start, slow, stop = (
            self.compaction_start_tables,
            self.compaction_slow_tables,
            self.compaction_stop_tables,
        )
        if not start <= slow <= stop:
            raise InvalidParameterValue(
                f"compaction starts at {start} tables, slows writers at {slow} and stops them at {stop}; "
                "these must not descend"
            )
        if len(self.expiries) > MAX_EXPIRIES:
            raise InvalidParameterValue(
                f"{len(self.expiries)} prefixes of keys that expire; at most {MAX_EXPIRIES} are possible"
            )


_LEAST: Final = {
    "memtable_bytes": 1,
    "block_bytes": 1,
    "sync_interval_ms": 1,
    "max_flushing_memtables": 1,
    "manifest_bytes": 1,
    "table_bytes": 1,
    "level_base_bytes": 1,
    "level_growth": 2,
    "compaction_start_tables": 1,
    "compaction_process_bytes": 0,
    "compaction_slow_bytes_per_s": 1,
}

"""What the engine does on its own, as typed events: one class for each kind.

    opening     RecoveryFinished
    writing     LogSegmentBegun  MemtableSealed  FlushStarted  FlushFinished
    the tree    TableAdded  TableRemoved  TableMoved
    compaction  CompactionStarted  CompactionFinished  CompactionFailed
    waiting     WriteSlowdownStarted  WriteSlowdownEnded  WriteStallStarted  WriteStallEnded
    trouble     WritesRefused  BackgroundError

Each is immutable, has `at_s`, and as text is one line for people. `at_s` is of a clock that
only goes forward and begins anywhere (`Env.monotonic_s`): differences mean something, the
number alone does not. The order is that of the stream; of two threads that tell something at
the same moment, the later in the stream may have read the clock a moment earlier.

The events tell the truth about the tree: who begins with the tables of `RecoveryFinished`, and
follows `TableAdded`, `TableRemoved` and `TableMoved`, has the set of live tables, level by
level. They are sent where the set is exchanged, under the lock that guards it.

What started ends: a stall or a slowdown that has started has its end in the stream, also when
the database is closed meanwhile or the wait ends with an error, and so has a compaction. Only
a flush that fails ends with BackgroundError, and one that the end of the process cuts off with nothing.
"""

from __future__ import annotations

import enum

from ferrisdb.immutable import immutable


class WaitReason(enum.Enum):
    """What writers wait for."""

    FLUSH = "flush"
    """Too many full memtables wait for the disk."""
    COMPACTION = "compaction"
    """Level 0 has too many tables."""


class Event:
    """The root of all kinds."""

    __slots__ = ()
    at_s: float


@immutable
class LiveTable:
    """A table that counts: where it is and how large."""

    number: int
    """Of its file, `000012.sst`."""
    level: int
    file_bytes: int

    def __str__(self) -> str:
        return f"table {self.number} of level {self.level} ({_size(self.file_bytes)})"


@immutable
class RecoveryFinished(Event):
    """The database is open. With it the stream begins."""

    at_s: float
    is_new: bool
    """It was created just now."""
    tables: tuple[LiveTable, ...]
    segments: int
    """Of the log, that were replayed."""
    commits: int
    """That were replayed."""
    cut_bytes: int
    """Torn off the end of the log: what a crash left of commits that nobody was told of."""
    duration_s: float

    def __str__(self) -> str:
        if self.is_new:
            return f"created a new database in {_time(self.duration_s)}"
        cut = f", cut off {_size(self.cut_bytes)} of a torn end" if self.cut_bytes else ""
        return (
            f"recovered {_count(self.commits, 'commit')} from {_count(self.segments, 'log segment')}"
            f"{cut}, found {_count(len(self.tables), 'table')} in {_time(self.duration_s)}"
        )


@immutable
class LogSegmentBegun(Event):
    at_s: float
    number: int

    def __str__(self) -> str:
        return f"log segment {self.number} begun"


@immutable
class MemtableSealed(Event):
    """A memtable takes no more commits, and waits to be flushed."""

    at_s: float
    log_number: int
    """Of the segment that has the same commits."""
    entries: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"memtable of log segment {self.log_number} sealed: "
            f"{_count(self.entries, 'version')}, {_size(self.memory_bytes)} in memory"
        )


@immutable
class FlushStarted(Event):
    at_s: float
    log_number: int
    """Of the segment that has the same commits."""
    entries: int

    def __str__(self) -> str:
        return f"flush of log segment {self.log_number} started: {_count(self.entries, 'version')}"


@immutable
class FlushFinished(Event):
    """The table is durable, and read in place of the memtable."""

    at_s: float
    log_number: int
    table: LiveTable | None
    """None when the commits had deleted ranges and written no key."""
    entries: int
    duration_s: float

    def __str__(self) -> str:
        return (
            f"flush of log segment {self.log_number} finished: {self.table or 'no table'}, "
            f"{_count(self.entries, 'version')} in {_time(self.duration_s)}"
        )


@immutable
class TableAdded(Event):
    at_s: float
    table: LiveTable

    def __str__(self) -> str:
        return f"{self.table} added"


@immutable
class TableRemoved(Event):
    """It no longer counts. Its file stays until its last reader is done."""

    at_s: float
    table: LiveTable

    def __str__(self) -> str:
        return f"{self.table} removed"


@immutable
class TableMoved(Event):
    """It overlapped nothing in the next level, so only the manifest had to change."""

    at_s: float
    table: LiveTable
    """As it is now."""
    from_level: int

    def __str__(self) -> str:
        return f"{self.table} moved from level {self.from_level}, not rewritten"


@immutable
class CompactionStarted(Event):
    at_s: float
    from_level: int
    to_level: int
    input_tables: int
    input_bytes: int

    def __str__(self) -> str:
        return (
            f"compaction {_levels(self)} started: "
            f"{_count(self.input_tables, 'table')}, {_size(self.input_bytes)}"
        )


@immutable
class CompactionFinished(Event):
    at_s: float
    from_level: int
    to_level: int
    input_tables: int
    input_bytes: int
    output_tables: int
    output_bytes: int
    collected_versions: int
    """That nobody could read any more."""
    in_child: bool
    """Merged by a child process; else by a thread of this one."""
    duration_s: float

    def __str__(self) -> str:
        return (
            f"compaction {_levels(self)} finished: {_count(self.input_tables, 'table')} "
            f"({_size(self.input_bytes)}) became {self.output_tables} ({_size(self.output_bytes)}), "
            f"{_count(self.collected_versions, 'version')} collected, "
            f"in a {'child process' if self.in_child else 'thread'}, {_time(self.duration_s)}"
        )


@immutable
class CompactionFailed(Event):
    """Nothing has changed, unless BackgroundError says more."""

    at_s: float
    from_level: int
    to_level: int
    reason: str
    duration_s: float

    def __str__(self) -> str:
        return f"compaction {_levels(self)} failed after {_time(self.duration_s)}: {self.reason}"


@immutable
class WriteSlowdownStarted(Event):
    """From here on each group of commits is held up for a moment."""

    at_s: float
    level_zero_tables: int

    def __str__(self) -> str:
        return f"writes are slowed down: level 0 has {_count(self.level_zero_tables, 'table')}"


@immutable
class WriteSlowdownEnded(Event):
    at_s: float
    duration_s: float

    def __str__(self) -> str:
        return f"writes are no longer slowed down, after {_time(self.duration_s)}"


@immutable
class WriteStallStarted(Event):
    at_s: float
    reason: WaitReason

    def __str__(self) -> str:
        return f"writes wait for {self.reason.value}"


@immutable
class WriteStallEnded(Event):
    at_s: float
    reason: WaitReason
    duration_s: float

    def __str__(self) -> str:
        return f"writes waited for {self.reason.value} for {_time(self.duration_s)}"


@immutable
class WritesRefused(Event):
    """The store takes no more writes until it is opened again. Reads go on."""

    at_s: float
    reason: str

    def __str__(self) -> str:
        return f"writes are refused from now on: {self.reason}"


@immutable
class BackgroundError(Event):
    """Work that nobody waits for has failed."""

    at_s: float
    task: str
    """"flush", "compaction", "removal of a table"."""
    reason: str
    has_given_up: bool
    """It is not tried again before the next open."""
    rests: bool = False
    """It has failed too often in a row. It is tried again after each flush, once."""

    def __str__(self) -> str:
        after = "; given up until the next open" if self.has_given_up else ""
        after = "; tried again after the next flush" if self.rests else after
        return f"{self.task} failed: {self.reason}{after}"


def _levels(event: CompactionStarted | CompactionFinished | CompactionFailed) -> str:
    if event.from_level == event.to_level:
        return f"of level {event.to_level}"
    return f"of level {event.from_level} into level {event.to_level}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size_bytes: int) -> str:
    if size_bytes < 10_000:
        return f"{size_bytes:,} bytes"
    if size_bytes < 10_000_000:
        return f"{size_bytes / 1000:,.0f} kB"
    return f"{size_bytes / 1_000_000:,.0f} MB"


def _time(duration_s: float) -> str:
    return f"{duration_s * 1000:.1f} ms" if duration_s < 1 else f"{duration_s:.2f} s"

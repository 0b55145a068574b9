"""Where a read looks: the memtables and tables that are alive, newest first.

    active memtable -> memtables being flushed -> level 0      -> level 1 -> ... -> level 6
      commits now        newest first             newest first    one table of each

The set is one immutable object. A reader takes it once, by one attribute load and no lock,
and reads from it in peace: a flush or a compaction meanwhile makes a new set, and what the
old one points to stays as it is, for as long as somebody holds it (see `obsolete_tables`).
Each version that a reader may want is in exactly one source of every set, for sources are
exchanged in one step.

Of any key, a source's versions are newer than those in all sources behind it. So the first
source that has something to say is right.

The deleted ranges (`range_tombstones`) are part of the set, so that a reader has tables and
tombstones that fit each other: one that is settled, because no table has a version any more
that it hides, is still there for those who read the tables of before.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Protocol

from ferrisdb.immutable import immutable
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.events import LiveTable, TableAdded, TableMoved, TableRemoved
from ferrisdb.storage.level import LEVEL_COUNT, Level
from ferrisdb.storage.memtable_kinds import Memtable
from ferrisdb.storage.range_tombstones import NO_RANGE_TOMBSTONES, RangeTombstone, RangeTombstones
from ferrisdb.storage.read_counts import ReadCounts
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.version import Chunk, Found


class Source(Protocol):
    """What memtables and tables have in common."""

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found: ...

    def newest_timestamp(self, key: bytes) -> int: ...

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]: ...


@immutable
class SealedMemtable:
    """A full memtable on its way to a table, and the log segment that holds the same commits."""

    memtable: Memtable
    log_number: int
    next_log_number: int
    """The segment after it: the oldest one that is needed when the memtable is flushed."""
    last_timestamp: int
    """Of the last commit in it, or before it."""


@dataclass(frozen=True)
class Sources:
    active: Memtable
    flushing: tuple[SealedMemtable, ...]
    level_zero: tuple[SSTableReader, ...]
    """Newest first: each may hold any key."""
    levels: tuple[Level, ...]
    """Level 1 and on; some may be empty."""
    range_tombstones: RangeTombstones = NO_RANGE_TOMBSTONES
    flushed_timestamp: int = 0
    """The last commit that is in these tables and in the manifest, deleted ranges included."""

    @cached_property
    def tables(self) -> tuple[SSTableReader, ...]:
        """All that are alive."""
        return (*self.level_zero, *chain.from_iterable(level.tables for level in self.levels))

    @cached_property
    def memtables(self) -> tuple[Memtable, ...]:
        return (self.active, *(sealed.memtable for sealed in self.flushing))

    @cached_property
    def active_range_count(self) -> int:
        """Deleted ranges of the commits in the active memtable."""
        before = self.flushing[0].last_timestamp if self.flushing else self.flushed_timestamp
        return sum(tombstone.timestamp > before for tombstone in self.range_tombstones.all)

    @cached_property
    def newest_first(self) -> tuple[Source, ...]:
        return (*self.memtables, *self.level_zero, *(level for level in self.levels if level.tables))

    def tables_of(self, level: int) -> tuple[SSTableReader, ...]:
        return self.levels[level - 1].tables if level else self.level_zero

    def overlapping(self, lo: bytes, hi: bytes | None) -> tuple[Source, ...]:
        """Those that may hold a key with lo <= key < hi, newest first."""
        tables = (
            table
            for table in self.level_zero
            if table.properties.largest_key >= lo and (hi is None or table.properties.smallest_key < hi)
        )
        levels = (level for level in self.levels if level.overlapping(lo, hi))
        return (*self.memtables, *tables, *levels)


class LiveSources:
    """The present set, and the steps that change it."""

    def __init__(self, sources: Sources, events: EventHub) -> None:
        self.now = sources
        self.events = events
        self.read_counts = tuple(ReadCounts() for _ in range(LEVEL_COUNT))
        """Of each level, for as long as the database is open. Its tables count there."""
        for level, counts in enumerate(self.read_counts):
            for table in sources.tables_of(level):
                table.counts = counts
        self.changed = threading.Condition()
        """Its lock guards the changes of `now`; notified after each."""

    def seal_active(self, log_number: int, next_log_number: int, last_timestamp: int) -> None:
        """Put an empty memtable in front of the active one."""
        with self.changed:
            sealed = SealedMemtable(self.now.active, log_number, next_log_number, last_timestamp)
            self.now = replace(
                self.now, active=sealed.memtable.empty_twin(), flushing=(sealed, *self.now.flushing)
            )
            self.changed.notify_all()

    def replace_oldest_memtable(self, table: SSTableReader | None) -> None:
        """The oldest memtable is flushed: from now on its table is read. None when it had only
        deleted ranges."""
        if table is not None:
            table.counts = self.read_counts[0]
        with self.changed:
            *waiting, flushed = self.now.flushing
            added = () if table is None else (table,)
            self.now = replace(
                self.now,
                flushing=tuple(waiting),
                level_zero=newest_first((*added, *self.now.level_zero)),
                flushed_timestamp=flushed.last_timestamp,
            )
            self.changed.notify_all()
            # Under the lock, here and below: a compaction may take the table the next moment,
            # and nobody may hear that it is gone before they hear that it is there.
            if table is not None:
                self.events.emit(TableAdded(self.events.now_s(), _live_table(table, 0)))

    def add_ingested(self, placed: Sequence[tuple[int, SSTableReader]], timestamp: int) -> None:
        """Levels and tables of an ingest, which is the commit `timestamp`. No memtable has anything."""
        with self.changed:
            now = self.now
            tables = [list(now.tables_of(level)) for level in range(LEVEL_COUNT)]
            for level, table in placed:
                table.counts = self.read_counts[level]
                tables[level].append(table)
            grown = {level for level, _ in placed}
            self.now = replace(
                now,
                level_zero=newest_first(tables[0]),
                levels=tuple(
                    Level(tables[level]) if level in grown else now.levels[level - 1]
                    for level in range(1, LEVEL_COUNT)
                ),
                flushed_timestamp=timestamp,
            )
            self.changed.notify_all()
            now_s = self.events.now_s()
            for level, table in placed:
                self.events.emit(TableAdded(now_s, _live_table(table, level)))

    def add_range_tombstones(self, added: Sequence[RangeTombstone]) -> None:
        """Newer than all that are here, oldest first. Before a reader is told of their commits."""
        with self.changed:
            tombstones = self.now.range_tombstones.with_added(added)
            self.now = replace(self.now, range_tombstones=tombstones)

    def remove_range_tombstones(self, settled: Collection[RangeTombstone]) -> None:
        """No source has a version any more that these hide."""
        with self.changed:
            tombstones = self.now.range_tombstones.without(settled)
            self.now = replace(self.now, range_tombstones=tombstones)

    def replace_tables(self, removed: Collection[int], level: int, added: Sequence[SSTableReader]) -> None:
        """From now on the tables `added` of `level` are read, in place of those with these numbers."""
        with self.changed:
            now = self.now
            level_zero = [table for table in now.level_zero if table.number not in removed]
            if level == 0:
                level_zero += added
            levels = list(now.levels)
            for number in range(1, LEVEL_COUNT):
                tables = levels[number - 1].tables
                kept = [table for table in tables if table.number not in removed]
                if number == level:
                    kept += added
                if number == level or len(kept) < len(tables):
                    levels[number - 1] = Level(kept)
            self.now = replace(
                now,
                level_zero=newest_first(level_zero),
                levels=tuple(levels),
            )
            self.changed.notify_all()
            for table in added:
                table.counts = self.read_counts[level]
            self._tell_exchange(now, removed, level, added)

    def _tell_exchange(
        self, before: Sources, removed: Collection[int], level: int, added: Sequence[SSTableReader]
    ) -> None:
        was_live = {
            table.number: _live_table(table, at)
            for at in range(LEVEL_COUNT)
            for table in before.tables_of(at)
            if table.number in removed
        }
        now_s = self.events.now_s()
        for table in added:
            moved = was_live.pop(table.number, None)
            here = _live_table(table, level)
            self.events.emit(
                TableAdded(now_s, here) if moved is None else TableMoved(now_s, here, moved.level)
            )
        for gone in was_live.values():
            self.events.emit(TableRemoved(now_s, gone))

    def live_tables(self) -> tuple[LiveTable, ...]:
        """All that are alive, level by level."""
        now = self.now
        return tuple(
            _live_table(table, level) for level in range(LEVEL_COUNT) for table in now.tables_of(level)
        )


def _live_table(table: SSTableReader, level: int) -> LiveTable:
    return LiveTable(table.number, level, table.properties.file_bytes)


def newest_first(level_zero: Iterable[SSTableReader]) -> tuple[SSTableReader, ...]:
    """Tables of level 0, whose timestamps do not overlap, by age. Their numbers say nothing."""
    return tuple(sorted(level_zero, key=lambda table: -table.properties.largest_timestamp))

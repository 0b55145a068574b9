"""Where a read looks: the memtables and tables that are alive, newest first.

    active memtable -> memtables being flushed -> tables
      commits now        newest first              newest first

The set is one immutable object. A reader takes it once, by one attribute load and no lock,
and reads from it in peace: a flush meanwhile makes a new set, and what the old one points to
stays as it is. Each version is in at least one source of every set, for a table is added in
the same step in which its memtable goes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from ferrisdb.immutable import immutable
from ferrisdb.storage.memtable_kinds import Memtable
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.version import Chunk, Found


class Source(Protocol):
    """What memtables and tables have in common."""

    def read(self, key: bytes, timestamp: int) -> Found: ...

    def newest_timestamp(self, key: bytes) -> int: ...

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
    ) -> Iterator[Chunk]: ...


@immutable
class SealedMemtable:
    """A full memtable on its way to a table, and the log segment that holds the same commits."""

    memtable: Memtable
    log_number: int


@dataclass(frozen=True)
class Sources:
    active: Memtable
    flushing: tuple[SealedMemtable, ...]
    tables: tuple[SSTableReader, ...]

    @cached_property
    def memtables(self) -> tuple[Memtable, ...]:
        return (self.active, *(sealed.memtable for sealed in self.flushing))

    @cached_property
    def newest_first(self) -> tuple[Source, ...]:
        return (*self.memtables, *self.tables)

    def overlapping(self, lo: bytes, hi: bytes | None) -> tuple[Source, ...]:
        """Those that may hold a key with lo <= key < hi, newest first."""
        tables = (
            table
            for table in self.tables
            if table.properties.largest_key >= lo and (hi is None or table.properties.smallest_key < hi)
        )
        return (*self.memtables, *tables)


class LiveSources:
    """The present set, and the steps that change it."""

    def __init__(self, sources: Sources) -> None:
        self.now = sources
        self.changed = threading.Condition()
        """Its lock guards the changes of `now`; notified after each."""

    def seal_active(self, log_number: int) -> None:
        """Put an empty memtable in front of the active one."""
        with self.changed:
            sealed = SealedMemtable(self.now.active, log_number)
            self.now = replace(
                self.now, active=sealed.memtable.empty_twin(), flushing=(sealed, *self.now.flushing)
            )
            self.changed.notify_all()

    def replace_oldest_memtable(self, table: SSTableReader) -> None:
        """The oldest memtable is flushed: from now on its table is read."""
        with self.changed:
            self.now = replace(self.now, flushing=self.now.flushing[:-1], tables=(table, *self.now.tables))
            self.changed.notify_all()

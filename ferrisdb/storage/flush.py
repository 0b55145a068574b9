"""Flushing: a full memtable becomes a table of level 0, and its log segment may go.

    1  write the table, sync it          a crash here leaves an orphan file, which open removes
    2  sync the folder                   now the table's name is safe, too
    3  manifest edit, synced             THE step: before it the log counts, after it the table
    4  readers get the table instead of the memtable
    5  remove the log segment            a crash before this leaves a segment that open removes

The edit of 3 also takes over the ranges that the memtable's commits have deleted. A memtable
with nothing else gives no table, only the edit.

The order is the whole of it. With 3 before 2, a power cut could leave a manifest that names
a file that is not there; with 5 before 3, the commits would be nowhere.

One daemon thread flushes, the oldest memtable first, while commits go on into a new one.
When too many wait, writers wait for it (a stall). When a flush fails the store refuses
writes, and nothing is lost: the memtable stays readable and its segment stays on the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ferrisdb.errors import Error, StorageError
from ferrisdb.storage.backpressure import stall
from ferrisdb.storage.env import join
from ferrisdb.storage.events import (
    BackgroundError,
    FlushFinished,
    FlushStarted,
    LiveTable,
    MemtableSealed,
    WaitReason,
)
from ferrisdb.storage.file_names import log_name, table_name
from ferrisdb.storage.manifest import ManifestEdit, TableEntry
from ferrisdb.storage.open_tree import OpenTree
from ferrisdb.storage.sources import SealedMemtable
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable


class Flusher:
    """The thread that flushes, and the places where others wait for it."""

    def __init__(self, tree: OpenTree) -> None:
        self.flush_count = 0
        self.flushed_bytes = 0
        self.stall_count = 0
        self.stalled_s = 0.0
        self._env = tree.env
        self._folder = tree.folder
        self._options = tree.options
        self._manifest = tree.manifest
        self._numbers = tree.numbers
        self._sources = tree.sources
        self._cache = tree.cache
        self._clock = tree.clock
        self._active_log_number = 0
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._report_failure: Callable[[BaseException], None] = lambda cause: None
        self._report_table: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="ferrisdb-flush", daemon=True)

    def start(
        self,
        active_log_number: int,
        report_failure: Callable[[BaseException], None],
        report_table: Callable[[], object],
    ) -> None:
        self._active_log_number = active_log_number
        self._report_failure = report_failure
        self._report_table = report_table
        self._thread.start()

    def stop(self) -> None:
        """Let the flush in progress finish; leave the others to the next open.

        An interrupt meanwhile is raised at the end. The caller lets go of the folder next,
        and were the thread still at work then, it would write into somebody else's database.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                # Also where it does not seem alive: a start that was interrupted may be still to come.
                with self._sources.changed:
                    self._is_stopping = True
                    self._sources.changed.notify_all()
                if self._thread.is_alive():
                    self._thread.join()
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def wait_for_room(self) -> None:
        """Return when one more memtable may be sealed. Raises StorageError when none ever will."""
        most = self._options.max_flushing_memtables
        with self._sources.changed:
            if len(self._sources.now.flushing) < most:
                return
            self.stall_count += 1
            with stall(self._sources.events, WaitReason.FLUSH) as start_s:
                self._wait_until(lambda: len(self._sources.now.flushing) < most)
            self.stalled_s += self._env.monotonic_s() - start_s

    def seal_active(self, new_log_number: int, last_timestamp: int) -> None:
        """Queue the active memtable, whose last commit is given. From here on commits go to the
        new segment."""
        with self._sources.changed:
            old_log_number, full = self._active_log_number, self._sources.now.active
            self._sources.seal_active(old_log_number, new_log_number, last_timestamp)
            self._active_log_number = new_log_number
            events = self._sources.events
            entries, memory_bytes = full.version_count, full.approximate_bytes
            events.emit(MemtableSealed(events.now_s(), old_log_number, entries, memory_bytes))

    def wait_until_flushed(self) -> None:
        """Return when all that is sealed now is in tables. Raises StorageError when it will not be."""
        with self._sources.changed:
            waiting = self._sources.now.flushing
            if waiting:
                newest = waiting[0].log_number
                self._wait_until(lambda: self._is_flushed(newest))

    def _is_flushed(self, log_number: int) -> bool:
        """Whether the sealed memtables up to that of this segment are in tables. Under the lock."""
        flushing = self._sources.now.flushing
        return not flushing or flushing[-1].log_number > log_number

    def _wait_until(self, is_done: Callable[[], bool]) -> None:
        self._sources.changed.wait_for(lambda: is_done() or self._failure is not None or self._is_stopping)
        if is_done():
            return
        if self._failure is not None:
            raise _flush_failed(self._failure)
        raise StorageError("the database was closed while a flush was waited for")

    def _run(self) -> None:
        while True:
            with self._sources.changed:
                self._sources.changed.wait_for(lambda: self._is_stopping or self._sources.now.flushing)
                if self._is_stopping:
                    return
                oldest = self._sources.now.flushing[-1]
            try:
                self._flush(oldest)
            except BaseException as error:
                # Whatever it was, it must not end the thread in silence: writers would wait
                # for ever. It is raised where people look, at the next write.
                failed = _flush_failed(error)
                events = self._sources.events
                events.emit(BackgroundError(events.now_s(), "flush", failed.message, has_given_up=True))
                self._report_failure(failed)
                with self._sources.changed:
                    self._failure = error
                    self._sources.changed.notify_all()
                return
            # Else its memory would wait for the next flush, which may be far away.
            del oldest

    def _flush(self, sealed: SealedMemtable) -> None:
        events, start_s = self._sources.events, self._sources.events.now_s()
        entries = sealed.memtable.version_count
        events.emit(FlushStarted(start_s, sealed.log_number, entries))
        table = self._write_table(sealed) if entries else None
        entry = None if table is None else describe_table(table, table.number, level=0)
        now = self._sources.now
        self._manifest.apply(
            ManifestEdit(
                added=() if entry is None else (entry,),
                # As it was when the memtable was sealed. Asked for now, an interrupted change of
                # segments could give a later one, and the next open would drop one that counts.
                oldest_log_number=sealed.next_log_number,
                last_timestamp=sealed.last_timestamp,
                deleted_ranges=now.range_tombstones.between(now.flushed_timestamp, sealed.last_timestamp),
                commit_times=self._clock.sample(sealed.last_timestamp),
            )
        )
        self._sources.replace_oldest_memtable(table)
        self.flush_count += 1
        written: LiveTable | None = None
        if entry is not None:
            written = LiveTable(entry.number, entry.level, entry.file_bytes)
            self.flushed_bytes += entry.file_bytes
        now_s = events.now_s()
        events.emit(FlushFinished(now_s, sealed.log_number, written, entries, now_s - start_s))
        self._report_table()
        self._env.remove(join(self._folder, log_name(sealed.log_number)))

    def _write_table(self, sealed: SealedMemtable) -> SSTableReader:
        number = self._numbers.take()
        path = join(self._folder, table_name(number))
        write_sstable(
            self._env,
            path,
            sealed.memtable.entries(),
            block_bytes=self._options.block_bytes,
            compression=self._options.compression,
        )
        self._env.sync_directory(self._folder)
        return SSTableReader.open(self._env, path, number, self._cache)


def describe_table(table: SSTableReader, number: int, level: int) -> TableEntry:
    """What the manifest says of a table."""
    found = table.properties
    return TableEntry(
        number=number,
        level=level,
        file_bytes=found.file_bytes,
        entry_count=found.entry_count,
        smallest_key=found.smallest_key,
        largest_key=found.largest_key,
        smallest_timestamp=found.smallest_timestamp,
        largest_timestamp=found.largest_timestamp,
        ingested_at=table.ingested_at,
        tombstone_count=found.tombstone_count,
        fewest_keys=table.fewest_keys,
        blocks_checksum=found.blocks_checksum,
    )


def _flush_failed(cause: BaseException) -> StorageError:
    reason = cause.message if isinstance(cause, Error) else f"{type(cause).__name__}: {cause}"
    failed = StorageError(
        f"a memtable could not be flushed: {reason}",
        hint="nothing is lost: the commits are in the log, and will be there when it is opened again",
    )
    failed.__cause__ = cause
    return failed

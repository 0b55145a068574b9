"""A database read from outside, while another process may be writing it.

    look   CURRENT -> manifest -> tables -> log -> a view: (timestamp, sources)
                |        |          |       |
                the same file, the same length, open already, read on from where it ended

A view is the database of one moment: the tables that the manifest named, and the log behind
them as far as it went. Opening takes the first look and `refresh` another one. A transaction
reads from the view that it began with, to its end; the views in between go. Only where the
writer took back a commit that we may have seen (see `log_follower`) all views go, and who reads
from one gets SnapshotTooOld, or, once the timestamp has been given again, its true commit.

Nothing is locked, so the writer does not know of us and may remove each file just before it
is opened. It removes only what a newer manifest, or a newer edit of this one, no longer
names. So a look that misses a file begins again at CURRENT. Bytes that look damaged may have
been read while they were being written: only what a second look finds damaged again is an
error. And a table once open can be read when its name is gone.

That a view is whole: the log reaches at least to what the tables need. Compaction drops
versions that the newest visible commit hides, and that commit was in the log before; so it
is in the view, whose tables were named before the log was read. And every table's commits
are at or below the last one of the log, for the same reason.

A reader shows no commit that a power cut could take back: see `log_follower`, with the one
exception. The same holds for the manifest.

Limits: memory for a memtable of each live segment. A manifest that has grown is read whole. A
folder that was removed and made anew is another database: open it again. On Windows a file
that somebody has open cannot be removed, which makes a live writer fail: read only what
nobody writes there. `ferrisdb check` is separate: opening here checks what opening reads.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, pairwise
from typing import Final

from ferrisdb.errors import (
    CorruptionError,
    Error,
    InterfaceError,
    NotADatabase,
    ReadOnlyStore,
    SnapshotTooOld,
    StorageError,
    Unavailable,
    broken,
)
from ferrisdb.storage import reads
from ferrisdb.storage.amplification import describe_levels, space_amplification
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.commit_times import version_by
from ferrisdb.storage.env import Env, ReadFile, join
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.file_names import CURRENT_NAME, manifest_name
from ferrisdb.storage.forks import disown_in_child, opened_before_fork
from ferrisdb.storage.ingest import Pairs
from ferrisdb.storage.level import LEVEL_COUNT
from ferrisdb.storage.log_follower import LogChanged, LogFollower
from ferrisdb.storage.manifest import Manifest, ManifestState, TableEntry, read_current
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.pinned_tables import PinnedTables
from ferrisdb.storage.range_tombstones import DeletedRange, RangeTombstones
from ferrisdb.storage.read_counts import ReadCounts
from ferrisdb.storage.recovery import arranged, is_database, open_table
from ferrisdb.storage.sources import SealedMemtable, Sources
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.statistics import EngineStatistics
from ferrisdb.storage.version_chain import StoredVersion, version_chain

MAX_LOOKS: Final = 100
"""Before a reader gives up. Each look opens only what is new since the one before, so a writer
would have to replace tables faster than they can be opened."""

WithSnapshotsInUse = Callable[[Callable[[Collection[int]], None]], None]
"""See `ReadOnlyEngine.keep_snapshots`."""


class ReadOnlyEngine:
    """One folder, which others may be writing. Thread-safe."""

    is_read_only: Final = True
    recovery_report: Final = None
    """A reader mends nothing."""

    @classmethod
    def open(cls, env: Env, folder: str, options: StorageOptions | None = None) -> ReadOnlyEngine:
        """The database in `folder` as it is now. Nothing is created, changed or locked.

        Raises NotADatabase, also when nothing is there; FormatVersionError; CorruptionError
        with file and offset; StorageError; Unavailable when the writer was faster each time.
        """
        _require_database(env, folder)
        engine = cls(env, folder, options or StorageOptions())
        try:
            engine.refresh()
        except BaseException:
            engine.close()
            raise
        return engine

    def __init__(self, env: Env, folder: str, options: StorageOptions) -> None:
        """Use `open`."""
        self._env = env
        self._folder = folder
        self.events = EventHub(env.monotonic_s)
        """Nothing is told here: a reader does nothing on its own."""
        self._cache = BlockCache(options.cache_bytes)
        self._read_counts = tuple(ReadCounts() for _ in range(LEVEL_COUNT))
        self._lookups = 0
        self._log = LogFollower(env, folder, options.memtable)
        self._lock = threading.Lock()
        """Of whoever looks."""
        self._manifest: Manifest | None = None
        self._tables: dict[int, SSTableReader] = {}
        self._all_tables: weakref.WeakSet[SSTableReader] = weakref.WeakSet()
        self._visible_timestamp = 0
        self._collected_below = 0
        self._looked_s = 0.0
        """When the last look began, by the clock on the wall."""
        self._views: dict[int, Sources] = {}
        """By timestamp. Replaced, never changed: readers take no lock."""
        self._newest: Sources | None = None
        """The view of the last look. None before the first one, and when closed."""
        self._must_forget = False
        """Whether the writer took a commit back that a view may have."""
        self._with_snapshots_in_use: WithSnapshotsInUse = _with_none
        self._unusable: Callable[[], Error] | None = None
        disown_in_child(self)

    # --- reading

    @property
    def visible_timestamp(self) -> int:
        """The last commit of the last look."""
        if self._unusable is not None:
            raise self._unusable()
        return self._visible_timestamp

    def read(self, key: bytes, timestamp: int) -> bytes | None:
        """The value of `key` as of `timestamp`; None when there is none.

        This and the other reads take a timestamp that was the visible one, at the last look or
        at one that `keep_snapshots` knows of; SnapshotTooOld for any other.
        """
        self._lookups += 1
        return reads.read(self._sources_at(timestamp), key, timestamp)

    def read_many(self, keys: Sequence[bytes], timestamp: int) -> list[bytes | None]:
        """`read` of each."""
        self._lookups += len(keys)
        return reads.read_many(self._sources_at(timestamp), keys, timestamp)

    def scan(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
    ) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Batches of (keys, values) with lo <= key < hi as of `timestamp`, in key order.

        `hi` None is the end. The lists are only to be read.
        """
        return reads.scan(self._sources_at(timestamp), lo, hi, timestamp, reverse=reverse)

    def newest_timestamp(self, key: bytes, after: int) -> int:
        """The newest commit of `key` when that is after `after`, deletes included; else 0."""
        self._lookups += 1
        return reads.newest_timestamp(self._newest_sources(), key, after)

    def _sources_at(self, timestamp: int) -> Sources:
        if self._unusable is not None:
            raise self._unusable()
        sources = self._views.get(timestamp)
        if sources is None:
            raise SnapshotTooOld(f"the moment of commit {timestamp} is no longer kept by this reader")
        return sources

    @property
    def retention_s(self) -> float:
        """How much of the past is kept is the writer's business."""
        return 0.0

    def oldest_readable(self) -> int:
        """The oldest moment at which somebody may begin to read: what is gone is in the manifest."""
        return self._collected_below

    def version_at(self, second: float) -> int | None:
        """The last commit that was visible then; None when nobody has noted it."""
        times = () if self._manifest is None else self._manifest.state.commit_times
        return version_by(times, second, self._visible_timestamp, self._looked_s)

    def keep_moment(self, timestamp: int) -> None:
        """A reader at `timestamp` comes, which is at or above `oldest_readable`. Called while nobody
        publishes, by who then has the timestamp among its snapshots in use."""
        if timestamp not in self._views:
            self._views = {**self._views, timestamp: self._newest_sources()}

    def _newest_sources(self) -> Sources:
        # Not the view of the visible timestamp: between asking for the one and for the other,
        # somebody may refresh.
        sources = self._newest
        if self._unusable is not None:
            raise self._unusable()
        if sources is None:
            broken("opening takes the first look")
        return sources

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None, after: int) -> int:
        """The newest commit above `after` that wrote or deleted anything of lo <= key < hi; else 0."""
        return reads.newest_timestamp_in(self._newest_sources(), lo, hi, after)

    def versions(self, key: bytes) -> list[StoredVersion]:
        """Every version of `key` in the newest view, newest first."""
        return version_chain(self._newest_sources(), key)

    # --- looking

    def keep_snapshots(self, with_snapshots_in_use: WithSnapshotsInUse) -> None:
        """From now on keep the views of the timestamps in use. Whoever refreshes calls
        `with_snapshots_in_use(publish)`; it calls `publish(timestamps)`, and nobody may take a
        snapshot before that returns."""
        self._with_snapshots_in_use = with_snapshots_in_use

    def refresh(self) -> bool:
        """Go on to the present: whether there are new commits.

        On an error all stays as it was. Raises as `open`.
        """
        with self._lock:
            if self._unusable is not None:
                raise self._unusable()
            doubt = ""
            for _ in range(MAX_LOOKS):
                try:
                    return self._look()
                except FileNotFoundError:
                    continue
                except LogChanged:
                    self._must_forget = True
                except CorruptionError as error:
                    if str(error) == doubt:
                        raise
                    doubt = str(error)
            raise Unavailable(
                f"{self._folder} is changed by its writer faster than it can be opened",
                hint="try again when less is written",
            )

    def _look(self) -> bool:
        looked_s = self._env.now_s()
        state = self._read_manifest()
        tables = [self._table(entry) for entry in state.tables]
        self._log.follow(state.oldest_log_number, state.last_timestamp)
        self._tables = {table.number: table for table in tables}
        level_zero, levels = arranged(state, tables)
        segments = self._log.segments
        flushing = tuple(
            SealedMemtable(segment.memtable, segment.number, following.number, segment.last_timestamp)
            for segment, following in reversed(list(pairwise(segments)))
            if segment.memtable.version_count
        )
        before = self._visible_timestamp
        in_log = chain.from_iterable(segment.deleted_ranges for segment in segments)
        tombstones = RangeTombstones((*state.deleted_ranges, *in_log))
        active, flushed = segments[-1].memtable, state.last_timestamp
        sources = Sources(active, flushing, level_zero, levels, tombstones, flushed)
        collected_below = state.last_timestamp if state.collected_below is None else state.collected_below
        self._publish(self._log.last_timestamp, sources, collected_below, looked_s)
        return self._visible_timestamp != before

    def _publish(self, timestamp: int, sources: Sources, collected_below: int, looked_s: float) -> None:
        def publish(in_use: Collection[int]) -> None:
            before = {} if self._must_forget else self._views
            kept = {each: view for each, view in before.items() if each in in_use}
            # Where this very moment is in use already, it stays as it was: the commits are the
            # same, but what has expired since may be gone from the files.
            newest = kept.setdefault(timestamp, sources)
            # Both, while the visible moment changes: whoever has asked for the old one reads it now.
            self._views = {**self._views, **kept}
            self._visible_timestamp = timestamp
            self._collected_below, self._looked_s = collected_below, looked_s
            self._views, self._newest, self._must_forget = kept, newest, False

        self._with_snapshots_in_use(publish)

    def _read_manifest(self) -> ManifestState:
        known = self._manifest
        if known is not None and read_current(self._env, self._folder) == known.number:
            with self._opened(known) as file:
                if file.size() == known.size_bytes:
                    return known.state
        manifest, _ = Manifest.load(self._env, self._folder, tolerate_tail=True, limit_bytes=1)
        # An edit may be the only record of a commit (tables that were ingested). Like the log's
        # records it is synced before anybody is told of it; and where CURRENT is new, its name.
        with self._opened(manifest) as file:
            file.sync()
        if known is None or manifest.number != known.number:
            with suppress(StorageError):  # Where a file system knows no sync of folders.
                self._env.sync_directory(self._folder)
        self._manifest = manifest
        return manifest.state

    @contextmanager
    def _opened(self, manifest: Manifest) -> Iterator[ReadFile]:
        file = self._env.open_read(join(self._folder, manifest_name(manifest.number)))
        try:
            yield file
        finally:
            file.close()

    def _table(self, entry: TableEntry) -> SSTableReader:
        """The table of `entry`, whose number is that of no other table, ever."""
        table = self._tables.get(entry.number)
        if table is None:
            table = open_table(self._env, self._folder, entry, self._cache)
            self._all_tables.add(table)
            # At once: what this look has opened the next one need not, should this one fail.
            self._tables[entry.number] = table
        table.counts = self._read_counts[entry.level]
        return table

    # --- what only a writer can do

    def commit(
        self,
        writes: Mapping[bytes, bytes | None],
        durability: Durability | None = None,
        *,
        deleted_ranges: Sequence[DeletedRange] = (),
    ) -> int:
        """Raises ReadOnlyStore, unless there is nothing to write."""
        if writes or deleted_ranges:
            raise ReadOnlyStore("commit")
        return self.visible_timestamp

    def ingest(
        self,
        pairs: Pairs,
        *,
        below: bytes | None = None,
        before_publish: Callable[[bytes, bytes], object] = lambda first_key, last_key: None,
    ) -> int:
        """Raises ReadOnlyStore."""
        raise ReadOnlyStore("ingest")

    def flush(self) -> None:
        """Raises ReadOnlyStore."""
        raise ReadOnlyStore("flush")

    def wait_until_compacted(self) -> None:
        """Raises ReadOnlyStore."""
        raise ReadOnlyStore("compact")

    def pin_tables(self) -> PinnedTables:
        """Raises ReadOnlyStore."""
        # What is only in the log would have to be flushed, and that is for the writer.
        raise ReadOnlyStore("make a backup")

    def checkpoint(self, folder: str, env: Env | None = None) -> None:
        """Raises ReadOnlyStore."""
        raise ReadOnlyStore("make a checkpoint")

    @property
    def has_expiries(self) -> bool:
        """Whether it matters when a snapshot is taken: a reader lets nothing expire."""
        return False

    def now_s(self) -> float:
        return self._env.now_s()

    # --- life cycle

    def statistics(self) -> EngineStatistics:
        """What is open, and the cache. What writers count is 0."""
        sources = self._newest_sources()
        levels = describe_levels(sources, self._read_counts)
        return EngineStatistics(
            commits=0,
            groups=0,
            fsyncs=0,
            log_bytes=0,
            last_timestamp=self._visible_timestamp,
            flushes=0,
            flushed_bytes=0,
            stalls=0,
            stalled_s=0.0,
            memtable_bytes=sources.active.approximate_bytes,
            flushing_memtables=len(sources.flushing),
            live_tables=len(sources.tables),
            table_bytes=sum(table.properties.file_bytes for table in sources.tables),
            cache_hits=sum(level.cache_hits for level in levels),
            cache_misses=self._cache.misses,
            cache_bytes=self._cache.size_bytes,
            tables_per_level=(len(sources.level_zero), *(len(level.tables) for level in sources.levels)),
            is_compacting=False,
            compactions=0,
            moves=0,
            compaction_read_bytes=0,
            compaction_written_bytes=0,
            collected_versions=0,
            obsolete_tables=len(self._all_tables) - len(sources.tables),
            slowed_groups=0,
            stops=0,
            compaction_stalled_s=0.0,
            compaction_failures=0,
            compaction_error=None,
            filtered_versions=0,
            live_range_tombstones=len(sources.range_tombstones.all),
            dropped_tables=0,
            cache_evictions=self._cache.evictions,
            cache_passed_through=self._cache.passed_through,
            committed_bytes=0,
            lookups=self._lookups,
            levels=levels,
            space_amplification=space_amplification(sources),
        )

    def close(self) -> None:
        """Close every file. Fine when already closed. What is open in other threads fails with
        InterfaceError."""
        with self._lock:
            if self._unusable is not None:
                return
            self._unusable = _closed
            self.events.close()
            self._views, self._newest = {}, None
            for table in list(self._all_tables):
                table.close()

    def disown(self) -> None:
        """In a forked child: a lock in here may be held by a thread that is not there."""
        self._unusable = opened_before_fork
        self.events.disown()
        self._lock = threading.Lock()


def _require_database(env: Env, folder: str) -> None:
    if env.exists(join(folder, CURRENT_NAME)):
        return
    if not env.exists(folder):
        raise NotADatabase(
            f"{folder} does not exist", hint="opening read-only creates nothing: open it to write first"
        )
    if is_database(env, folder):
        return
    raise NotADatabase(
        f"{folder} is not a FerrisDB database: it is empty, or a database is just being made in it",
        hint="opening read-only creates nothing: open it to write first",
    )


def _with_none(publish: Callable[[Collection[int]], None]) -> None:
    publish(())


def _closed() -> Error:
    return InterfaceError("the database is closed")

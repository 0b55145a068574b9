"""The engine: ordered, versioned bytes that survive.

    commit --> group commit --> log, fsync --> memtable --> visible
                                                  | full
                                                  v
    read  <--- memtables, levels  <------------ flush --> table of level 0, manifest
                    ^                                         | too many
                    |                                         v
                    +------------------------------------ compaction --> deeper levels, manifest

Every commit has a timestamp, one after the other. A reader chooses one, usually
`visible_timestamp`, and sees exactly the commits up to it, for as long as it likes. Readers
take no lock and never wait. The engine knows nothing of conflicts: who may commit what is
the business of the transactions above.

The parts: `group_commit` (who writes the log, and when), `wal`, `memtable`, `sources` (where
reads look), `reads`, `range_tombstones` (deleted ranges), `flush`, `compaction`, `manifest`,
`recovery`, `ingest`. This module puts them together and holds the life cycle: open, refuse after a
failure, refuse in a forked child, close.

Every version stays until `collect_between` tells which snapshots are in use. From then on a reader
must choose one of these, or a timestamp at or above the last of them, as the transactions do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from ferrisdb.errors import Error, InterfaceError, StorageError
from ferrisdb.storage import reads
from ferrisdb.storage.background_sync import BackgroundSync
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.commit_checks import check_sizes, require_bytes, require_ranges
from ferrisdb.storage.commit_times import CommitClock
from ferrisdb.storage.compaction import Compactor
from ferrisdb.storage.compression import require_library
from ferrisdb.storage.env import Env, FileLock
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.events import LogSegmentBegun, WritesRefused
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.flush import Flusher
from ferrisdb.storage.forks import disown_in_child, opened_before_fork
from ferrisdb.storage.group_commit import GroupCommit, commits_at_risk
from ferrisdb.storage.ingest import Pairs
from ferrisdb.storage.ingest_commit import IngestCommits
from ferrisdb.storage.limits import MAX_KEY_BYTES, MAX_MEMTABLE_RANGE_TOMBSTONES
from ferrisdb.storage.manifest import ManifestEdit
from ferrisdb.storage.open_tree import OpenTree
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.pinned_tables import PinnedTables, pin_tables
from ferrisdb.storage.range_tombstones import DeletedRange, RangeTombstone
from ferrisdb.storage.recovery import Recovered, lock_folder, open_folder
from ferrisdb.storage.retention import Snapshots
from ferrisdb.storage.statistics import EngineStatistics
from ferrisdb.storage.statistics_sources import gather_statistics
from ferrisdb.storage.version_chain import StoredVersion, version_chain
from ferrisdb.storage.wal import LogWriter, encode_writes
from ferrisdb.storage.yield_points import reach


class Engine:
    """One open folder. Thread-safe."""

    is_read_only: Final = False

    @classmethod
    def open(cls, env: Env, folder: str, options: StorageOptions | None = None) -> Engine:
        """Open the database in `folder`, or make one when the folder is absent or empty.

        Raises NotADatabase when something else stands there, and touches nothing;
        DatabaseLocked with the process id; FormatVersionError; CorruptionError with file and
        offset; MissingLibrary when the compression asked for is not installed; StorageError.
        """
        options = options or StorageOptions()
        require_library(options.compression)
        lock = lock_folder(env, folder)
        try:
            cache = BlockCache(options.cache_bytes)
            events = EventHub(env.monotonic_s)
            recovered = open_folder(env, folder, options, cache, events)
            return cls(env, folder, options, lock=lock, cache=cache, recovered=recovered)
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        env: Env,
        folder: str,
        options: StorageOptions,
        *,
        lock: FileLock,
        cache: BlockCache,
        recovered: Recovered,
    ) -> None:
        """Use `open`."""
        self._env = env
        self._folder = folder
        self._options = options
        self._lock = lock
        self._cache = cache
        self._manifest = recovered.manifest
        self._numbers = recovered.numbers
        self._log = recovered.log
        self._sources = recovered.sources
        self._visible_timestamp = recovered.last_timestamp
        self.events = recovered.sources.events
        """What the engine does on its own, told as it happens."""
        self.recovery_report = recovered.report
        """What was lost of a damaged log; None when nothing was, and in other modes than salvage."""
        self._commits = GroupCommit(self, recovered.last_timestamp)
        self._commits.tell_refusal = self._tell_refusal
        self._lookups = 0
        self._close_lock = threading.Lock()
        self._unusable: Callable[[], Error] | None = None
        self._clock = CommitClock(env, self._manifest.state.commit_times)
        self._clock.note(recovered.last_timestamp)
        tree = OpenTree(
            env, folder, options, self._manifest, self._numbers, self._sources, cache, self._clock
        )
        self._flusher = Flusher(tree)
        self._compactor = Compactor(tree)
        self._ingests = IngestCommits(self, tree, self._commits, self._compactor)
        self._background_sync = BackgroundSync(
            env, options.sync_interval_ms / 1000, self._commits.refuse_after
        )
        try:
            self._flusher.start(self._log.number, self._commits.refuse_after, self._compactor.wake)
            self._compactor.start(self._commits.refuse_after)
        except BaseException:
            # `open` lets go of the folder next, and a thread may be at work there.
            with ExitStack() as stops:
                stops.callback(self._compactor.stop)
                self._flusher.stop()
            raise
        disown_in_child(self)

    # --- reading

    @property
    def visible_timestamp(self) -> int:
        """The last commit that everybody may see. 0 in an empty database."""
        if self._unusable is not None:
            raise self._unusable()
        return self._visible_timestamp

    def read(self, key: bytes, timestamp: int) -> bytes | None:
        """The value of `key` as of `timestamp`; None when there is none."""
        if self._unusable is not None:
            raise self._unusable()
        self._lookups += 1
        return reads.read(self._sources.now, key, timestamp)

    def read_many(self, keys: Sequence[bytes], timestamp: int) -> list[bytes | None]:
        """`read` of each."""
        if self._unusable is not None:
            raise self._unusable()
        self._lookups += len(keys)
        return reads.read_many(self._sources.now, keys, timestamp)

    def scan(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
    ) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Batches of (keys, values) with lo <= key < hi as of `timestamp`, in key order.

        `hi` None is the end. The lists are only to be read. Where to look is settled when
        this is called: a flush meanwhile changes nothing.
        """
        if self._unusable is not None:
            raise self._unusable()
        return reads.scan(self._sources.now, lo, hi, timestamp, reverse=reverse)

    def newest_timestamp(self, key: bytes, after: int) -> int:
        """The newest commit of `key` when that is after `after`, deletes included; else 0.

        A commit that deleted a range with the key counts. It may be one that is not visible
        yet, but is about to be.
        """
        if self._unusable is not None:
            raise self._unusable()
        self._lookups += 1
        return reads.newest_timestamp(self._sources.now, key, after)

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None, after: int) -> int:
        """The newest commit above `after` that wrote or deleted anything of lo <= key < hi; 0
        when there is none. It may be one that is not visible yet, but is about to be."""
        if self._unusable is not None:
            raise self._unusable()
        return reads.newest_timestamp_in(self._sources.now, lo, hi, after)

    def versions(self, key: bytes) -> list[StoredVersion]:
        """Every version of `key` that is still there, newest first. For looking: it reads them all."""
        if self._unusable is not None:
            raise self._unusable()
        return version_chain(self._sources.now, key)

    # --- writing

    def commit(
        self,
        writes: Mapping[bytes, bytes | None],
        durability: Durability | None = None,
        *,
        deleted_ranges: Sequence[DeletedRange] = (),
    ) -> int:
        """Commit values (None deletes) and return the commit's timestamp.

        Of `deleted_ranges`, pairs (lo, hi), all keys with lo <= key < hi go, to the end when hi
        is None. They go before the writes are made, so a key that is written stays.

        When this returns the commit is durable as asked and visible, and so is every commit
        with a smaller timestamp. Without writes and ranges there is nothing to commit: the
        visible timestamp comes back.

        Raises LogWriteFailed when the disk failed and the outcome is unknown; StorageError
        when the store refuses writes; TransactionTooLarge; InvalidParameterValue.
        """
        if self._unusable is not None:
            raise self._unusable()
        if not writes and not deleted_ranges:
            return self._visible_timestamp
        require_bytes(writes)
        if deleted_ranges:
            # Several that come at the same time may pass the limit together; it is not sharp.
            live = len(self._sources.now.range_tombstones.all)
            deleted_ranges = require_ranges(deleted_ranges, live)
        payload = encode_writes(writes, deleted_ranges)
        if len(payload) > MAX_KEY_BYTES:
            check_sizes(writes, len(payload))
        durability = durability or self._options.durability
        is_synced_soon = durability is Durability.NORMAL
        if is_synced_soon:
            self._background_sync.start()
        return self._commits.commit(
            writes,
            payload,
            is_durable=durability is Durability.FULL,
            is_synced_soon=is_synced_soon,
            deleted_ranges=deleted_ranges,
        )

    def ingest(
        self,
        pairs: Pairs,
        *,
        below: bytes | None = None,
        before_publish: Callable[[bytes, bytes], object] = lambda first_key, last_key: None,
    ) -> int:
        """Put sorted data into tables of its own, past the log; return how many pairs.

        `pairs` are (key, value), keys ascending, each once, all smaller than `below`. They are one
        commit, durable and visible when this returns; where a key was there, its value is
        replaced. `before_publish` is called once all is written, and may wait or raise.

        After an error nothing has changed, but for LogWriteFailed: then the outcome is unknown.
        Raises InterfaceError, InvalidParameterValue, KeyTooLarge with the position of a bad pair;
        TransactionTooLarge, StorageError, DiskFull, and what `pairs` raises.
        """
        return self._ingests.ingest(pairs, below=below, before_publish=before_publish)

    def empty_log(self) -> tuple[int, int]:
        """For an ingest, while nobody commits: have all in tables; the last commit, and the number of
        the segment that the log goes on in."""
        if self._log.size_bytes > HEADER_BYTES:
            self._seal()
        self._flusher.wait_until_flushed()
        return self._visible_timestamp, self._log.number

    def show_ingested(self, timestamp: int) -> None:
        """For an ingest, while nobody commits."""
        # The manifest's last edit is all that tells of the commit. Did closing not vouch for it, a
        # damaged one would pass for a crash's tear, and the next open remove the tables.
        self._log.has_mark = False
        self._visible_timestamp = timestamp
        self._clock.note(timestamp)

    def flush(self) -> None:
        """Put all that is committed into tables; return when that is durable."""
        if self._unusable is not None:
            raise self._unusable()
        self._commits.run_alone(self._seal_unless_empty)
        self._flusher.wait_until_flushed()

    def collect_below(
        self, oldest_snapshot: Callable[[], int], oldest_snapshot_s: Callable[[], float] | None = None
    ) -> None:
        """`collect_between` for a single reader, or who knows only of the oldest: no read may use a
        smaller timestamp than `oldest_snapshot` has once given, and it must never go down."""
        self.collect_between(
            lambda retained_from: (min(oldest_snapshot(), retained_from),), oldest_snapshot_s
        )

    def collect_between(
        self,
        snapshots_to_keep: Callable[[int], Snapshots],
        oldest_snapshot_s: Callable[[], float] | None = None,
    ) -> None:
        """From now on drop versions that no reader at one of these snapshots can see, nor anybody
        who reads at or above the last of them.

        `snapshots_to_keep(retained_from)` is called from another thread, at any time, and makes
        the list with `retention.snapshots_to_keep`; everything from `retained_from` on is to be
        kept for its age. From then on a read may only use a timestamp of the list, or one at or
        above its end. `oldest_snapshot_s` says when, by `now_s`, the oldest snapshot in use was
        taken: what had not expired by then stays.
        """
        if oldest_snapshot_s is not None:
            self._compactor.expiry.oldest_snapshot_s = oldest_snapshot_s
        self._compactor.snapshots_to_keep = snapshots_to_keep

    @property
    def collected_below(self) -> int:
        """A reader below this may miss versions, for this process or one before has dropped them."""
        return self._compactor.collected_below

    @property
    def retention_s(self) -> float:
        """How long what is there now can be read."""
        return self._options.retention_s

    def oldest_readable(self) -> int:
        """The oldest moment at which somebody may begin to read: what is kept for its age begins here,
        or with the newest commit. What compaction was told since then is not in it."""
        retained_from = self._compactor.retention.retained_from()
        return max(self.collected_below, min(self.visible_timestamp, retained_from))

    def version_at(self, second: float) -> int | None:
        """The last commit that was visible then; None when nobody has noted it."""
        return self._clock.version_at(second)

    def keep_moment(self, timestamp: int) -> None:
        """A reader at `timestamp` comes. Nothing to do: every source has all that it may ask for."""

    @property
    def has_expiries(self) -> bool:
        """Whether it matters when a snapshot is taken."""
        return bool(self._options.expiries)

    def now_s(self) -> float:
        """Seconds since 1970, never going back. By this clock commits get their age."""
        return self._clock.now_s()

    def wait_until_compacted(self) -> None:
        """Return when no level is larger than it should be. StorageError when compaction has
        stopped for an error."""
        if self._unusable is not None:
            raise self._unusable()
        self._compactor.wait_until_in_shape()

    def wait_for_room(self) -> None:
        """For the group's leader: wait until a full memtable may be sealed."""
        self._compactor.backpressure.slow_down(self._commits.written_bytes)
        if self._is_memtable_full():
            self._wait_to_seal()

    def _wait_to_seal(self) -> None:
        self._flusher.wait_for_room()
        self._compactor.backpressure.wait_for_room()

    def prepare_group(self) -> LogWriter:
        """For the group's leader, when there is room: the log to write to."""
        if self._is_memtable_full():
            self._rotate()
        return self._log

    def _is_memtable_full(self) -> bool:
        now = self._sources.now
        return (
            now.active.approximate_bytes > self._options.memtable_bytes
            or now.active_range_count >= MAX_MEMTABLE_RANGE_TOMBSTONES
        )

    def publish_group(
        self,
        first_timestamp: int,
        group: Sequence[Mapping[bytes, bytes | None]],
        deleted_ranges: Sequence[Sequence[DeletedRange]],
    ) -> None:
        """For the group's leader: make synced commits visible."""
        memtable = self._sources.now.active
        for timestamp, writes in enumerate(group, first_timestamp):
            memtable.add(timestamp, writes)
        if any(deleted_ranges):
            self._sources.add_range_tombstones(
                [
                    RangeTombstone(lo, hi, timestamp)
                    for timestamp, ranges in enumerate(deleted_ranges, first_timestamp)
                    for lo, hi in ranges
                ]
            )
        reach("show")
        # Behind all of the above: whoever reads at the new timestamp must find it.
        self._log.acknowledged_bytes = self._log.size_bytes
        self._visible_timestamp = first_timestamp + len(group) - 1
        self._clock.note(self._visible_timestamp)

    def sync_soon(self) -> None:
        """For the group's leader: have the log synced in the background."""
        self._background_sync.sync_soon(self._log)

    def _seal_unless_empty(self) -> None:
        now = self._sources.now
        if now.active.version_count or now.active_range_count:
            self._seal()

    def _seal(self) -> None:
        self._wait_to_seal()
        try:
            self._rotate()
        except BaseException as error:
            self._commits.refuse_after(error)
            raise

    def _rotate(self) -> None:
        """Begin a new segment and memtable. Called while nobody commits, when there is room."""
        # Recovery takes a tear in a segment that is not the last for damage. This also bounds
        # what a power cut can take at durability OFF.
        self._log.seal()
        full, self._log = self._log, LogWriter.create(self._env, self._folder, self._numbers.take())
        self.events.emit(LogSegmentBegun(self.events.now_s(), self._log.number))
        self._flusher.seal_active(self._log.number, self._visible_timestamp)
        full.close()

    def _tell_refusal(self, reason: str) -> None:
        self.events.emit(WritesRefused(self.events.now_s(), reason))

    # --- copies

    def pin_tables(self) -> PinnedTables:
        """All that is committed, flushed to files that stay there while the object is held."""
        self.flush()
        return pin_tables(self._env, self._folder, self._manifest, self._sources, self.check_writable)

    def checkpoint(self, folder: str, env: Env | None = None) -> None:
        """Make a database with the same contents in `folder`, absent or empty, of `env` (else of
        the same one). It has every commit that had returned before; commits may go on.

        Raises what `write_checkpoint` raises.
        """
        # Late: no other work of an engine needs what copies and checks tables.
        from ferrisdb.storage.checkpoint import write_checkpoint  # noqa: PLC0415
        from ferrisdb.storage.new_folder import require_vacant  # noqa: PLC0415

        require_vacant(env or self._env, folder)
        write_checkpoint(self.pin_tables(), env or self._env, folder)

    def check_writable(self) -> None:
        """Raise why nothing can be written."""
        if self._unusable is not None:
            raise self._unusable()
        if self._commits.refusal is not None:
            raise self._commits.refusal

    # --- life cycle

    def statistics(self) -> EngineStatistics:
        """Counters since opening, and what is alive now."""
        if self._unusable is not None:
            raise self._unusable()
        return gather_statistics(
            self._sources,
            commits=self._commits,
            background_sync=self._background_sync,
            flusher=self._flusher,
            compactor=self._compactor,
            cache=self._cache,
            last_timestamp=self._visible_timestamp,
            lookups=self._lookups,
            ingested_tables=self._ingests.table_count,
            ingested_bytes=self._ingests.table_bytes,
        )

    def close(self) -> None:
        """Sync the log, stop the threads, release the folder. Fine when already closed.

        What is open in other threads fails with InterfaceError. Raises StorageError, when all
        else is released, where a power cut could still take a commit that had returned.
        """
        with self._close_lock:
            if self._unusable is not None:
                return
            with ExitStack() as releases:
                releases.callback(self._release)
                # First, for a writer may be waiting for it with all others behind.
                self._compactor.begin_to_stop()
                self._commits.run_last(self._finish_log)

    def _finish_log(self) -> None:
        has_failed = self._commits.refusal is not None
        self._commits.refuse(_closed)
        try:
            # Where writes are refused since a flush failed, the log may be well and this saves all.
            self._log.sync_acknowledged()
        except StorageError as error:
            raise commits_at_risk(error) from error
        if not has_failed:
            self._log.finish(self._visible_timestamp)
            self._keep_commit_times()

    def _keep_commit_times(self) -> None:
        """For those who ask in another process for the database as of a time of this one."""
        last = self._visible_timestamp
        times = self._manifest.state.commit_times
        if last > (times[-1][0] if times else 0):
            # Behind the sync of the log: a power cut must not take a commit whose time is known,
            # or another one would have its timestamp, and look older than it is.
            with suppress(StorageError):  # Without it only the times are not known.
                self._manifest.apply(ManifestEdit(commit_times=self._clock.sample(last)))

    def _release(self) -> None:
        self._commits.refuse(_closed)
        self._unusable = _closed
        with ExitStack() as releases:
            releases.callback(self._lock.release)
            releases.callback(self.events.close)
            releases.callback(self._close_files)
            # Each, even when an interrupt comes out of the one before: all write to the folder.
            # And where one came before `_finish_log`, somebody may still be writing a group.
            releases.callback(self._commits.wait_until_idle)
            releases.callback(self._background_sync.stop)
            releases.callback(self._compactor.stop)
            self._flusher.stop()

    def _close_files(self) -> None:
        self._manifest.close()
        self._log.close()
        for table in self._sources.now.tables:
            table.close()

    def disown(self) -> None:
        """In a forked child: two processes appending to one log would destroy it."""
        self._unusable = opened_before_fork
        self.events.disown()
        self._close_lock = threading.Lock()  # A thread that is not here may have held it.


def _closed() -> Error:
    return InterfaceError("the database is closed")

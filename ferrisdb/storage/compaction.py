"""Compaction: the thread that keeps the tree in shape.

    a table of level 0 is there (flush)
      |
      1  pick        tables that are out of shape, or have      compaction_picker, _tiered, expiry,
                     what nobody can read any more              range_garbage, version_garbage
      2  run         a child process merges them               compaction_runner, _job, _worker
      3  rename      outputs get their names; sync the folder        compaction_outputs
      4  manifest    ONE edit, synced: inputs out, outputs in  <- before it the old tables count,
      5  swap        readers get the new set                      after it the new ones
      6  remove      each input when its last reader is done   obsolete_tables

A crash before 4 leaves files that the manifest does not name, after it inputs that it no
longer names: the next open removes both. A compaction that fails before 4 (a full disk, a
killed child, one that hangs) has changed nothing. What it wrote is removed, and it is tried
again, a few times, each time later. Then it rests, and each wake, by a flush or by somebody who
waits, is good for one more attempt: a full disk may have room by then. What would only be met
again, as a damaged input, stops compaction until the next open. Meanwhile reads and writes go
on, only slower; `compaction_error` in the statistics says why. When 4 itself fails, nobody can
say whether the edit is on the disk: then the outputs stay, and the store refuses writes, as
after any failed sync of the manifest.

No version is lost that somebody may read. The snapshots to be kept are asked for first, and only
then the inputs are chosen. A snapshot that is open at that moment is in the list, or above its
end, the floor, which is at most the newest visible timestamp of that moment. One that is taken
later is the newest visible timestamp of a later moment, and so it is at or above the floor:
visible timestamps only grow, and the store of transactions reads and registers one in a single
step. Who asks for the past is let in at or above every floor that was ever given here, or where
somebody reads already, and that, too, is looked up and registered in a single step. So nobody
will ever read at another moment, and what `collect` keeps is enough for all of them. (The
watermark, below which nobody reads at all, is the first of the list.) Nor can a tombstone be
missed: it goes only when no deeper level can have its key. Those levels cannot change meanwhile:
there is one compaction at a time, a flush only adds to level 0, whose versions are newer, and
tables that are ingested keep out of the way (`placement`).

The floor is in the edit of the manifest, too (`collected_below`). What is gone is gone for the next
process, which may have been told to keep the past of an hour.

One flush at a time and one compaction at a time share the manifest, whose lock orders them.

Limits: one compaction at a time, of any levels. Not here: where writers wait (`backpressure`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from ferrisdb.errors import CorruptionError, Error, InvariantViolation, StorageError
from ferrisdb.storage.backpressure import Backpressure
from ferrisdb.storage.compaction_account import CompactionAccount
from ferrisdb.storage.compaction_checks import check_counts
from ferrisdb.storage.compaction_filter import Expired, FilterFailed
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult
from ferrisdb.storage.compaction_outputs import open_outputs, remove_outputs
from ferrisdb.storage.compaction_picker import Compaction, CompactionPicker, Picker
from ferrisdb.storage.compaction_runner import CompactionRunner, Stopped
from ferrisdb.storage.compaction_tiered import TieredPicker
from ferrisdb.storage.events import BackgroundError
from ferrisdb.storage.expiry import ExpiryWatch
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.level import LAST_LEVEL
from ferrisdb.storage.manifest import ManifestEdit
from ferrisdb.storage.obsolete_tables import ObsoleteTables, Unread
from ferrisdb.storage.open_tree import OpenTree
from ferrisdb.storage.options import CompactionStyle
from ferrisdb.storage.placement import Placement
from ferrisdb.storage.range_garbage import RangeGarbage, tombstones_over
from ferrisdb.storage.retention import Retention, Snapshots
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.statistics import CompactionStatistics
from ferrisdb.storage.version_garbage import VersionGarbage

MAX_ATTEMPTS: Final = 5
FIRST_PAUSE_S: Final = 0.1
"""Before the second attempt; each time four times as long, some nine seconds in all."""

LOOK_AGAIN_S: Final = 1.0
"""Between two looks at the snapshots, while they hold a deleted range, or old versions."""


class Compactor:
    """The thread, and what it shares with the engine. Thread-safe where not said otherwise."""

    def __init__(self, tree: OpenTree) -> None:
        env, folder, options, manifest = tree.env, tree.folder, tree.options, tree.manifest
        self.snapshots_to_keep: Callable[[int], Snapshots] | None = None
        """Given what is retained for its age: where readers are, and from where on anybody may come.
        Until it is set every version is kept."""
        self.statistics = CompactionStatistics()
        self._env = env
        self._folder = folder
        self._options = options
        self._manifest = manifest
        self._numbers = tree.numbers
        self._sources = tree.sources
        self._cache = tree.cache
        is_tiered = options.compaction is CompactionStyle.TIERED
        self._range_garbage = RangeGarbage()
        self._version_garbage = VersionGarbage()
        self._picker: Picker = TieredPicker(options) if is_tiered else CompactionPicker(options)
        self.expiry = ExpiryWatch(options, manifest, tree.clock)
        self.retention = Retention(options, manifest, tree.clock)
        # Where an older version has written the manifest, it may have collected all that it could.
        state = manifest.state
        self.collected_below = (
            state.last_timestamp if state.collected_below is None else state.collected_below
        )
        # None wakes the thread: to look at the tree, or to stop.
        self._events: SimpleQueue[Unread | None] = SimpleQueue()
        self._obsolete = ObsoleteTables(env, folder, tree.cache, self._events.put)
        self._report_failure: Callable[[BaseException], None] = lambda cause: None
        self._runner = CompactionRunner(env, options.compaction_process_bytes, self._is_behind)
        self._stopping = self._runner.stopping
        # Guarded by the lock of `sources.changed`, and notified through it.
        self._wishes = 0
        self._granted = 0
        self._refused = 0
        self._has_given_up = False
        self._is_final = False
        self.placement = Placement()
        """Where tables may be put beside a compaction."""
        self.backpressure = Backpressure(options, tree.sources, self.statistics, self._is_over)
        """Where writers wait for it."""
        self._thread = threading.Thread(target=self._run, name="ferrisdb-compact", daemon=True)

    def start(self, report_failure: Callable[[BaseException], None]) -> None:
        """`report_failure` is told when the manifest failed: then nobody may write any more."""
        self._report_failure = report_failure
        self._thread.start()
        self.wake()

    def begin_to_stop(self) -> None:
        """Let go of the writers that wait here, and kill the child. Waits for nothing."""
        self._runner.stop()
        with self._sources.changed:
            self.backpressure.note_change()
            self._sources.changed.notify_all()
        self._events.put(None)

    def stop(self) -> None:
        """Stop at once, killing the child. What is half done is nobody's.

        An interrupt meanwhile is raised at the end, as in `Flusher.stop`: the caller lets go of
        the folder next, and this thread may be in the middle of an edit of its manifest.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                self.begin_to_stop()
                if self._thread.is_alive():
                    self._thread.join()
                break
            except BaseException as error:
                interrupt = error
        self._obsolete.close()
        if interrupt is not None:
            raise interrupt

    @property
    def obsolete_count(self) -> int:
        """Tables that are kept only for readers."""
        return len(self._obsolete)

    def wake(self) -> int:
        """Have the tree looked at soon. A number for `wait_until_in_shape`."""
        with self._sources.changed:
            self._wishes += 1
            wish = self._wishes
        self._events.put(None)
        return wish

    def wait_until_in_shape(self) -> None:
        """Return when the tree, as it is now or later, needs no compaction.

        Raises StorageError when compaction has stopped for an error, or the database is closed.
        """
        wish = self.wake()
        with self._sources.changed:
            self._sources.changed.wait_for(
                lambda: max(self._granted, self._refused) >= wish or self._is_final or self._stopping.is_set()
            )
            if self._granted >= wish:
                return
            has_failed = self._is_final or self._refused >= wish
        if not has_failed:
            raise StorageError("the database was closed while a compaction was waited for")
        hint = "it is tried again by the next " + ("open" if self._is_final else "flush")
        raise StorageError(f"compaction has stopped: {self.statistics.error}", hint=hint)

    def _is_behind(self) -> bool:
        return len(self._sources.now.level_zero) >= self._options.compaction_slow_tables

    def _is_over(self) -> bool:
        return self._has_given_up or self._stopping.is_set()

    # --- the thread

    def _run(self) -> None:
        # Asked before each wait: the event that `stop` sends may have been taken below, among
        # others. It is sent after the flag is set, so who took it sees the flag here.
        while not self._stopping.is_set():
            event = self._next_event()
            if self._stopping.is_set():
                return
            self._take_note(event)
            if event is None and not self._is_final:
                self._keep_in_shape()

    def _next_event(self) -> Unread | None:
        """What is to be done next.

        Nobody tells when a snapshot ends, or when a retention lets go of the past: it would
        cost each transaction something. So while old versions or deleted ranges wait for that, we
        ask. And while something may expire we look now and then, for time passes though nobody
        writes.
        """
        if self._has_given_up:
            # Not by the clock: what failed so often may be dear, as a large merge onto a full disk.
            return self._events.get()
        rests_s = [LOOK_AGAIN_S] if self._waits_for_readers() else []
        if self.expiry.rest_s is not None:
            rests_s.append(self.expiry.rest_s)
        try:
            return self._events.get(timeout=min(rests_s, default=None))
        except Empty:
            return None

    def _waits_for_readers(self) -> bool:
        # A function of its own for the same reason as `_pick`.
        if self.snapshots_to_keep is None:
            return False
        return self._version_garbage.has_more_to_collect(self._sources.now)

    def _take_note(self, event: Unread | None) -> None:
        try:
            if event is not None:
                self._obsolete.remove(event)
        except StorageError as error:
            # The next open removes it. Until then it only takes room.
            self.statistics.error = error.message
            self._tell_error("removal of a table", error.message, has_given_up=True)

    def _keep_in_shape(self) -> None:
        failures = MAX_ATTEMPTS - 1 if self._has_given_up else 0
        while not self._stopping.is_set():
            # Files that nobody reads should not wait for a tree that is hardly ever in shape.
            # Of a wake that comes out here its wish is granted below.
            with contextlib.suppress(Empty):
                while True:
                    self._take_note(self._events.get_nowait())
            with self._sources.changed:
                wish = self._wishes
            try:
                is_in_shape = not self._compact_once()
            except Stopped:
                return
            except BaseException as error:
                # Whatever it was, it must not end the thread in silence: writers would wait for it.
                failures += 1
                self._note_failure(error, failures, wish)
                if self._has_given_up:
                    return
                self._stopping.wait(FIRST_PAUSE_S * 4 ** (failures - 1))
                continue
            failures = 0
            self._note_success(wish if is_in_shape else self._granted)
            if is_in_shape:
                return

    def _note_success(self, granted: int) -> None:
        with self._sources.changed:
            self._granted = granted
            if self._has_given_up:
                # There is somebody again whom writers can wait for.
                self._has_given_up = False
                self.backpressure.note_change()
            self._sources.changed.notify_all()

    def _note_failure(self, error: BaseException, failures: int, wish: int) -> None:
        if self._stopping.is_set():
            return
        self.statistics.failures += 1
        self.statistics.error = _reason(error)
        # A second reading would find the same damage, and a rule of ours the same breach.
        is_final = isinstance(error, CorruptionError | InvariantViolation | FilterFailed | _ManifestFailed)
        rests = not is_final and failures >= MAX_ATTEMPTS
        self._tell_error("compaction", self.statistics.error, has_given_up=is_final, rests=rests)
        if is_final or rests:
            with self._sources.changed:
                self._has_given_up = True
                self._is_final = is_final
                self._refused = wish
                self.backpressure.note_change()
                self._sources.changed.notify_all()

    def _tell_error(self, task: str, reason: str, *, has_given_up: bool, rests: bool = False) -> None:
        events = self._sources.events
        events.emit(BackgroundError(events.now_s(), task, reason, has_given_up, rests))

    def _compact_once(self) -> bool:
        """Whether there was something to do."""
        # First the snapshots, then the inputs: see above.
        ask = self.snapshots_to_keep
        snapshots = () if ask is None else ask(self.retention.retained_from())
        expired = self.expiry.expired()
        with self.placement.lock:
            compaction = self._pick(snapshots, expired)
            if compaction is None:
                return False
            self.placement.keep_out(compaction.inputs)
        try:
            self._perform(compaction, snapshots, expired)
        finally:
            self.placement.open_again()
        return True

    def _perform(self, compaction: Compaction, snapshots: Snapshots, expired: Expired) -> None:
        if compaction.is_drop:
            self._drop(compaction, snapshots)
            return
        if compaction.is_move and not self._must_be_filtered(compaction):
            self._change_tree(compaction, compaction.inputs, ())
            self.statistics.moves += len(compaction.inputs)
            return
        self.statistics.is_running = True
        try:
            self._rewrite(compaction, snapshots, expired)
        finally:
            self.statistics.is_running = False

    def _settle_ranges(self, sources: Sources, snapshots: Snapshots) -> None:
        """Forget the range tombstones that hide nothing in any table."""
        settled = self._range_garbage.settled(sources, snapshots[0] if snapshots else 0)
        if settled:
            collected_below = self._collected_up_to(snapshots)
            self._apply(ManifestEdit(settled_ranges=settled, collected_below=collected_below))
            self._sources.remove_range_tombstones(settled)

    def _drop(self, compaction: Compaction, snapshots: Snapshots) -> None:
        self._change_tree(compaction, (), snapshots)
        self._obsolete.add(compaction.inputs)
        self.statistics.dropped_tables += len(compaction.inputs)
        entry_counts = (table.properties.entry_count for table in compaction.inputs)
        self.statistics.collected_versions += sum(entry_counts)

    def _pick(self, snapshots: Snapshots, expired: Expired) -> Compaction | None:
        # A function of its own, so that nobody holds the sources while the compaction runs: a
        # memtable that is flushed meanwhile could not be freed.
        sources = self._sources.now
        watermark = snapshots[0] if snapshots else 0
        compaction = (
            self._range_garbage.pick_first(sources, watermark)
            or self._picker.pick(sources, watermark)
            or self.expiry.pick(sources, watermark, expired)
            or self._range_garbage.pick(sources, watermark)
            or self._version_garbage.pick(sources, snapshots)
        )
        if sources.range_tombstones.all:
            self._settle_ranges(sources, snapshots)
        return compaction

    def _must_be_filtered(self, compaction: Compaction) -> bool:
        """What lies in the last level may never be compacted again, and so never be asked about."""
        return self._options.compaction_filter is not None and compaction.output_level == LAST_LEVEL

    def _rewrite(self, compaction: Compaction, snapshots: Snapshots, expired: Expired) -> None:
        account = CompactionAccount(self._sources.events, compaction)
        try:
            outputs, result = self._merge(compaction, snapshots, expired)
        except BaseException as error:
            # Told as over also when the database is closed meanwhile: what started ends.
            account.failed("the database is being closed" if isinstance(error, Stopped) else _reason(error))
            raise
        self._version_garbage.note_collected(outputs, snapshots, has_old_versions=result.old_count > 0)
        self.statistics.compactions += 1
        self.statistics.read_bytes += compaction.input_bytes
        self.statistics.written_bytes += sum(table.properties.file_bytes for table in outputs)
        self.statistics.collected_versions += result.collected_count
        self.statistics.filtered_versions += result.filtered_count
        account.finished(outputs, result.collected_count, in_child=self._runner.was_in_child)

    def _merge(
        self, compaction: Compaction, snapshots: Snapshots, expired: Expired
    ) -> tuple[Sequence[SSTableReader], CompactionResult]:
        """The new tables, which are read now, and what became of the versions."""
        job = self._job(compaction, snapshots, expired)
        numbers: list[int] = []
        try:
            result = self._runner.run(job, compaction.input_bytes)
            check_counts(compaction, result)
            numbers += [self._numbers.take() for _ in result.tables]
            outputs = open_outputs(self._env, job, compaction, result, numbers=numbers, cache=self._cache)
        except BaseException:
            remove_outputs(self._env, job, numbers)
            raise
        # From here on the outputs may be named by the manifest, and must stay whatever happens.
        self._change_tree(compaction, outputs, snapshots)
        self._obsolete.add(compaction.inputs)
        return outputs, result

    def _job(self, compaction: Compaction, snapshots: Snapshots, expired: Expired) -> CompactionJob:
        return CompactionJob(
            folder=self._folder,
            sources=[[table.number for table in run] for run in compaction.runs],
            output_mark=os.urandom(4).hex(),
            table_bytes=self._options.table_bytes,
            block_bytes=self._options.block_bytes,
            snapshots=snapshots,
            deeper=compaction.deeper,
            deleted_ranges=tombstones_over(
                compaction.inputs, self._sources.now, snapshots[-1] if snapshots else 0
            ),
            expired=expired,
            compaction_filter=self._options.compaction_filter,
            compression=self._options.compression.value,
            ingested=[(each.number, each.ingested_at) for each in compaction.inputs if each.ingested_at],
            promised=[(each.number, each.properties.to_fields()) for each in compaction.inputs],
        )

    # --- the step from the old tables to the new ones

    def _change_tree(
        self, compaction: Compaction, added: Sequence[SSTableReader], snapshots: Snapshots
    ) -> None:
        """`snapshots`: by which something was collected; none where nothing was."""
        level = compaction.output_level
        removed = [table.number for table in compaction.inputs]
        edit = ManifestEdit(
            added=tuple(describe_table(table, table.number, level) for table in added),
            removed=tuple(removed),
            collected_below=self._collected_up_to(snapshots),
        )
        self._apply(edit)
        with self._sources.changed:
            self._sources.replace_tables(removed, level, added)
            self.backpressure.note_change()

    def _collected_up_to(self, snapshots: Snapshots) -> int | None:
        if not snapshots:
            return None
        self.collected_below = max(self.collected_below, snapshots[-1])
        return self.collected_below

    def _apply(self, edit: ManifestEdit) -> None:
        try:
            self._manifest.apply(edit)
        except BaseException as error:
            self._report_failure(error)
            raise _ManifestFailed(_reason(error)) from error


class _ManifestFailed(StorageError):
    """Nobody can say whether the edit is on the disk."""


def _reason(cause: BaseException) -> str:
    if not isinstance(cause, Error):
        return f"{type(cause).__name__}: {cause}"
    # As one text, for nobody is there to catch the error: the cure must not be lost.
    return f"{cause.message} ({cause.hint})" if cause.hint else cause.message

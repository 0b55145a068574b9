"""Compaction: the thread that keeps the tree in shape.

    a table of level 0 is there (flush)
      |
      1  pick        tables that are out of shape              compaction_picker
      2  run         a child process merges them               compaction_job, compaction_worker
      3  rename      outputs get their names; sync the folder
      4  manifest    ONE edit, synced: inputs out, outputs in  <- before it the old tables count,
      5  swap        readers get the new set                      after it the new ones
      6  remove      each input when its last reader is done   obsolete_tables

A crash before 4 leaves files that the manifest does not name, after it inputs that it no
longer names: the next open removes both. A compaction that fails before 4 (a full disk, a
killed child, one that hangs) has changed nothing. What it wrote is removed, and it is tried again, a few
times, each time later. Then compaction stops until the database is opened again; a damaged
input stops it at once. Reads and writes go on, only slower; `compaction_error` in the
statistics says why. When 4 itself fails, nobody can say whether the edit is on the disk: then
the outputs stay, and the store refuses writes, as after any failed sync of the manifest.

No version is lost that somebody may read. The watermark, the oldest snapshot in use, is
asked for first, and only then the inputs are chosen. A snapshot that is open at that moment
is at or above it. One that is taken later is the newest visible timestamp of a later moment,
and so it is not below it either: visible timestamps only grow, and the store of transactions
reads and registers one in a single step. So nobody will ever read below the watermark, and
what `collect` keeps is enough for everybody else. Nor can a tombstone be missed: it goes only
when no deeper level can have its key. Those levels cannot change meanwhile, as there is one
compaction at a time, and a flush only adds to level 0, whose versions are newer.

The child is a Python of its own, because a busy thread beside the committers takes the
interpreter lock from them: durable commits of one thread fell to 152 a second, and to 1669
beside a child, from 2277. Small jobs, and those on file systems that no child can see, run
in this thread, in slices of two milliseconds with pauses between them.

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

from ferrisdb.errors import CorruptionError, Error, InvariantViolation, StorageError, invariant
from ferrisdb.storage.backpressure import Backpressure
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.compaction_account import CompactionAccount
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult, run_compaction
from ferrisdb.storage.compaction_picker import Compaction, CompactionPicker
from ferrisdb.storage.compaction_worker import MODULE, WorkerDied, WorkerNotStarted, hand_over
from ferrisdb.storage.env import Env, WorkerProcess, join
from ferrisdb.storage.events import BackgroundError
from ferrisdb.storage.file_names import FileNumbers, table_name, unfinished_table_name
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.manifest import Manifest, ManifestEdit
from ferrisdb.storage.obsolete_tables import ObsoleteTables, Unread
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import LiveSources
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.statistics import CompactionStatistics

MAX_ATTEMPTS: Final = 5
FIRST_PAUSE_S: Final = 0.1
"""Before the second attempt; each time four times as long, some nine seconds in all."""

MAX_OUTPUTS: Final = 10_000
"""Of one compaction. Where tables are tiny the last one takes the rest."""

LOOK_AGAIN_S: Final = 1.0
"""Between two looks at the oldest snapshot, while the last level has something that it holds."""

SLICE_S: Final = 0.002
SLICE_PAUSE_S: Final = 0.004


class _Stopped(Exception):
    """The database is being closed."""


class Compactor:
    """The thread, and what it shares with the engine. Thread-safe where not said otherwise."""

    def __init__(
        self,
        env: Env,
        folder: str,
        options: StorageOptions,
        *,
        manifest: Manifest,
        numbers: FileNumbers,
        sources: LiveSources,
        cache: BlockCache,
    ) -> None:
        self.oldest_snapshot: Callable[[], int] | None = None
        """What no reader, now or later, reads below. Until it is set every version is kept."""
        self.statistics = CompactionStatistics()
        self._env = env
        self._folder = folder
        self._options = options
        self._manifest = manifest
        self._numbers = numbers
        self._sources = sources
        self._cache = cache
        self._picker = CompactionPicker(options)
        # None wakes the thread: to look at the tree, or to stop.
        self._events: SimpleQueue[Unread | None] = SimpleQueue()
        self._obsolete = ObsoleteTables(env, folder, cache, self._events.put)
        self._report_failure: Callable[[BaseException], None] = lambda cause: None
        self._stopping = threading.Event()
        self._worker_lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._can_start_workers = True
        self._was_in_child = False
        # Guarded by the lock of `sources.changed`, and notified through it.
        self._wishes = 0
        self._granted = 0
        self._has_given_up = False
        self.backpressure = Backpressure(options, sources, self.statistics, self._is_over)
        """Where writers wait for it."""
        self._thread = threading.Thread(target=self._run, name="ferrisdb-compact", daemon=True)

    def start(self, report_failure: Callable[[BaseException], None]) -> None:
        """`report_failure` is told when the manifest failed: then nobody may write any more."""
        self._report_failure = report_failure
        self._thread.start()
        self.wake()

    def begin_to_stop(self) -> None:
        """Let go of the writers that wait here, and kill the child. Waits for nothing."""
        self._stopping.set()
        with self._worker_lock:
            if self._worker is not None:
                self._worker.kill()
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
        while self._thread.is_alive():
            try:
                self.begin_to_stop()
                self._thread.join()
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
            self._sources.changed.wait_for(lambda: self._granted >= wish or self._is_over())
            if self._granted >= wish:
                return
        if self._has_given_up:
            raise StorageError(f"compaction has stopped: {self.statistics.error}")
        raise StorageError("the database was closed while a compaction was waited for")

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
            if event is None and not self._has_given_up:
                self._keep_in_shape()

    def _next_event(self) -> Unread | None:
        """What is to be done next.

        Nobody tells when a snapshot ends, or when a retention lets go of the past: it would
        cost each transaction something. So while old versions wait for that, we ask.
        """
        waits_for_readers = (
            not self._has_given_up
            and self.oldest_snapshot is not None
            and self._picker.has_more_to_collect(self._sources.now)
        )
        try:
            return self._events.get(timeout=LOOK_AGAIN_S if waits_for_readers else None)
        except Empty:
            return None

    def _take_note(self, event: Unread | None) -> None:
        try:
            if event is not None:
                self._obsolete.remove(event)
        except StorageError as error:
            # The next open removes it. Until then it only takes room.
            self.statistics.error = error.message
            self._tell_error("removal of a table", error.message, has_given_up=True)

    def _keep_in_shape(self) -> None:
        failures = 0
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
            except _Stopped:
                return
            except BaseException as error:
                # Whatever it was, it must not end the thread in silence: writers would wait for it.
                failures += 1
                self._note_failure(error, failures)
                if self._has_given_up:
                    return
                self._stopping.wait(FIRST_PAUSE_S * 4 ** (failures - 1))
                continue
            failures = 0
            if is_in_shape:
                with self._sources.changed:
                    self._granted = wish
                    self._sources.changed.notify_all()
                return

    def _note_failure(self, error: BaseException, failures: int) -> None:
        if self._stopping.is_set():
            return
        self.statistics.failures += 1
        self.statistics.error = error.message if isinstance(error, Error) else repr(error)
        # A second reading would find the same damage, and a rule of ours the same breach.
        is_final = isinstance(error, CorruptionError | InvariantViolation | _ManifestFailed)
        has_given_up = is_final or failures >= MAX_ATTEMPTS
        self._tell_error("compaction", self.statistics.error, has_given_up=has_given_up)
        if has_given_up:
            with self._sources.changed:
                self._has_given_up = True
                self.backpressure.note_change()
                self._sources.changed.notify_all()

    def _tell_error(self, task: str, reason: str, *, has_given_up: bool) -> None:
        events = self._sources.events
        events.emit(BackgroundError(events.now_s(), task, reason, has_given_up))

    def _compact_once(self) -> bool:
        """Whether there was something to do."""
        # First the watermark, then the inputs: see above.
        watermark = 0 if self.oldest_snapshot is None else self.oldest_snapshot()
        compaction = self._picker.pick(self._sources.now, watermark)
        if compaction is None:
            return False
        if compaction.is_move:
            self._change_tree(compaction, compaction.upper)
            self.statistics.moves += 1
            return True
        self.statistics.is_running = True
        try:
            self._rewrite(compaction, watermark)
        finally:
            self.statistics.is_running = False
        return True

    def _rewrite(self, compaction: Compaction, watermark: int) -> None:
        account = CompactionAccount(self._sources.events, compaction)
        try:
            outputs, collected_count = self._merge(compaction, watermark)
        except BaseException as error:
            # Told as over also when the database is closed meanwhile: what started ends.
            account.failed("the database is being closed" if isinstance(error, _Stopped) else _reason(error))
            raise
        self.statistics.compactions += 1
        self.statistics.read_bytes += compaction.input_bytes
        self.statistics.written_bytes += sum(table.properties.file_bytes for table in outputs)
        self.statistics.collected_versions += collected_count
        account.finished(outputs, collected_count, in_child=self._was_in_child)

    def _merge(self, compaction: Compaction, watermark: int) -> tuple[Sequence[SSTableReader], int]:
        """The new tables, which are read now, and how many versions were left out."""
        job = self._job(compaction, watermark)
        outputs: list[SSTableReader] = []
        try:
            result = self._run_job(job, compaction.input_bytes)
            _check_counts(compaction, result)
            outputs = self._open_outputs(job, compaction, result)
        except BaseException:
            for table in outputs:
                table.close()
            self._remove_outputs(job)
            raise
        # From here on the outputs may be named by the manifest, and must stay whatever happens.
        self._change_tree(compaction, outputs)
        self._obsolete.add(compaction.inputs)
        return outputs, result.collected_count

    def _job(self, compaction: Compaction, watermark: int) -> CompactionJob:
        # Level 0 is a source for each table; a level is one source.
        upper = [[table.number] for table in compaction.upper]
        lower = [[table.number for table in compaction.lower]] if compaction.lower else []
        # A row counts as more than it takes in a file, but not twice as much.
        most_outputs = min(2 * compaction.input_bytes // self._options.table_bytes + 1, MAX_OUTPUTS)
        return CompactionJob(
            folder=self._folder,
            sources=upper + lower,
            output_numbers=[self._numbers.take() for _ in range(most_outputs)],
            output_mark=os.urandom(4).hex(),
            table_bytes=self._options.table_bytes,
            block_bytes=self._options.block_bytes,
            watermark=watermark,
            deeper=compaction.deeper,
        )

    def _run_job(self, job: CompactionJob, input_bytes: int) -> CompactionResult:
        if input_bytes >= self._options.compaction_process_bytes and self._can_start_workers:
            try:
                self._was_in_child = True
                return self._run_in_child(job)
            except WorkerNotStarted:
                # Some programs that embed Python cannot start another one. They never will.
                self._can_start_workers = False
        self._was_in_child = False
        return run_compaction(self._env, job, self._pace_of_a_thread())

    def _run_in_child(self, job: CompactionJob) -> CompactionResult:
        with self._worker_lock:
            if self._stopping.is_set():
                raise _Stopped
            worker = self._worker = self._env.start_worker(MODULE)
        if worker is None:
            raise WorkerNotStarted("no child process can be started here")
        result: CompactionResult | None = None
        failure: Error | None = None
        try:
            result = hand_over(worker, job)
        except Error as error:
            failure = error
        finally:
            # It must be dead before its outputs are renamed, or removed.
            worker.kill()
            with self._worker_lock:
                self._worker = None
            exit_status = worker.wait()
        if result is not None:
            return result
        if self._stopping.is_set():
            raise _Stopped
        # Somebody else killed it: another time it may well start.
        was_killed = type(failure) is WorkerNotStarted and exit_status < 0
        if isinstance(failure, WorkerDied) or was_killed:
            raise WorkerDied(f"the child process of a compaction ended with status {exit_status}")
        raise failure or StorageError("the child process of a compaction said nothing")

    def _pace_of_a_thread(self) -> Callable[[], None]:
        """Sleep most of the time, for whoever else needs the interpreter lock."""
        slice_end_s = self._env.monotonic_s() + SLICE_S

        def pace() -> None:
            nonlocal slice_end_s
            if self._env.monotonic_s() < slice_end_s:
                return
            # Writers that wait for us are not helped by our pauses.
            is_behind = len(self._sources.now.level_zero) >= self._options.compaction_slow_tables
            if self._stopping.wait(0 if is_behind else SLICE_PAUSE_S):
                raise _Stopped
            slice_end_s = self._env.monotonic_s() + SLICE_S

        return pace

    # --- the step from the old tables to the new ones

    def _open_outputs(
        self, job: CompactionJob, compaction: Compaction, result: CompactionResult
    ) -> list[SSTableReader]:
        """Give the outputs their names, durably, and open what is on the disk."""
        numbers = job.output_numbers[: len(result.tables)]
        for number in numbers:
            unfinished = join(self._folder, unfinished_table_name(number, job.output_mark))
            self._env.rename(unfinished, join(self._folder, table_name(number)))
        # Before the manifest names them, or a power cut could leave it naming nothing.
        self._env.sync_directory(self._folder)
        outputs: list[SSTableReader] = []
        try:
            for number, promised in zip(numbers, result.tables, strict=True):
                path = join(self._folder, table_name(number))
                outputs.append(SSTableReader.open(self._env, path, number, self._cache))
                if outputs[-1].properties != promised:
                    raise CorruptionError("the table is not the one that was written", file=path, offset=0)
            _check_ranges(compaction, outputs)
        except BaseException:
            for table in outputs:
                table.close()
            raise
        return outputs

    def _change_tree(self, compaction: Compaction, added: Sequence[SSTableReader]) -> None:
        level = compaction.output_level
        removed = [table.number for table in compaction.inputs]
        edit = ManifestEdit(
            added=tuple(describe_table(table, table.number, level) for table in added),
            removed=tuple(removed),
        )
        try:
            self._manifest.apply(edit)
        except BaseException as error:
            self._report_failure(error)
            raise _ManifestFailed(_reason(error)) from error
        with self._sources.changed:
            self._sources.replace_tables(removed, level, added)
            self.backpressure.note_change()

    def _remove_outputs(self, job: CompactionJob) -> None:
        for number in job.output_numbers:
            for name in (unfinished_table_name(number, job.output_mark), table_name(number)):
                # What cannot be removed now, the next open removes: the manifest never named it.
                with contextlib.suppress(StorageError):
                    if self._env.exists(join(self._folder, name)):
                        self._env.remove(join(self._folder, name))


class _ManifestFailed(StorageError):
    """Nobody can say whether the edit is on the disk."""


def _check_counts(compaction: Compaction, result: CompactionResult) -> None:
    """Every version that went in must have come out, or been collected on purpose."""
    due = sum(table.properties.entry_count for table in compaction.inputs)
    written = sum(table.entry_count for table in result.tables)
    invariant(
        result.read_count == due and written + result.collected_count == due,
        f"a compaction of {due} versions has read {result.read_count}, written {written} "
        f"and collected {result.collected_count}",
    )


def _check_ranges(compaction: Compaction, outputs: Sequence[SSTableReader]) -> None:
    """The outputs may take the place of the inputs: within their range, in order, disjoint."""
    last = None
    for table in outputs:
        found = table.properties
        invariant(last is None or found.smallest_key > last, "the outputs of a compaction are disjoint")
        last = found.largest_key
    if outputs:
        smallest = min(table.properties.smallest_key for table in compaction.inputs)
        largest = max(table.properties.largest_key for table in compaction.inputs)
        invariant(
            smallest <= outputs[0].properties.smallest_key and outputs[-1].properties.largest_key <= largest,
            "the outputs of a compaction lie within the range of its inputs",
        )


def _reason(cause: BaseException) -> str:
    return cause.message if isinstance(cause, Error) else f"{type(cause).__name__}: {cause}"

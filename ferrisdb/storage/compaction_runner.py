"""Where a compaction's job is done: in a child process, or in slices in the thread.

    job --> a megabyte or more? --> child process: a Python of its own
              no, or no child       |  killed, died, hung: an error, and tried again later
              can be started        |  never started: from then on the thread
                 |
                 v
            this thread, two milliseconds at a time, with pauses between them

The child is a Python of its own, because a busy thread beside the committers takes the
interpreter lock from them: durable commits of one thread fell to 152 a second, and to 1669
beside a child, from 2277. For a small job the start of a Python would be most of the work.

A child that ended before it was ready, by a signal, may have been killed by somebody, and is
tried once more. We also kill what said nothing useful, so the signal alone proves little: the
second time in a row counts as "cannot be started". A system that has no process to spare just
now is no such case: it is asked again for the next job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from ferrisdb.errors import Error, StorageError
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult, run_compaction
from ferrisdb.storage.compaction_worker import MODULE, WorkerDied, WorkerNotStarted, hand_over
from ferrisdb.storage.env import Env, WorkerProcess

SLICE_S: Final = 0.002
SLICE_PAUSE_S: Final = 0.004


class Stopped(Exception):
    """The database is being closed."""


class CompactionRunner:
    """Runs one job at a time, for the compaction thread; `stop` may come from any other."""

    def __init__(self, env: Env, process_bytes: int, is_behind: Callable[[], bool]) -> None:
        """Jobs of `process_bytes` and more go to a child. `is_behind`: writers wait for us."""
        self.was_in_child = False
        """The last job."""
        self.stopping = threading.Event()
        self._env = env
        self._process_bytes = process_bytes
        self._is_behind = is_behind
        self._worker_lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._can_start_workers = True
        self._killed_at_start = 0

    def stop(self) -> None:
        """End the job at once, killing the child. Waits for nothing."""
        self.stopping.set()
        with self._worker_lock:
            if self._worker is not None:
                self._worker.kill()

    def run(self, job: CompactionJob, input_bytes: int) -> CompactionResult:
        """Raises what `run_compaction` does, WorkerDied, WorkerHung, Stopped."""
        # None where the system has no process to spare, which may be otherwise for the next job.
        worker = self._start_worker() if input_bytes >= self._process_bytes else None
        self.was_in_child = worker is not None
        if worker is not None:
            try:
                return self._run_in_child(worker, job)
            except WorkerNotStarted:
                # Some programs that embed Python cannot start another one. They never will.
                self._can_start_workers = False
                self.was_in_child = False
        return run_compaction(self._env, job, self._pace_of_a_thread())

    def _start_worker(self) -> WorkerProcess | None:
        with self._worker_lock:
            if self.stopping.is_set():
                raise Stopped
            self._worker = self._env.start_worker(MODULE) if self._can_start_workers else None
            return self._worker

    def _run_in_child(self, worker: WorkerProcess, job: CompactionJob) -> CompactionResult:
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
        if not isinstance(failure, WorkerNotStarted):
            self._killed_at_start = 0
        if result is not None:
            return result
        if self.stopping.is_set():
            raise Stopped
        if isinstance(failure, WorkerDied) or self._may_start_next_time(failure, exit_status):
            raise WorkerDied(f"the child process of a compaction ended with status {exit_status}")
        raise failure or StorageError("the child process of a compaction said nothing")

    def _may_start_next_time(self, failure: Error | None, exit_status: int) -> bool:
        if type(failure) is not WorkerNotStarted or exit_status >= 0:
            return False
        self._killed_at_start += 1
        return self._killed_at_start == 1

    def _pace_of_a_thread(self) -> Callable[[], None]:
        """Sleep most of the time, for whoever else needs the interpreter lock."""
        slice_end_s = self._env.monotonic_s() + SLICE_S

        def pace() -> None:
            nonlocal slice_end_s
            if self._env.monotonic_s() < slice_end_s:
                return
            # Writers that wait for us are not helped by our pauses.
            if self.stopping.wait(0 if self._is_behind() else SLICE_PAUSE_S):
                raise Stopped
            slice_end_s = self._env.monotonic_s() + SLICE_S

        return pace

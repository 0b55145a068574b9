"""Syncing the log behind the committers' backs: durability NORMAL.

A NORMAL commit returns when its record is written. One thread syncs the log a bounded time
later, for all that came meanwhile:

    commits   a b  c        d                       e
    log       =====================================================
    thread    |--- interval ---| sync   |- interval -| sync   (asleep)
              a wakes it         abcd    e ...

So a power cut takes at most the commits of the last interval and of the sync in progress.
What it leaves is a prefix, because the log is written in order. While nothing is unsynced the
thread sleeps without a timeout: an idle database wakes nobody up and writes nothing. The
thread is started with the first NORMAL commit.

The leader of a group appends while this thread syncs. That both are right is the business of
`LogWriter`: it counts as synced only what had been acknowledged when the sync began, which an
interrupted leader never cuts off.

When a sync fails the store refuses writes from then on, and the thread ends: a second fsync
could report success for bytes that are gone (see `group_commit`).

Limits: the interval is measured from when the thread wakes up, which on a busy machine is a
little after the commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ferrisdb.storage.env import Env
from ferrisdb.storage.wal import LogWriter


class BackgroundSync:
    """The thread that syncs, and what it is told."""

    def __init__(self, env: Env, interval_s: float, report_failure: Callable[[BaseException], None]) -> None:
        self.sync_count = 0
        self._env = env
        self._interval_s = interval_s
        self._report_failure = report_failure
        self._changed = threading.Condition()
        # All below are guarded by it.
        self._log: LogWriter | None = None
        """Has commits that are to be synced. None when there is nothing to do."""
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Before the first commit that relies on it. Fine when it runs already."""
        if self._thread is not None:
            return
        with self._changed:
            if self._thread is None and not self._is_stopping:
                self._thread = threading.Thread(target=self._run, name="ferrisdb-sync", daemon=True)
                try:
                    self._thread.start()
                except BaseException:
                    # Interrupted, with a thread that may be running or not. It waits for the lock
                    # that we hold, finds that it is not the one, and ends.
                    self._thread = None
                    raise

    def sync_soon(self, log: LogWriter) -> None:
        """All that is acknowledged in `log` now is synced within the interval.

        Whoever begins another segment has synced the one before it, so the newest is enough.
        """
        with self._changed:
            is_asleep = self._log is None
            self._log = log
            if is_asleep:
                self._changed.notify_all()

    def stop(self) -> None:
        """Let the sync in progress finish. An interrupt meanwhile is raised at the end."""
        interrupt: BaseException | None = None
        while True:
            try:
                with self._changed:
                    self._is_stopping = True
                    self._changed.notify_all()
                if self._thread is not None:
                    self._thread.join()
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _run(self) -> None:
        with self._changed:
            if self._thread is not threading.current_thread():
                return
        while True:
            log = self._wait_until_due()
            if log is None:
                return
            try:
                self.sync_count += log.sync_acknowledged()
            except BaseException as error:
                # Whatever it was, it must not end the thread in silence: commits would go on
                # without a bound. It is raised where people look, at the next write.
                self._report_failure(error)
                return

    def _wait_until_due(self) -> LogWriter | None:
        """The log to sync, when its time has come. None when the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._log is not None)
            due_s = self._env.monotonic_s() + self._interval_s
            while not self._is_stopping and (left_s := due_s - self._env.monotonic_s()) > 0:
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
            # Taken before its commits are counted: one that comes from here on is synced
            # with these or wakes the thread again.
            log, self._log = self._log, None
            return None if self._is_stopping else log

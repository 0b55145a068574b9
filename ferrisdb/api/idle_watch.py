"""Transactions that nobody uses any more are ended: by one thread, started when it is needed.

    program   begin, put k ............................ get -> 25P03
    watch                     | timeout |  rolls back
    another       put k, waits ...........  has the lock

A transaction is idle from the end of one call to the beginning of the next. One that is in a
call, also one that waits for a lock, is not. The call holds the session's guard, and so does the
watch while it ends a transaction: neither meets the other half way.

Every use makes a deadline later, never earlier. So a use tells the watch nothing: the thread
sleeps until the earliest deadline that it knows, asks again when that is really, and sleeps on.
It is woken for a new transaction with an earlier one, and ends when there is nothing to watch.

Why not have those who wait for the locks look at the clock? A transaction also holds back the
removal of old versions, which nobody waits for, and counts as open; and the first to wait would
have to know the deadlines of all who stand in front.

What is watched is not kept alive by that. A transaction that the program has dropped is ended,
too, when its time comes.

Limits: rows of a query outside of a transaction are not watched, however slowly they are taken.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

Sweep = Callable[[], None]
"""Ends the transactions of those who were dropped."""


class Watched(Protocol):
    def end_if_idle(self, now_s: float) -> float | None:
        """When to ask again, by `time.monotonic`. None: not before it is watched anew."""


class IdleWatch:
    """Thread-safe. One for the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[weakref.ref[Watched], Sweep] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at_s = 0.0

    def watch(self, watched: Watched, deadline_s: float, sweep: Sweep) -> None:
        """Ask `watched` at `deadline_s`, and call `sweep` then if it is no more."""
        with self._changed:
            self._watched[weakref.ref(watched)] = sweep
            if self._thread is None:
                self._wakes_at_s = deadline_s
                self._thread = threading.Thread(target=self._run, name="ferrisdb-idle", daemon=True)
                self._thread.start()
            elif deadline_s < self._wakes_at_s:
                self._wakes_at_s = deadline_s
                self._changed.notify()

    def _run(self) -> None:
        try:
            while self._look():
                pass
        except BaseException:
            with self._changed:
                self._thread = None  # The next who is watched starts another.
            raise

    def _look(self) -> bool:
        """One round; whether there is another."""
        with self._changed:
            while (left_s := self._wakes_at_s - time.monotonic()) > 0:
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
            # From here on who is watched anew comes into the next round.
            asked, self._watched = self._watched, {}
            self._wakes_at_s = float("inf")
        again = {reference: sweep for reference, sweep in asked.items() if self._ask(reference, sweep)}
        with self._changed:
            self._watched.update(again)
            if not self._watched:
                self._thread = None
            return self._thread is not None

    def _ask(self, reference: weakref.ref[Watched], sweep: Sweep) -> bool:
        watched = reference()
        if watched is None:
            sweep()
            return False
        deadline_s = watched.end_if_idle(time.monotonic())
        if deadline_s is None:
            return False
        with self._changed:
            self._wakes_at_s = min(self._wakes_at_s, deadline_s)
        return True


idle_watch = IdleWatch()


def _begin_anew_after_fork() -> None:
    # The thread is not here, and it may have held the lock.
    idle_watch.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_after_fork)

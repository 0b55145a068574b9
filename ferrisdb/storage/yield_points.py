"""Where threads may meet: the points at which a test may let another one go on.

    a    lock k . . . . . . . . . . . log . sync . publish . release
    b              snapshot . lock k (waits) . . . . . . . . . . . . locked
                 ^          ^        ^      ^
                 at each point a scheduler may say who goes on

What two transactions do to each other is settled at few places: where a snapshot is taken, a
lock is asked for, got and released, a record written, synced, published. Between two of them
a thread touches nothing that another one sees, so a schedule is who went on at each. Each such
place calls `reach`, and whoever waits for another transaction does so by `acquire`.

In production nobody is installed, and a point is one comparison. A scheduler
(`ferrisdb.testing.Scheduler`) installs itself, has all threads but one stand still at their
points, and so decides the schedule; the idea is that of CHESS (Musuvathi et al., "Finding and
Reproducing Heisenbugs in Concurrent Programs", OSDI 2008).

The rule: no point within a mutex. The thread would stand still there with the mutex held, and
the next that wants it would stop the one thread that may run, where no scheduler sees it.

Limits: one scheduler at a time in a process. Threads that it does not know, as those of flush,
compaction and background sync, pass their points as if there were none.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from ferrisdb.errors import InterfaceError


class Conductor(Protocol):
    """Who decides which thread goes on. Called by the threads themselves."""

    def reach(self, point: str, what: bytes | str) -> None:
        """Return when the calling thread goes on. At once for a thread that is not conducted."""

    def acquire(self, lock: threading.Lock, timeout_s: float) -> bool:
        """Get the lock, which another thread is going to release. False when the time is over,
        which is never where `timeout_s` is -1."""

    def sleep(self, duration_s: float) -> None:
        """Let others go on, as after a sleep of this length."""


_conductor: Conductor | None = None


def reach(point: str, what: bytes | str = b"") -> None:
    """The thread is at `point`; `what` is the key that it is about, or words."""
    conductor = _conductor  # Once: it may be uninstalled between two looks.
    if conductor is not None:
        conductor.reach(point, what)


def acquire(lock: threading.Lock, timeout_s: float = -1) -> bool:
    """`lock.acquire`, where it may be another transaction that has to release it."""
    conductor = _conductor
    if conductor is not None:
        return conductor.acquire(lock, timeout_s)
    return lock.acquire(timeout=timeout_s)


def sleep(duration_s: float) -> None:
    """`time.sleep`, for others to get on meanwhile."""
    conductor = _conductor
    if conductor is not None:
        conductor.sleep(duration_s)
    else:
        time.sleep(duration_s)


def install(conductor: Conductor) -> None:
    """From now on `conductor` decides. Raises InterfaceError where another one does."""
    global _conductor  # noqa: PLW0603
    with _installing:
        if _conductor is not None:
            raise InterfaceError("another scheduler is running: one at a time conducts a process's threads")
        _conductor = conductor


def uninstall(conductor: Conductor) -> None:
    """Fine where it is not installed."""
    global _conductor  # noqa: PLW0603
    with _installing:
        if _conductor is conductor:
            _conductor = None


_installing = threading.Lock()

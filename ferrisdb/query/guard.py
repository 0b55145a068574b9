"""One thread at a time, and a clear word to the second.

A session and a result are not thread-safe, and waiting would not make them so: the second
thread would go on in the middle of the first one's transaction. So it is turned away.

    thread 1    |--- execute -------------|
    thread 2             execute -> InterfaceError, nothing touched

One thread is not turned away and turns nobody away: that of the idle watch, which ends a
transaction that nobody uses. Who comes back at that moment waits for the few steps it takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ferrisdb.errors import InterfaceError


class Guard:
    """A context manager that one thread may be inside of. It never waits."""

    __slots__ = ("_has_watch", "_lock", "_thread_id", "_what", "left_at_s")

    def __init__(self, what: str) -> None:
        self._what = what
        self._has_watch = False
        self.left_at_s = time.monotonic()
        """When a thread was last inside."""
        self._lock = threading.Lock()
        self._thread_id = 0

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            if self._has_watch:
                self._lock.acquire()
            elif not self._lock.acquire(blocking=False):  # The watch may just have left.
                raise self._busy()
        self._thread_id = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left_at_s = time.monotonic()
        self._lock.release()

    @contextmanager
    def for_watch(self) -> Iterator[bool]:
        """As `with guard`, for the idle watch: False, and nothing is held, where a thread is inside."""
        # First, or who comes between the two would be turned away.
        self._has_watch = True
        is_held = self._lock.acquire(blocking=False)
        try:
            yield is_held
        finally:
            if is_held:
                self._lock.release()
            self._has_watch = False

    def _busy(self) -> InterfaceError:
        if self._thread_id == threading.get_ident():
            return InterfaceError(
                f"the {self._what} is in the middle of a statement",
                hint="what feeds a statement with rows can't use the same session: collect the rows first",
            )
        return InterfaceError(
            f"the {self._what} is used by another thread at this moment",
            hint=f"a {self._what} belongs to one thread at a time: give each thread its own",
        )

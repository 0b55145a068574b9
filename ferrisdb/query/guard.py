"""One thread at a time, and a clear word to the second.

A session and a result are not thread-safe, and waiting would not make them so: the second
thread would go on in the middle of the first one's transaction. So it is turned away.

    thread 1    |--- execute -------------|
    thread 2             execute -> InterfaceError, nothing touched
"""

from __future__ import annotations

import threading
from types import TracebackType

from ferrisdb.errors import InterfaceError


class Guard:
    """A context manager that one thread may be inside of. It never waits."""

    __slots__ = ("_lock", "_thread_id", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._thread_id = 0

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise self._busy()
        self._thread_id = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

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

"""One session of a spec on a thread of its own, so that it can wait while others go on.

    runner               thread of session s2
    start("UPDATE ...")  --------->  execute ...
    is_over? no, waits               | asleep in the database
    (runs other steps)               |
    is_over? yes         <---------  outcome

The connection is made, used and closed by this thread alone: some drivers insist on it.

A thread that never comes back cannot be stopped. It is a daemon, so it does not keep the
process, and `finish` says that it was left behind.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from ferrisdb.errors import broken
from ferrisdb.immutable import immutable
from ferrisdb.isolation.target import Answer, ErrorReport, TargetSession


@immutable
class Outcome:
    """What a text did: answers, or an error. The answers before an error are lost with it."""

    answers: tuple[Answer, ...]
    error: ErrorReport | None


class SessionThread:
    """Used by the runner's thread. One text at a time."""

    def __init__(self, name: str, connect: Callable[[], TargetSession]) -> None:
        self.name = name
        self._connect = connect
        self._session: TargetSession | None = None
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._over.set()
        self._outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._play, name=f"session {name}", daemon=True)
        self._thread.start()

    @property
    def thread_id(self) -> int:
        return self._thread.ident or broken("a started thread has an id")

    @property
    def notice_count(self) -> int:
        return 0 if self._session is None else self._session.notice_count

    @property
    def is_over(self) -> bool:
        """Whether the last text has been executed."""
        return self._over.is_set()

    def start(self, text: str) -> None:
        self._outcome = None
        self._over.clear()
        self._texts.put(text)

    def wait(self, timeout_s: float) -> bool:
        """Whether the text is over within the time."""
        return self._over.wait(timeout_s)

    @property
    def outcome(self) -> Outcome:
        """Of the last text, which is over."""
        return self._outcome or broken("a text that is over has an outcome")

    def cancel(self) -> None:
        if self._session is not None:
            self._session.cancel()

    def leave(self) -> None:
        """Close the connection as soon as the text is over. Does not wait for that."""
        self._texts.put(None)

    def is_gone(self, timeout_s: float) -> bool:
        """Whether the thread has ended within the time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _play(self) -> None:
        while (text := self._texts.get()) is not None:
            self._outcome = self._execute(text)
            self._over.set()
        if self._session is not None:
            # Its transaction may be in any state, and nobody is left who could be told.
            outcome_of(self._session.close)

    def _execute(self, text: str) -> Outcome:
        def work() -> Sequence[Answer]:
            if self._session is None:
                self._session = self._connect()
            return self._session.execute(text)

        return outcome_of(work)


def outcome_of(work: Callable[[], Sequence[Answer] | None]) -> Outcome:
    """Do the work of a driver that may raise anything: its error is what is looked for here."""
    try:
        return Outcome(tuple(work() or ()), None)
    except Exception as error:
        return Outcome((), ErrorReport.of(error))

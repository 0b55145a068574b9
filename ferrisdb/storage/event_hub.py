"""The event hub: engine threads put events in, whoever wants to look takes them out.

    flush thread ------+        +--> history, the last 1000
    compaction thread -+-> hub -+--> queue of a subscription ---> its reader, in a thread of its own
    a group's leader --+        +--> queue of another

An engine thread never runs the code of a user and never waits for one: it appends to queues
and goes on. A reader that is too slow loses the oldest events, and `dropped` says how many.
Without subscriptions an event costs its making and one append, some two microseconds; events
come with flushes and compactions, not with commits and reads.

The hub's lock is taken under other locks of the engine, so that events come in the order of
what they tell. Under it nothing else is taken but the lock of a queue.

A subscription that is forgotten without `close` goes with its last reference.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ferrisdb.errors import InvalidParameterValue, ProgrammingError
from ferrisdb.storage.events import Event

HISTORY_EVENTS: Final = 1000
QUEUE_EVENTS: Final = 10_000
MAX_SUBSCRIPTIONS: Final = 100


class Subscription:
    """Events from the moment of its making on. Iterate; close when done. Thread-safe.

    The iteration ends when the subscription or the database is closed and all that came before
    is taken; with a timeout also when nothing came for so long, and may then be begun again.
    """

    def __init__(self, past: tuple[Event, ...], timeout_s: float | None) -> None:
        """`EventHub.subscribe` makes them."""
        self.dropped = 0
        """Events that were lost because the reader was too slow."""
        self._timeout_s = timeout_s
        self._queue: deque[Event] = deque(past)
        self._is_closed = False
        self._changed = threading.Condition(threading.Lock())

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None when none came in time (None waits for ever), or none will.

        Raises InvalidParameterValue.
        """
        _check_timeout(timeout_s)
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed, timeout_s)
            return self._queue.popleft() if self._queue else None

    def close(self) -> None:
        """No event comes any more. What has come can still be taken. Fine when closed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        event = self.next_event(self._timeout_s)
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _offer(self, event: Event) -> None:
        with self._changed:
            if self._is_closed:
                return
            if len(self._queue) == QUEUE_EVENTS:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(event)
            self._changed.notify()

    def _disown(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._is_closed = True


class EventHub:
    """One for each engine. Thread-safe."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        """The clock of `Event.at_s`."""
        self._history: deque[Event] = deque(maxlen=HISTORY_EVENTS)
        self._subscriptions: list[weakref.ref[Subscription]] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Tell all who listen. Never waits for them."""
        with self._lock:
            self._history.append(event)
            for listener in self._subscriptions:
                subscription = listener()
                if subscription is not None:
                    subscription._offer(event)

    def history(self) -> tuple[Event, ...]:
        """The last thousand events, oldest first."""
        with self._lock:
            return tuple(self._history)

    def subscribe(self, *, timeout_s: float | None = None, with_history: bool = False) -> Subscription:
        """A queue of at most 10,000 events. `timeout_s` ends its iteration when none comes for
        so long. `with_history` begins with the events of `history`; none is missing between.

        Raises ProgrammingError when there are a hundred, InvalidParameterValue.
        """
        _check_timeout(timeout_s)
        with self._lock:
            self._subscriptions = [listener for listener in self._subscriptions if _is_open(listener())]
            if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
                raise ProgrammingError(
                    f"{MAX_SUBSCRIPTIONS} subscriptions to events are open, which is the limit",
                    hint="close those that are no longer read; `with db.events() as events:` does",
                )
            subscription = Subscription(tuple(self._history) if with_history else (), timeout_s)
            if self._is_closed:
                subscription.close()
            self._subscriptions.append(weakref.ref(subscription))
            return subscription

    def close(self) -> None:
        """There are no more events: iterations end when they have taken what is left."""
        with self._lock:
            self._is_closed = True
            for listener in self._subscriptions:
                subscription = listener()
                if subscription is not None:
                    subscription.close()

    def disown(self) -> None:
        """In a forked child: whoever held the locks is not here, and nothing happens any more."""
        self._lock = threading.Lock()
        self._is_closed = True
        for listener in self._subscriptions:
            subscription = listener()
            if subscription is not None:
                subscription._disown()


def _check_timeout(timeout_s: float | None) -> None:
    if timeout_s is None:
        return
    if not (isinstance(timeout_s, int | float) and 0 <= timeout_s <= threading.TIMEOUT_MAX):
        raise InvalidParameterValue(
            f"timeout_s is {timeout_s!r}; it is a number of seconds, 0 or more, or None for no end"
        )


def _is_open(subscription: Subscription | None) -> bool:
    return subscription is not None and not subscription.is_closed

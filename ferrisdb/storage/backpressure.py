"""Backpressure: writers wait where flush or compaction falls behind.

    tables in level 0    4           8                12
    compaction           begins
    writers                          slowed down      wait (a stall)
                                     8 MiB a second,  until there are fewer
                                     then 4, 2, 1

Short waits for many, early, so that the long one for all comes late or not at all. Reads must
ask every table of level 0, so its size is what a slow compaction costs readers. Writers also
wait for a flush when too many full memtables queue up for the disk (`flush`).

What is slowed down is bytes, as in RocksDB, and not commits, as in LevelDB: each group owes
the time that its bytes take at the pace, and the next group waits for it. A load is held up,
and whoever commits a row now and then is not. (With a millisecond for each group, a thread
that commits 100 bytes at a time, a tenth of the pace, had a median of 1.5 ms for 0.2.)

Nobody waits for what will not come: when compaction has given up, or the database is being
closed, writers go on.

Each wait is told to the event hub with its start and its end. A slowdown holds up one group
after the other and is told once: from when level 0 was found too full until it is not any
more, compaction has given up, or the database is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.events import (
    WaitReason,
    WriteSlowdownEnded,
    WriteSlowdownStarted,
    WriteStallEnded,
    WriteStallStarted,
)
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import LiveSources
from ferrisdb.storage.statistics import CompactionStatistics

LEAST_WAIT_S: Final = 0.001
"""Less is not worth a sleep: it is owed until it has become more."""

MOST_WAIT_S: Final = 1.0
"""Of one group. What a huge commit owes beyond it is let off: others would pay for it."""


class Backpressure:
    """Where writers wait for compaction. Thread-safe."""

    def __init__(
        self,
        options: StorageOptions,
        sources: LiveSources,
        statistics: CompactionStatistics,
        is_over: Callable[[], bool],
    ) -> None:
        """`is_over` says that nobody makes room any more. When it becomes true,
        `sources.changed` is notified."""
        self._options = options
        self._sources = sources
        self._events = sources.events
        self._statistics = statistics
        self._is_over = is_over
        self._slow_since_s: float | None = None
        self._written_bytes = 0
        self._paid_until_s = 0.0

    def slow_down(self, written_bytes: int) -> None:
        """Hold up a writer while level 0 grows faster than it is compacted. One thread at a time.

        `written_bytes` is what all groups before have written to the log.
        """
        new_bytes = written_bytes - self._written_bytes
        self._written_bytes = written_bytes
        excess = len(self._sources.now.level_zero) - self._options.compaction_slow_tables
        if excess < 0 or self._is_over():
            return
        # Not less than a byte: an ingest may put thousands of tables into level 0 at once.
        pace = max(1.0, self._options.compaction_slow_bytes_per_s / 2**excess)
        start_s = self._events.now_s()
        self._paid_until_s = max(self._paid_until_s, start_s) + new_bytes / pace
        wait_s = min(self._paid_until_s - start_s, MOST_WAIT_S)
        with self._sources.changed:
            self.note_change()
            if wait_s < LEAST_WAIT_S:
                return
            self._statistics.slowed_groups += 1
            self._sources.changed.wait_for(self._is_no_longer_slow, wait_s)
            end_s = self._events.now_s()
            self._statistics.stalled_s += end_s - start_s
            self._paid_until_s = end_s

    def wait_for_room(self) -> None:
        """Return when level 0 may get another table; at once when compaction has given up, for
        then nobody would make room."""
        most = self._options.compaction_stop_tables
        with self._sources.changed:
            if len(self._sources.now.level_zero) < most or self._is_over():
                return
            self._statistics.stops += 1
            with stall(self._events, WaitReason.COMPACTION) as start_s:
                self._sources.changed.wait_for(
                    lambda: len(self._sources.now.level_zero) < most or self._is_over()
                )
            self._statistics.stalled_s += self._events.now_s() - start_s

    def note_change(self) -> None:
        """Tell when a slowdown begins or is over.

        To be called under the lock of `sources.changed`, where a change may have ended it.
        """
        now_s = self._events.now_s()
        is_slow = not self._is_no_longer_slow()
        if is_slow and self._slow_since_s is None:
            self._slow_since_s = now_s
            self._events.emit(WriteSlowdownStarted(now_s, len(self._sources.now.level_zero)))
        elif not is_slow and self._slow_since_s is not None:
            self._events.emit(WriteSlowdownEnded(now_s, now_s - self._slow_since_s))
            self._slow_since_s = None

    def _is_no_longer_slow(self) -> bool:
        return len(self._sources.now.level_zero) < self._options.compaction_slow_tables or self._is_over()


@contextmanager
def stall(events: EventHub, reason: WaitReason) -> Iterator[float]:
    """Tell that writers wait, and when they no longer do, however the wait ends. Gives its start."""
    start_s = events.now_s()
    events.emit(WriteStallStarted(start_s, reason))
    try:
        yield start_s
    finally:
        now_s = events.now_s()
        events.emit(WriteStallEnded(now_s, reason, now_s - start_s))

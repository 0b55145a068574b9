"""When was that committed? Samples of the clock, kept in the manifest.

A commit's timestamp is a number that counts commits, and says nothing about hours. So the clock is
noted in memory at each group of commits, for those who ask for the database as of a time; and
each flush, and the closing of the database, put some of that into the manifest:

    commits up to    1200    5100    9000
    had been made by 10:00   10:30   11:45        what was committed up to 5100 is older than
                                       ^          an hour and a quarter, for certain; of 5101
                                       now        to 9000 that is not known

A sample proves an age, it never guesses one: a version counts as old only from the first
sample behind it on. So what waits in a memtable for an hour before it is flushed may expire
an hour late, never early.

There are at most 1000 samples. When there are more, every second one of the older half is
forgotten. What that half loses is exactness, again on the late side.

The clock of a machine can be set, and this one must not go back: a sample of 1970, taken
before the machine had found its time, would prove that everything is half a century old. So
`CommitClock` never gives less than it has given, nor less than the last sample says. A clock
that runs far ahead for a moment makes things expire early, and nothing can be done about that.
Afterwards this one stands still until the true time has come so far, for the sample is in the
manifest: what is committed meanwhile expires late.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from ferrisdb.storage.env import Env

CommitTimes: TypeAlias = tuple[tuple[int, int], ...]
"""(timestamp, second): commits up to the timestamp had been made by that second since 1970.
Both ascend."""

MAX_SAMPLES: Final = 1000

MAX_SAMPLES_AT_ONCE: Final = 60
"""Added by one flush."""

FINEST_NOTE_S: Final = 0.01
MAX_NOTES: Final = 50_000
"""In memory, some five megabytes. At full load the last two minutes are known to a hundredth of
a second, and what is older to a small part of its age."""


def with_samples(times: CommitTimes, more: CommitTimes) -> CommitTimes:
    """`times` with later samples, thinned out when they are too many."""
    merged = list(times)
    for timestamp, second in more:
        # Of one second only the last sample says something.
        while merged and (merged[-1][1] >= second or merged[-1][0] >= timestamp):
            earlier = merged.pop()
            timestamp, second = max(timestamp, earlier[0]), max(second, earlier[1])
        merged.append((timestamp, second))
    if len(merged) > MAX_SAMPLES:
        middle = len(merged) // 2
        merged = merged[1:middle:2] + merged[middle:]
    return tuple(merged)


def checked_samples(found: Any) -> CommitTimes:
    """Samples as they were stored. ValueError for anything else."""
    times = tuple(map(tuple, found))
    if not all(list(map(type, sample)) == [int, int] for sample in times):
        raise ValueError("not samples of commit times")
    return times


def newest_by(times: Sequence[tuple[int, float]], second: float) -> int:
    """The last commit that had certainly been made by then; 0 when none is known."""
    position = bisect_right(times, second, key=lambda sample: sample[1])
    return times[position - 1][0] if position else 0


def version_by(times: CommitTimes, second: float, newest: int, newest_at_s: float) -> int | None:
    """The last commit that had been made by then, as far as `times` and a look at `newest_at_s`, which
    saw `newest`, can tell. None before the first sample, and for a moment behind the last one, after
    which commits came."""
    if second >= newest_at_s:
        return newest
    if not times or second < times[0][1]:
        return None
    last, last_s = times[-1]
    if second >= last_s:
        return last if last >= newest else None
    return newest_by(times, second)


class CommitClock:
    """The time of day, never going back, and what it said at the commits since the database was
    opened. Thread-safe."""

    def __init__(self, env: Env, times: CommitTimes) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._latest_s: float = times[-1][1] if times else 0.0
        self._before = times
        """Of earlier processes."""
        self._notes: list[tuple[int, float]] = []
        """(timestamp, second): as samples, but to the fraction of a second, and the first for all
        commits that were there at opening."""
        self._pending: tuple[int, float] | None = None
        """The last one, when it came too soon after the one before."""
        self._noted_s = -math.inf
        self._sampled_to = times[-1][0] if times else 0

    def now_s(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            return self._now_s()

    def _now_s(self) -> float:
        self._latest_s = max(self._latest_s, self._env.now_s())
        return self._latest_s

    def note(self, timestamp: int) -> None:
        """All commits up to `timestamp` are visible now. Call it when they are: who asks for this
        moment later must have been able to see them."""
        with self._lock:
            now_s = self._now_s()
            is_apart = now_s - self._noted_s >= FINEST_NOTE_S
            if is_apart:
                # The last one before a pause: it counts for as long as the pause is.
                self._keep_pending()
                self._noted_s = now_s
            self._pending = (timestamp, now_s)
            if is_apart:
                self._keep_pending()

    def _keep_pending(self) -> None:
        if self._pending is None:
            return
        self._notes.append(self._pending)
        self._pending = None
        if len(self._notes) > MAX_NOTES:
            middle = len(self._notes) // 2
            self._notes[1:middle] = self._notes[2:middle:2]

    def version_at(self, second: float) -> int | None:
        """The last commit that was visible then, in the past; None when nobody has noted it.

        The answer for a moment is the same each time, but when its notes have been thinned out.
        """
        with self._lock:
            # What was said once must not be replaced by a later note.
            self._keep_pending()
            first, first_s = self._notes[0] if self._notes else (0, math.inf)
            if second >= first_s:
                return newest_by(self._notes, second)
            return version_by(self._before, second, first, first_s)

    def sample(self, timestamp: int) -> CommitTimes:
        """For the manifest: when commits up to `timestamp`, since the last sample, have been made."""
        with self._lock:
            self._keep_pending()
            start = bisect_right(self._notes, self._sampled_to, key=lambda note: note[0])
            stop = bisect_right(self._notes, timestamp, key=lambda note: note[0])
            found = self._notes[start:stop]
            if not found or found[-1][0] < timestamp:
                found.append((timestamp, self._now_s()))
            # Thinned out from the end: what the last one says must be said.
            found = found[:: -(len(found) // MAX_SAMPLES_AT_ONCE + 1)][::-1]
            self._sampled_to = max(self._sampled_to, timestamp)
            return with_samples((), tuple((at, math.ceil(second)) for at, second in found))

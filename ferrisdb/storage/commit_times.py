"""When was that committed? Samples of the clock, kept in the manifest.

A commit's timestamp is a number that counts commits, and says nothing about hours. So each
flush notes in the manifest what the clock said:

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


def newest_by(times: Sequence[tuple[int, int]], second: float) -> int:
    """The last commit that had certainly been made by then; 0 when none is known."""
    position = bisect_right(times, second, key=lambda sample: sample[1])
    return times[position - 1][0] if position else 0


class CommitClock:
    """The time of day, never going back. Thread-safe."""

    def __init__(self, env: Env, times: CommitTimes) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._latest_s: float = times[-1][1] if times else 0.0

    def now_s(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            self._latest_s = max(self._latest_s, self._env.now_s())
            return self._latest_s

    def sample(self, timestamp: int) -> CommitTimes:
        """That commits up to `timestamp` have been made by now."""
        return ((timestamp, math.ceil(self.now_s())),)

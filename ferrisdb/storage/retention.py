"""Retention: which moments of the past stay readable, and so which versions are kept.

    commits        1 ... 4100 ... 9000            (timestamps)
    samples             10:00     11:00           commit_times.py
    now 11:20, retention one hour: what was visible at 10:20 must stay readable. Certainly made
    by then: the commits up to 4100. So from 4100 on everything is retained.

Two things keep a version: a reader who has it open, and a reader who may still come. The second
may ask for any moment from the *floor* on:

    floor = what is visible now, or what is retained, whichever is older

    3        17   20              4100  floor                  9000
    |         |    |               |                             |
    in use    in use               every moment from here on: all versions stay
         only what these three see

So compaction gets a short list, the snapshots in use below the floor, and the floor as its last
entry. Of each key it keeps the newest version at or below each of them, and every version above
the last (`compaction_job.collect`). RocksDB does the same with its list of snapshots.

A list that is too long is cut at its upper end: its last entry is then a snapshot below the
floor, and everything above that one is kept. So more is kept than is needed, never less, and
the oldest snapshots, between which most of the garbage lies, still count one by one.

The samples err on the late side, and so does this: a version may stay somewhat longer than it
must, never shorter.

Limits: a deleted range stays alive as long as what it has deleted, and there may be at most
MAX_LIVE_RANGE_TOMBSTONES of them. Kept is what a database that was opened with a retention had;
one opening without it lets the past go. A compaction filter of the user's is held back by the
oldest snapshot and by nothing else: what it does not want is gone from the past that is kept, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from ferrisdb.storage.commit_times import CommitClock, newest_by
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions

Snapshots: TypeAlias = Sequence[int]
"""Ascending, each once. Of each key the newest version at or below each of them is kept, and
every version above the last. Empty: all versions are kept."""

MAX_SNAPSHOTS: Final = 64
"""In a list for compaction. Each costs a job some bytes, and a row no more than a bisection."""


def snapshots_to_keep(floor: int, in_use: Iterable[int]) -> tuple[int, ...]:
    """The list for compaction. `floor`: everything from here on may be read, now or later."""
    below = {at for at in in_use if at < floor}
    return tuple(sorted(below | {floor})[:MAX_SNAPSHOTS])


class Retention:
    """Thread-safe."""

    def __init__(self, options: StorageOptions, manifest: Manifest, clock: CommitClock) -> None:
        self._retention_s = options.retention_s
        self._manifest = manifest
        self._clock = clock

    def retained_from(self) -> int:
        """The oldest moment that is kept for its age alone; MAX_TIMESTAMP when none is."""
        if not self._retention_s:
            return MAX_TIMESTAMP
        return newest_by(self._manifest.state.commit_times, self._clock.now_s() - self._retention_s)

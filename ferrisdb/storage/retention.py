"""Retention: how far back versions are kept though no snapshot needs them any more.

    commits        1 ... 4100 ... 9000            (timestamps)
    samples             10:00     11:00           commit_times.py
    now 11:20, retention one hour: what was visible at 10:20 must stay readable. Certainly made
    by then: the commits up to 4100. So the watermark is 4100, or the oldest snapshot if that
    is older.

Compaction keeps of each key every version above the watermark and the newest at or below it.
So a read at any commit of the last hour finds what it found then. The samples err on the late
side, and so does this: a version may stay somewhat longer than it must, never shorter.

Limits: a deleted range stays alive as long as what it has deleted, and there may be at most
MAX_LIVE_RANGE_TOMBSTONES of them. Kept is what a database that was opened with a retention had;
one opening without it lets the past go. A compaction filter of the user's is not held back by more
than the watermark: what it does not want is gone from the past that is kept, too.
"""

from __future__ import annotations

from ferrisdb.storage.commit_times import CommitClock, newest_by
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions


class Retention:
    """Used by the compaction thread."""

    def __init__(self, options: StorageOptions, manifest: Manifest, clock: CommitClock) -> None:
        self._retention_s = options.retention_s
        self._manifest = manifest
        self._clock = clock

    def watermark(self, oldest_snapshot: int) -> int:
        """What no reader, now or later, may read below. 0: everything may be read."""
        if not self._retention_s:
            return oldest_snapshot
        kept_from_s = self._clock.now_s() - self._retention_s
        return min(oldest_snapshot, newest_by(self._manifest.state.commit_times, kept_from_s))

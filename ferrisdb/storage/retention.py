"""Retention: how far back versions are kept though no snapshot needs them any more.

    commits        1 ... 4100 ... 9000            (timestamps)
    samples             10:00     11:00           commit_times.py
    now 11:20, retention one hour: what was visible at 10:20 must stay readable. Certainly made
    by then: the commits up to 4100. So the watermark is 4100, or the oldest snapshot if that
    is older.

Compaction keeps of each key every version above the watermark and the newest at or below it.
So a read at any commit of the last hour finds what it found then. The samples err on the late
side, and so does this: a version may stay somewhat longer than it must, never shorter.

Who wants to read at an old commit asks `hold` for it. It is refused below the last watermark, for
what lay there may be gone; the watermark of compactions is in the manifest, so that the next
process knows. Asking and being counted among the snapshots in use are one step, and so are
finding a watermark and noting it: no compaction can come between.

    hold(4100)        |-- not below the last watermark? counted as in use --|
    watermark()                                                              |-- at most 4100 --|

Limits: a deleted range stays alive as long as what it has deleted, and there may be at most
MAX_LIVE_RANGE_TOMBSTONES of them. Kept is what a database that was opened with a retention had;
one opening without it lets the past go. A compaction filter of the user's is not held back by more
than the watermark: what it does not want is gone from the past that is kept, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ferrisdb.errors import SnapshotTooOld
from ferrisdb.storage.commit_times import CommitClock, newest_by
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions


class Retention:
    """Thread-safe."""

    def __init__(self, options: StorageOptions, manifest: Manifest, clock: CommitClock) -> None:
        self._retention_s = options.retention_s
        self._manifest = manifest
        self._clock = clock
        # Held while the store is asked for its snapshots, or told of a new one: its mutex comes
        # after this one.
        self._lock = threading.Lock()
        self._gone_below = manifest.state.collected_below

    def watermark(self, oldest_snapshot: Callable[[], int]) -> int:
        """What no reader, now or later, may read below. 0: everything may be read."""
        with self._lock:
            found = oldest_snapshot()
            if self._retention_s:
                kept_from_s = self._clock.now_s() - self._retention_s
                found = min(found, newest_by(self._manifest.state.commit_times, kept_from_s))
            self._gone_below = max(self._gone_below, found)
            return found

    def hold(self, timestamp: int, begin: Callable[[float], None]) -> None:
        """Have somebody read at an old commit: `begin` makes it a snapshot in use. It is given the
        time by which what had expired then may be gone.

        Raises SnapshotTooOld when what was to be seen at `timestamp` may be gone.
        """
        with self._lock:
            if timestamp < self._gone_below:
                raise SnapshotTooOld(
                    f"what was there at version {timestamp} is not kept any more;"
                    f" the oldest that is kept is {self._gone_below}",
                    hint="open the database with a retention (retention_s) that goes back as far as you ask",
                )
            begin(self._clock.now_s() - self._retention_s)

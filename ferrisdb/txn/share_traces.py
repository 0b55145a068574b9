"""What share locks leave behind: the newest commit that relied on a key.

    T1 shares k, commits at 7          traces   k: 7
    T2, which reads as of 5, wants to write k          7 > 5: it may not

Until every older snapshot is gone, a transaction with an older snapshot can't write the key. So
two transactions that never meet in time can't break what one of them read and relied on.

At most `MAX_SHARE_TRACES` keys are kept. Past that, traces that no snapshot needs go; if these
are too few, the oldest are merged into one number, `floor`, that stands for all keys. It may
abort a writer needlessly, never the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ferrisdb.txn.range_locks import covers

MAX_SHARE_TRACES = 100_000


class ShareTraces:
    """Used under the mutex of the lock table."""

    def __init__(self, oldest_snapshot: Callable[[], int]) -> None:
        self._oldest_snapshot = oldest_snapshot
        self._commits: dict[bytes, int] = {}
        self._floor = 0

    def __len__(self) -> int:
        return len(self._commits)

    def leave(self, keys: Iterable[bytes], commit_timestamp: int) -> None:
        for key in keys:
            self._commits[key] = commit_timestamp
        if len(self._commits) > MAX_SHARE_TRACES:
            self._merge_old()

    def newest_of(self, keys: Iterable[bytes]) -> int:
        """May be too new, never too old. 0 when there is none."""
        commits = self._commits
        if not commits:
            return self._floor
        return max(self._floor, max((commits.get(key, 0) for key in keys), default=0))

    def newest_in(self, lo: bytes, hi: bytes | None) -> int:
        """`newest_of` the keys with lo <= key < hi."""
        within = (at for key, at in self._commits.items() if covers(lo, hi, key))
        return max(self._floor, max(within, default=0))

    def _merge_old(self) -> None:
        oldest_snapshot = self._oldest_snapshot()
        needed = {key: at for key, at in self._commits.items() if at > oldest_snapshot}
        if len(needed) > MAX_SHARE_TRACES // 2:
            by_age = sorted(needed.items(), key=lambda item: item[1])
            merged = by_age[: len(by_age) // 2]
            self._floor = merged[-1][1]
            needed = dict(by_age[len(merged) :])
        self._commits = needed

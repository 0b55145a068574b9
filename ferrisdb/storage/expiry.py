"""What has expired, and which tables are worth a compaction for it alone.

While rows are written, tables are compacted anyway, and `compaction_filter` drops what has
expired in passing. When nobody writes, nothing is compacted, and what expires would stay. So
the compaction thread looks at the tree now and then, and when all else is in shape:

    a table that is older than the cut of a prefix, as a whole, and has a value under it
      in level 1 to 6     is rewritten by itself; its expired values become nothing, or
                          tombstones where a deeper level may have their keys
      in level 0          all of level 0 is merged into the next level that is not empty:
                          a table that was rewritten there would look like the newest

Whether it has such a value is asked of the table, which reads one or two of its blocks. The
answer is exact, so no table is rewritten twice for the same rows: once is enough, for
all of it is below the watermark and the cut.

Limits: a table in which some row is younger than the cut waits until it is compacted, or
until that row is old enough, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from ferrisdb.storage.commit_times import CommitClock, newest_by
from ferrisdb.storage.compaction_filter import Expired, prefix_end
from ferrisdb.storage.compaction_picker import Compaction, range_of
from ferrisdb.storage.level import LAST_LEVEL, LEVEL_COUNT
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

MOST_EXACT_S: Final = 1.0
LONGEST_REST_S: Final = 3600.0
"""Between two looks at a tree that nobody writes to; a tenth of the shortest life within these."""


class ExpiryWatch:
    """Knows what has expired. Used by the compaction thread."""

    def __init__(self, options: StorageOptions, manifest: Manifest, clock: CommitClock) -> None:
        self.oldest_snapshot_s: Callable[[], float] = clock.now_s
        """No snapshot in use, now or later, was taken before this."""
        self._expiries = options.expiries
        self._retention_s = options.retention_s
        self._clock = clock
        self._manifest = manifest
        # Table and prefix; it stays true, for tables never change. Else tables full of
        # tombstones would be read at every look.
        self._without_values: set[tuple[int, bytes]] = set()

    @property
    def rest_s(self) -> float | None:
        """How long to sleep between two looks; None for as long as nothing happens."""
        shortest_s = min((each.ttl_s for each in self._expiries), default=None)
        return None if shortest_s is None else min(max(shortest_s / 10, MOST_EXACT_S), LONGEST_REST_S)

    def expired(self) -> Expired:
        """As it was when the oldest snapshot in use was taken, or as far back as a reader may ask."""
        if not self._expiries:
            return ()
        # Who reads the past that is kept reads rows that lived then, and have expired since.
        oldest_s = min(self.oldest_snapshot_s(), self._clock.now_s() - self._retention_s)
        times = self._manifest.state.commit_times
        cuts = ((each.prefix, newest_by(times, oldest_s - each.ttl_s)) for each in self._expiries)
        return tuple((prefix, cut) for prefix, cut in cuts if cut > 0)

    def pick(self, sources: Sources, watermark: int, expired: Expired) -> Compaction | None:
        """Something to do for what has expired. Reads blocks; raises what a table's reads do."""
        if not expired:
            return None
        alive = {table.number for table in sources.tables}
        self._without_values = {known for known in self._without_values if known[0] in alive}
        for level in range(LAST_LEVEL, -1, -1):
            for table in sources.tables_of(level):
                if self._is_worth_it(table, watermark, expired):
                    return rewrite_alone(sources, level, table) if level else merge_level_zero(sources)
        return None

    def _is_worth_it(self, table: SSTableReader, watermark: int, expired: Expired) -> bool:
        for prefix, cut in expired:
            if table.properties.largest_timestamp > min(cut, watermark) or not _meets(table, prefix):
                continue
            if (table.number, prefix) in self._without_values:
                continue
            if _has_values(table, prefix):
                return True
            self._without_values.add((table.number, prefix))
        return False


def _meets(table: SSTableReader, prefix: bytes) -> bool:
    end = prefix_end(prefix)
    found = table.properties
    return found.largest_key >= prefix and (end is None or found.smallest_key < end)


def _has_values(table: SSTableReader, prefix: bytes) -> bool:
    chunks: Iterator[list[bytes | None]] = (
        values for _, values in table.chunks(prefix, prefix_end(prefix), MAX_TIMESTAMP)
    )
    return any(value is not None for value in chain.from_iterable(chunks))


def rewrite_alone(sources: Sources, level: int, table: SSTableReader) -> Compaction:
    """A table of level 1 or deeper, where it is."""
    return Compaction(level, level, (table,), (), _deeper(sources, level, *range_of(table)), is_move=False)


def merge_level_zero(sources: Sources) -> Compaction:
    """Right in either style: what level 0 has is newer than the first level that is not empty."""
    upper = sources.level_zero
    output_level = next((n for n in range(1, LEVEL_COUNT) if sources.tables_of(n)), LAST_LEVEL)
    smallest = min(table.properties.smallest_key for table in upper)
    largest = max(table.properties.largest_key for table in upper)
    lower = sources.levels[output_level - 1].meeting(smallest, largest)
    smallest = min([smallest, *(table.properties.smallest_key for table in lower)])
    largest = max([largest, *(table.properties.largest_key for table in lower)])
    deeper = _deeper(sources, output_level, smallest, largest)
    return Compaction(0, output_level, upper, lower, deeper, is_move=False)


def _deeper(
    sources: Sources, level: int, smallest_key: bytes, largest_key: bytes
) -> tuple[tuple[tuple[bytes, bytes], ...], ...]:
    found = (below.meeting(smallest_key, largest_key) for below in sources.levels[level:])
    return tuple(tuple(map(range_of, tables)) for tables in found if tables)

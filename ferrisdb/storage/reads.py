"""Reading from a set of sources: one key, many, a range, the newest version of a key.

    sources, newest first     memtables | tables of level 0 | level 1 | ... | level 6
    read                      asks one after the other; the first that knows the key is right
    scan                      merges those that overlap the range, a chunk at a time

Where ranges were deleted, `range_reads` reads over the floors; where none were, as nearly
always, that costs one test.

`Sources` never change, so these are plain functions of one set. The engine reads from its
present set; a read-only engine from the set that belongs to the reader's moment. Whether the
engine is open and which set counts is their business, before they come here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.merge import merge_chunks
from ferrisdb.storage.range_reads import newest_timestamp_in, read_over_floor, scan_fragments
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.version import Missing

__all__ = ["newest_timestamp", "newest_timestamp_in", "read", "read_many", "scan"]


def read(sources: Sources, key: bytes, timestamp: int) -> bytes | None:
    """The value of `key` as of `timestamp`; None when there is none."""
    if sources.range_tombstones.all:
        return read_over_floor(sources, key, timestamp)
    for source in sources.newest_first:
        found = source.read(key, timestamp)
        if found is not Missing.MISSING:
            return found
    return None


def read_many(sources: Sources, keys: Sequence[bytes], timestamp: int) -> list[bytes | None]:
    """`read` of each."""
    return [read(sources, key, timestamp) for key in keys]


def scan(
    sources: Sources, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Batches of (keys, values) with lo <= key < hi as of `timestamp`, in key order."""
    if sources.range_tombstones.all:
        return scan_fragments(sources, lo, hi, timestamp, reverse=reverse)
    overlapping = sources.overlapping(lo, hi)
    return merge_chunks(
        [source.chunks(lo, hi, timestamp, reverse=reverse) for source in overlapping], reverse=reverse
    )


def newest_timestamp(sources: Sources, key: bytes, after: int) -> int:
    """The newest commit of `key` when that is after `after`, deletes included; else 0."""
    newest = newest_version(sources, key, after)
    if sources.range_tombstones.all:
        deleted_at = sources.range_tombstones.floor(key, MAX_TIMESTAMP)
        if deleted_at > max(newest, after):
            return deleted_at
    return newest


def newest_version(sources: Sources, key: bytes, after: int) -> int:
    """The newest version of `key` above `after`, tombstones included; 0 when there is none."""
    for memtable in sources.memtables:
        newest = memtable.newest_timestamp(key)
        if newest:
            return newest if newest > after else 0
    for table in sources.level_zero:
        if table.properties.largest_timestamp > after:
            newest = table.newest_timestamp(key)
            if newest:
                return newest if newest > after else 0
    for level in sources.levels:
        newest = level.newest_timestamp(key, after)
        if newest:
            return newest
    return 0

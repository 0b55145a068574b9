"""Reads of many keys where ranges were deleted, and the newest commit in a range.

A scan over deleted ranges is several scans, one for each fragment of its range that has one
floor (see `range_tombstones`), end to end:

    scan of [a, z)       a ........ f -------------- q ........ z
    floor                     0            17             0
    memtables            all               from 17 on     all
    table of 3 to 16     all               passed over    all
    table of 20 to 31    all               all            all

So merging knows nothing of deleted ranges, and blocks that nothing was deleted of are handed
on whole, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from ferrisdb.storage.merge import Batch, merge_chunks
from ferrisdb.storage.range_tombstones import Fragment
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.version import MISSING


def read_over_floor(sources: Sources, key: bytes, timestamp: int) -> bytes | None:
    """What `reads.read` gives, where there are range tombstones."""
    floor = sources.range_tombstones.floor(key, timestamp)
    for source in sources.newest_first:
        found = source.read(key, timestamp, floor)
        if found is not MISSING:
            return found
    return None


def scan_fragments(
    sources: Sources, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool
) -> Iterator[Batch]:
    """What `reads.scan` gives, where there are range tombstones."""
    if hi is not None and hi <= lo:
        return
    fragments = sources.range_tombstones.as_of(timestamp).fragments(lo, hi)
    for fragment in reversed(fragments) if reverse else fragments:
        yield from _scan_fragment(sources, fragment, timestamp, reverse)


def _scan_fragment(sources: Sources, fragment: Fragment, timestamp: int, reverse: bool) -> Iterator[Batch]:
    lo, hi, floor = fragment
    chunks = [
        source.chunks(lo, hi, timestamp, reverse=reverse, floor=floor)
        for source in sources.overlapping(lo, hi)
    ]
    return merge_chunks(chunks, reverse=reverse)


def newest_timestamp_in(sources: Sources, lo: bytes, hi: bytes | None, after: int) -> int:
    """The newest commit above `after` that wrote or deleted something of lo <= key < hi; 0
    when there is none. Reads no table that has nothing newer than that."""
    if hi is not None and hi <= lo:
        return 0
    newest = max(after, sources.range_tombstones.newest_in(lo, hi) if sources.range_tombstones.all else 0)
    for memtable in sources.memtables:
        newest = max(newest, memtable.newest_timestamp_in(lo, hi))
    for table in sources.tables:
        if table.properties.largest_timestamp > newest:
            newest = max(newest, table.newest_timestamp_in(lo, hi))
    return newest if newest > after else 0

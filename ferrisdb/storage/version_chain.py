"""All versions of one key, newest first, and where each is: for looking, not for reading.

    memtable        [ 9 'c' ] -> [ 7 deleted ]
    level 0         [ 4 'b' ]                          the chain: 9, 7, 4, 1
    level 1         [ 1 'a' ]

A reader stops at the first version that its snapshot sees. Who wants to show how versions
work goes on to the last: through all sources, and all blocks of a table that the key has
versions in. A deleted range is a version, too, of every key that it covers.

The chain ends where versions were collected: what no snapshot in use can see is gone once a
flush or a compaction has rewritten it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ferrisdb.immutable import immutable
from ferrisdb.storage.sources import Sources


@immutable
class StoredVersion:
    """`value` None: deleted at that commit, with a range if `is_range`."""

    timestamp: int
    value: bytes | None
    place: str
    """"memory", "memory, being flushed", "level 0", ...; "" for a deleted range."""
    is_range: bool = False


def version_chain(sources: Sources, key: bytes) -> list[StoredVersion]:
    """Newest first. Raises as reads do."""
    return sorted(_found(sources, key), key=lambda each: (-each.timestamp, each.is_range))


def _found(sources: Sources, key: bytes) -> Iterator[StoredVersion]:
    for number, memtable in enumerate(sources.memtables):
        place = "memory, being flushed" if number else "memory"
        for timestamp, value in memtable.versions(key):
            yield StoredVersion(timestamp, value, place)
    after_key = key + b"\0"
    levels = [sources.level_zero, *(level.overlapping(key, after_key) for level in sources.levels)]
    for depth, tables in enumerate(levels):
        for table in tables:
            for timestamp, value in table.versions(key):
                yield StoredVersion(timestamp, value, f"level {depth}")
    for tombstone in sources.range_tombstones.all:
        if tombstone.meets(key, after_key):
            yield StoredVersion(tombstone.timestamp, None, "", is_range=True)

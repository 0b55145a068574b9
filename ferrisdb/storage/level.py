"""A level below level 0: tables in key order, of which at most one can hold a key.

    level 1    [a .. f]      [h .. k] [l .. q]          tables, disjoint
               one bisect over the largest keys finds the table of a key

To readers a level is one source, as a memtable is. No key has versions in two tables of one
level: compaction cuts between keys, never between versions. So the table that may hold the
key decides alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from ferrisdb.errors import invariant
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.version import MISSING, Chunk, Found

LEVEL_COUNT: Final = 7
"""Levels 0 to 6. With growth by 10 from 64 MiB the last would be full at some petabytes."""
LAST_LEVEL: Final = LEVEL_COUNT - 1


class Level:
    """Immutable. Reads raise what those of a table do."""

    __slots__ = ("_largest_keys", "tables")

    def __init__(self, tables: Iterable[SSTableReader] = ()) -> None:
        """In any order; their key ranges must not overlap."""
        self.tables = tuple(sorted(tables, key=lambda table: table.properties.smallest_key))
        self._largest_keys = [table.properties.largest_key for table in self.tables]
        for table, largest_before in zip(self.tables[1:], self._largest_keys, strict=False):
            invariant(
                table.properties.smallest_key > largest_before,
                f"table {table.number} overlaps another one of its level",
            )

    @property
    def table_bytes(self) -> int:
        return sum(table.properties.file_bytes for table in self.tables)

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        """The newest version of `key` at or below `timestamp`; None when it is below `floor`."""
        position = bisect_left(self._largest_keys, key)
        if position == len(self.tables):
            return MISSING
        return self.tables[position].read(key, timestamp, floor)

    def newest_timestamp(self, key: bytes, after: int = 0) -> int:
        """The timestamp of the newest version of `key`, tombstones included, when it is above
        `after`; 0 when absent."""
        position = bisect_left(self._largest_keys, key)
        if position == len(self.tables):
            return 0
        table = self.tables[position]
        if table.properties.largest_timestamp <= after:
            return 0
        newest = table.newest_timestamp(key)
        return newest if newest > after else 0

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]:
        """What a reader at `timestamp` sees of lo <= key < hi, table by table. No version below
        `floor` counts."""
        tables = self.overlapping(lo, hi)
        for table in reversed(tables) if reverse else tables:
            yield from table.chunks(lo, hi, timestamp, reverse=reverse, floor=floor)

    def overlapping(self, lo: bytes, hi: bytes | None) -> tuple[SSTableReader, ...]:
        """The tables that may hold a key with lo <= key < hi, in key order."""
        found = self.tables[bisect_left(self._largest_keys, lo) :]
        if hi is None:
            return found
        return found[: bisect_left(found, hi, key=lambda table: table.properties.smallest_key)]

    def meeting(self, smallest_key: bytes, largest_key: bytes) -> tuple[SSTableReader, ...]:
        """The tables that may hold a key of this range, both ends included."""
        return self.overlapping(smallest_key, largest_key + b"\0")


EMPTY_LEVELS: Final = tuple(Level() for _ in range(1, LEVEL_COUNT))

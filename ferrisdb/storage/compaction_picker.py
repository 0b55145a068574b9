"""Which tables to compact next, leveled: the shape of the tree, and what is out of shape.

    level 0    tables as they were flushed, newest first; any of them may hold any key
    level 1    empty until level 2 has outgrown its target
     ...
    level 5    target: a tenth of level 6
    level 6    the last: nearly all data

The targets are computed from the last level up, as RocksDB does (Dong et al., "Optimizing
Space Amplification in RocksDB", CIDR 2017): the last level is as large as it is, each level
above it should have a tenth, down to the first one that is not above `level_base_bytes`,
the base. Level 0 goes into the base, and the levels between stay empty. LevelDB's fixed
sizes (level 1 has 10 MB, level 2 has 100 MB) waste up to as much again as there is data,
when the last level is just begun. Here all that lies above the last level, and so all that
can be overwritten, is at most 1/8 + 1/10 + 1/100 ... = 24 percent of it at rest.

A tombstone is small, but it hides a row in the last level that is not. So a tombstone counts
with the bytes that such a row has there on average, or rows that are all deleted would never
be collected.

Each level has a score, its size by its target; the highest from 1 on is served:

    level 0         tables / 4, or bytes / an eighth of the last level, whichever is more
    a level         bytes / target; one above the base must become empty
    last level      never; but when all else is in shape, a table in it with versions or
                    tombstones that nobody can read any more is rewritten by itself

Inputs, as in LevelDB. From level 0 the oldest table, and with it every one whose range
meets theirs: a newer table that moved down alone would leave older versions above itself.
From another level one table, in turns over the key range: the next behind that of the last
time. To them come all tables of the level below that their range meets. One table that
meets none is only moved, by the manifest.

The other style is `compaction_tiered`; what both have in common, `Compaction` and `Picker`,
stands here.

Limits: where the turns were is forgotten when the database is closed. The output is not cut
where it would meet many tables of the level after (LevelDB's grandparents).
"""

from __future__ import annotations

from itertools import chain
from typing import Final, Protocol, TypeAlias

from ferrisdb.immutable import immutable
from ferrisdb.storage.level import LAST_LEVEL, Level
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

LEVEL_ZERO_SHARE: Final = 8
"""Level 0 may hold this part of the last level's bytes."""

KeyRange: TypeAlias = tuple[bytes, bytes]
"""Smallest and largest key."""


@immutable
class Compaction:
    """Tables to be merged into `output_level`."""

    level: int
    output_level: int
    upper: tuple[SSTableReader, ...]
    """Those of `level`: newest first in level 0, else one, or none when all are in `between`."""
    lower: tuple[SSTableReader, ...]
    """Those of `output_level` that they meet, in key order."""
    deeper: tuple[tuple[KeyRange, ...], ...]
    """Of each level below the output, the ranges of the tables they meet, in key order."""
    is_move: bool
    """The tables only change their level."""
    is_drop: bool = False
    """Nothing of the tables is left: they only go."""
    between: tuple[tuple[SSTableReader, ...], ...] = ()
    """Whole levels above `output_level` that are merged, too, from the top down (tiered)."""

    @property
    def runs(self) -> tuple[tuple[SSTableReader, ...], ...]:
        """The inputs, newest first: of each its tables in key order, disjoint."""
        level_zero = ((table,) for table in self.upper)
        return tuple(run for run in (*level_zero, *self.between, self.lower) if run)

    @property
    def inputs(self) -> tuple[SSTableReader, ...]:
        return tuple(chain.from_iterable(self.runs))

    @property
    def input_bytes(self) -> int:
        return sum(table.properties.file_bytes for table in self.inputs)


class Picker(Protocol):
    """A style of compaction. One caller at a time."""

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        """What to do next; None when the tree is in shape.

        `watermark`: no reader, now or later, reads below it. 0 when nothing is known.
        """


class CompactionPicker:
    """Leveled. Remembers whose turn it is. One caller at a time."""

    def __init__(self, options: StorageOptions) -> None:
        self._options = options
        self._turns: dict[int, bytes] = {}

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        """See `Picker`."""
        scores = self.scores(sources)
        level = max(range(LAST_LEVEL), key=lambda level: scores[level])
        if scores[level] >= 1:
            return self._into_next(sources, level, watermark)
        return pick_garbage(sources, watermark)

    def scores(self, sources: Sources) -> list[float]:
        """Of levels 0 to 5; 1 and more is out of shape."""
        targets = self._targets(sources)
        waiting = sources.level_zero
        last = sources.levels[-1]
        last_bytes = last.table_bytes
        hidden_bytes = last_bytes // max(1, sum(table.properties.entry_count for table in last.tables))
        waiting_bytes = weight_bytes(waiting, hidden_bytes)
        room_bytes = max(self._options.table_bytes, last_bytes // LEVEL_ZERO_SHARE)
        scores = [max(len(waiting) / self._options.compaction_start_tables, waiting_bytes / room_bytes)]
        for level in range(1, LAST_LEVEL):
            size_bytes = weight_bytes(sources.levels[level - 1].tables, hidden_bytes)
            target_bytes = targets[level]
            scores.append(size_bytes / target_bytes if target_bytes else float(size_bytes))
        return scores

    def _targets(self, sources: Sources) -> list[int]:
        """Bytes that each level should have; 0 for those above the base."""
        targets = [0] * LAST_LEVEL
        size_bytes, level = sources.levels[-1].table_bytes, LAST_LEVEL
        while size_bytes > self._options.level_base_bytes and level > 1:
            size_bytes = max(1, size_bytes // self._options.level_growth)
            level -= 1
            targets[level] = size_bytes
        return targets

    def _into_next(self, sources: Sources, level: int, watermark: int) -> Compaction:
        if level == 0:
            upper = _oldest_and_what_it_meets(sources.level_zero)
            output_level = self._first_level_below_zero(sources)
        else:
            upper = (self._whose_turn(sources.levels[level - 1], level),)
            output_level = level + 1
        smallest = min(table.properties.smallest_key for table in upper)
        largest = max(table.properties.largest_key for table in upper)
        lower = sources.levels[output_level - 1].meeting(smallest, largest)
        smallest = min([smallest, *(table.properties.smallest_key for table in lower)])
        largest = max([largest, *(table.properties.largest_key for table in lower)])
        deeper = (below.meeting(smallest, largest) for below in sources.levels[output_level:])
        return Compaction(
            level,
            output_level,
            upper,
            lower,
            tuple(tuple(map(range_of, tables)) for tables in deeper if tables),
            # A table with versions that can be collected is worth being rewritten.
            is_move=len(upper) == 1 and not lower and (watermark == 0 or upper[0].has_only_newest),
        )

    def _first_level_below_zero(self, sources: Sources) -> int:
        """The base, or a level above it that is not empty yet: what it has is older than level 0."""
        targets = self._targets(sources)
        for level in range(1, LAST_LEVEL):
            if targets[level] or sources.levels[level - 1].tables:
                return level
        return LAST_LEVEL

    def _whose_turn(self, level: Level, number: int) -> SSTableReader:
        last = self._turns.get(number)
        later = (table for table in level.tables if last is None or table.properties.smallest_key > last)
        table = next(later, level.tables[0])
        self._turns[number] = table.properties.largest_key
        return table


def pick_garbage(sources: Sources, watermark: int) -> Compaction | None:
    """A table of the last level, to be rewritten by itself without what nobody can read."""
    for table in sources.tables_of(LAST_LEVEL):
        if not table.has_only_newest and table.properties.largest_timestamp <= watermark:
            return Compaction(LAST_LEVEL, LAST_LEVEL, (table,), (), (), is_move=False)
    return None


def weight_bytes(tables: tuple[SSTableReader, ...], hidden_bytes: int) -> int:
    """Their bytes, and what their tombstones hide, `hidden_bytes` each."""
    return sum(
        table.properties.file_bytes + table.properties.tombstone_count * hidden_bytes for table in tables
    )


def _oldest_and_what_it_meets(level_zero: tuple[SSTableReader, ...]) -> tuple[SSTableReader, ...]:
    """The oldest table and, as ranges grow, all that they meet; newest first."""
    chosen = {level_zero[-1].number}
    smallest, largest = range_of(level_zero[-1])
    has_grown = True
    while has_grown:
        has_grown = False
        for table in level_zero:
            table_smallest, table_largest = range_of(table)
            if table.number not in chosen and table_smallest <= largest and table_largest >= smallest:
                chosen.add(table.number)
                smallest, largest = min(smallest, table_smallest), max(largest, table_largest)
                has_grown = True
    return tuple(table for table in level_zero if table.number in chosen)


def range_of(table: SSTableReader) -> KeyRange:
    return table.properties.smallest_key, table.properties.largest_key

"""Which tables to compact next, tiered: runs are merged with runs of their own size.

Leveled compaction merges what is new into a much larger level again and again; a byte is
rewritten about as often as a level is larger than the one above it, in each level. Tiered
compaction lets runs of equal size come together and merges them once: a byte is rewritten
once for each time that its run has doubled. The price is that more runs lie side by side,
which a read must ask, and that a row that was overwritten stays until its run and that of
the newer version meet.

    level 0    |4| |4| |4| |4|     young runs, one table each, newest first
    level 3    [ 20 ]              every level below that is not empty is one run:
    level 4                        its tables are disjoint, in key order
    level 5    [     70     ]
    level 6    [                   300                   ]      the oldest run

When level 0 has `compaction_start_tables`, all of it is merged. The next run is taken in
while it is not much larger than what has been gathered above it, and then the next (16, so
20 is taken in; 36, so 70 stays). The output goes as deep as it can: to the level above the
next run that stays (4), or to the last level when none stays. So every run keeps room above
itself for as many younger ones as possible. When there is no room, as the run that should
stay is in level 1, that one is taken in, too.

    WRITE    a run doubles with each merge: log2(data / level 0) rewrites of a byte
    SPACE    all runs but the last may hide as much as they hold: when together they exceed
             the last one, everything is merged into it. So at rest there is at most twice
             the data. Tombstones count with what they hide, as in leveled compaction.

Runs whose tables are all disjoint, as a load in key order makes them, are not merged: their
tables change their level in the manifest, and lie there side by side as one run. A table of
the last level with garbage that nobody can read is rewritten by itself, as in the leveled
style. Either style can go on with what the other has left: what one calls a level the other
calls a run, and both keep older versions below newer ones.

Follows the universal compaction of RocksDB. That leveled and tiered are two ends of one
trade: Dayan, Athanassoulis, Idreos, "Monkey" (SIGMOD 2017), and Dayan, Idreos, "Dostoevsky"
(SIGMOD 2018); both descend from O'Neil, Cheng, Gawlick, O'Neil, "The Log-Structured
Merge-Tree" (Acta Informatica 1996).

Which one? Leveled, the default, where rows are read or overwritten in place: fewer runs to
ask, little waste of space. Tiered where much is written and little of it is read again soon:
logs, events, queues of work. Figures: docs/performance.md.

Limits: a merge of everything needs as much room again while it runs, and as one compaction
runs at a time, level 0 grows meanwhile: writers may be held up for longer than in the
leveled style, whose compactions are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Final

from ferrisdb.storage.compaction_picker import Compaction, pick_garbage, range_of, weight_bytes
from ferrisdb.storage.level import LAST_LEVEL, LEVEL_COUNT
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

SIZE_RATIO: Final = 0.25
"""A run may be larger by this part than what is gathered and still be taken in. With 0, two
runs of the same commits would fail to meet when some rows were overwritten in one of them."""

SPACE_BOUND: Final = 1.0
"""All runs but the last may together have this part of the last one's bytes. RocksDB lets
them have twice as much; half of that costs some more writes and keeps the space that
overwritten rows take to the data's own."""


class TieredPicker:
    """See `Picker`. Has no state of its own."""

    def __init__(self, options: StorageOptions) -> None:
        self._options = options

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        """See `Picker`."""
        runs = [number for number in range(1, LEVEL_COUNT) if sources.tables_of(number)]
        if self._wastes_space(sources, runs):
            return _merge(sources, runs, watermark)
        if len(sources.level_zero) >= self._options.compaction_start_tables:
            return _merge(sources, _taken_in(sources, runs), watermark)
        return pick_garbage(sources, watermark)

    def _wastes_space(self, sources: Sources, runs: list[int]) -> bool:
        if not runs:
            return False
        last = sources.levels[runs[-1] - 1]
        upper = chain(sources.level_zero, *(sources.tables_of(number) for number in runs[:-1]))
        entry_count = sum(table.properties.entry_count for table in last.tables)
        # A small database need not be merged whole for each table that is flushed.
        bound_bytes = max(self._options.table_bytes, SPACE_BOUND * last.table_bytes)
        return weight_bytes(tuple(upper), last.table_bytes // entry_count) > bound_bytes


def _taken_in(sources: Sources, runs: list[int]) -> list[int]:
    """The levels that are merged with level 0, by their sizes and for want of room."""
    gathered_bytes = sum(table.properties.file_bytes for table in sources.level_zero)
    count = 0
    for number in runs:
        size_bytes = sources.levels[number - 1].table_bytes
        if size_bytes > gathered_bytes * (1 + SIZE_RATIO) and _output_level(runs, count) > 0:
            break
        gathered_bytes += size_bytes
        count += 1
    return runs[:count]


def _output_level(runs: list[int], taken_count: int) -> int:
    """The level above the next run that stays; 0 when there is no room for a run."""
    return runs[taken_count] - 1 if taken_count < len(runs) else LAST_LEVEL


def _merge(sources: Sources, taken: list[int], watermark: int) -> Compaction:
    """Level 0 and these levels, the next ones below it, as one run."""
    runs = [number for number in range(1, LEVEL_COUNT) if sources.tables_of(number)]
    output_level = _output_level(runs, len(taken))
    between = tuple(sources.tables_of(number) for number in taken if number != output_level)
    newer = (*sources.level_zero, *chain.from_iterable(between))
    smallest, largest = _range_of_all(newer)
    # Tables of the output's level that nothing newer meets can stay where they are.
    lower = sources.levels[output_level - 1].meeting(smallest, largest)
    smallest, largest = _range_of_all((*newer, *lower))
    deeper = (level.meeting(smallest, largest) for level in sources.levels[output_level:])
    return Compaction(
        level=0 if sources.level_zero else taken[0],
        output_level=output_level,
        upper=sources.level_zero,
        lower=lower,
        deeper=tuple(tuple(map(range_of, tables)) for tables in deeper if tables),
        # A table with versions that can be collected is worth being rewritten.
        is_move=not lower
        and _are_disjoint(newer)
        and (watermark == 0 or all(table.has_only_newest for table in newer)),
        between=between,
    )


def _range_of_all(tables: Iterable[SSTableReader]) -> tuple[bytes, bytes]:
    smallest_keys, largest_keys = zip(*map(range_of, tables), strict=True)
    return min(smallest_keys), max(largest_keys)


def _are_disjoint(tables: Iterable[SSTableReader]) -> bool:
    return all(left[1] < right[0] for left, right in pairwise(sorted(map(range_of, tables))))

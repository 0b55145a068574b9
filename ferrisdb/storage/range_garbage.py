"""What deleted ranges leave behind, and when a range tombstone is no longer needed.

    a table lies under floors that are all above its newest version    dropped, never read
    a table has a version that a floor hides                           rewritten without it
    no table has one                                                   the tombstones are settled

Only tombstones at or below the watermark count here: those that every reader sees, now and
later. And only flushed ones. One that is in the log alone may not be on the disk yet (at
durability OFF), and a power cut would take the delete and leave its effect.

A tombstone at or below `Sources.flushed_timestamp` hides nothing in a memtable, for those have
newer commits only; and nothing older can come: what is flushed from now on is newer, and a
compaction makes no versions. So a look at the tables of one set of sources decides, once and
for ever. Timestamps and key ranges in the properties of a table often say enough, its index
says more, and only where a block lies in the range, or across its end, it is read. So a
table that is called dirty certainly has something to collect, and rewriting it is progress;
one that was looked through and is clean is remembered until the database is closed.

A tombstone under newer ones that every reader sees is settled at once, whatever it hides:
they hide it too. So a queue whose head is deleted range by range keeps one tombstone.

Limits: looking through a table where much was written into a deleted range reads that part.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.expiry import merge_level_zero, rewrite_alone
from ferrisdb.storage.level import LAST_LEVEL
from ferrisdb.storage.limits import MAX_LIVE_RANGE_TOMBSTONES
from ferrisdb.storage.range_tombstones import FlatView, RangeTombstone
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

URGENT_RANGE_TOMBSTONES = MAX_LIVE_RANGE_TOMBSTONES // 4
"""From so many on their garbage goes before the shape of the tree."""


def settled_up_to(sources: Sources, watermark: int) -> int:
    """Tombstones above this may not be used to drop anything."""
    return min(watermark, sources.flushed_timestamp)


def tombstones_over(
    tables: Sequence[SSTableReader], sources: Sources, watermark: int
) -> tuple[RangeTombstone, ...]:
    """What may be dropped from these tables, when they are rewritten, is what these hide."""
    if not sources.range_tombstones.all:
        return ()
    smallest = min(table.properties.smallest_key for table in tables)
    largest = max(table.properties.largest_key for table in tables)
    tombstones = sources.range_tombstones.between(0, settled_up_to(sources, watermark))
    return tuple(each for each in tombstones if each.meets(smallest, largest + b"\0"))


def covered_tables(sources: Sources, watermark: int) -> tuple[SSTableReader, ...]:
    """Tables of which nothing is left: they may go without being read."""
    if not sources.range_tombstones.all:
        return ()
    view = sources.range_tombstones.as_of(settled_up_to(sources, watermark))
    return tuple(table for table in sources.tables if _is_covered(table, view))


def _is_covered(table: SSTableReader, view: FlatView) -> bool:
    found = table.properties
    return min(view.floors_between(found.smallest_key, found.largest_key)) > found.largest_timestamp


class RangeGarbage:
    """Remembers which tables are clean. One caller at a time: the compaction thread."""

    def __init__(self) -> None:
        self._clean: dict[int, int] = {}
        """Table number -> no tombstone up to this timestamp hides anything in it."""

    def dirty_table(self, sources: Sources, watermark: int) -> tuple[int, SSTableReader] | None:
        """The level of a table with hidden versions, and the table; None when there is none.

        Raises CorruptionError, StorageError.
        """
        up_to = settled_up_to(sources, watermark)
        tombstones = sources.range_tombstones.between(0, up_to)
        if not tombstones:
            return None
        view = sources.range_tombstones.as_of(up_to)
        alive = {table.number for table in sources.tables}
        self._clean = {number: at for number, at in self._clean.items() if number in alive}
        for level in range(len(sources.levels) + 1):
            for table in sources.tables_of(level):
                if self._clean.get(table.number, 0) >= tombstones[-1].timestamp:
                    continue
                if _has_hidden_versions(table, view):
                    return level, table
                self._clean[table.number] = up_to
        return None

    def pick_first(self, sources: Sources, watermark: int) -> Compaction | None:
        """What is worth more than the shape of the tree: tables that may go without being read,
        and any garbage when there are very many tombstones."""
        covered = covered_tables(sources, watermark)
        if covered:
            # All at once, of whatever levels: `output_level` means nothing here.
            return Compaction(0, LAST_LEVEL, covered, (), (), is_move=False, is_drop=True)
        if len(sources.range_tombstones.all) < URGENT_RANGE_TOMBSTONES:
            return None
        return self.pick(sources, watermark)

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        """A table that has hidden versions is rewritten by itself. In level 0 its output would be
        several tables with the same timestamps, so that level is merged as a whole."""
        found = self.dirty_table(sources, watermark)
        if found is None:
            return None
        level, table = found
        return rewrite_alone(sources, level, table) if level else merge_level_zero(sources)

    def settled(self, sources: Sources, watermark: int) -> tuple[RangeTombstone, ...]:
        """Tombstones that are no longer needed, as far as `dirty_table` has looked."""
        up_to = settled_up_to(sources, watermark)
        tombstones = sources.range_tombstones.between(0, up_to)
        if not tombstones:
            return ()
        newest = tombstones[-1].timestamp
        if all(self._clean.get(table.number, 0) >= newest for table in sources.tables):
            return tombstones
        view = sources.range_tombstones.as_of(up_to)
        return tuple(each for each in tombstones if _is_under_others(each, view))


def _has_hidden_versions(table: SSTableReader, view: FlatView) -> bool:
    found = table.properties
    for lo, hi, floor in view.fragments(found.smallest_key, found.largest_key + b"\0"):
        if floor and table.holds_below(lo, hi, floor):
            return True
    return False


def _is_under_others(tombstone: RangeTombstone, view: FlatView) -> bool:
    fragments = view.fragments(tombstone.lo, tombstone.hi)
    return min(fragment.floor for fragment in fragments) > tombstone.timestamp

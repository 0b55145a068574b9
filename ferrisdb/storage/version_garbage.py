"""Versions that nobody can read any more, in tables that no compaction has a reason to touch.

A compaction leaves nothing behind that its snapshots do not need. But a snapshot ends, maybe
one in the middle, and what only it needed lies in tables of any level:

    snapshots          5        9        14
    pinned      a 3    |   a 7  |  a 12  |   a 20     5 needs a 3, 9 needs a 7, 14 needs a 12
    9 ends      a 3    |   a 7     a 12  |            now nobody needs a 7

So when all else is in shape, the compaction thread looks for a table with such a version, and
has it rewritten by itself. Looking must be cheap, for it happens every second while anything
old is left, and it must be exact: a table that is rewritten as it was would be rewritten for
ever. In this order:

    no two versions of a key, no tombstone   nothing to find: the manifest knows (`has_only_newest`),
                                             but for a few versions, of which memory may know
    a commit above the last snapshot         too young: something of it may have to stay
    no snapshot between its commits          of two versions the older one goes: certain
    its pins all hold                        nothing to find: memory knows
    else                                     read it, as a compaction would; drop nothing; learn pins

A pin is why an older version stays: the snapshots between it and the next newer one, first and
last. As new snapshots come only above, a pin can only come off, by the end of its last snapshot.
So a table is read once, and again only when a pin has come off. One that was just written by a
compaction need not be read even once, before one of the compaction's snapshots ends.

Limits: the pins are forgotten when the database is closed, and with them the few versions (up
to four in a table) that the manifest does not tell of: they go with the table's next compaction.
Level 0 is left alone: it is about to be merged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ferrisdb.storage.bloom import words_for
from ferrisdb.storage.compaction_job import KeyRanges, collect
from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.expiry import rewrite_alone
from ferrisdb.storage.level import LAST_LEVEL, LEVEL_COUNT
from ferrisdb.storage.retention import Snapshots
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.version import Rows

Pins: TypeAlias = frozenset[tuple[int, int]]
"""(first, last) snapshot. At most one for each pair of the snapshots in a list. Empty: there is
nothing old that could ever go."""

_NOT_KNOWN: Pins = frozenset({(1, 0)})
"""Holds at no time."""


class VersionGarbage:
    """Remembers what pins the old versions of a table. One caller at a time: the compaction thread."""

    def __init__(self) -> None:
        self._pins: dict[int, Pins] = {}

    def pick(self, sources: Sources, snapshots: Snapshots) -> Compaction | None:
        """A table to be rewritten by itself. Reads tables; raises what their reads do."""
        if not snapshots:
            return None
        alive = {table.number for table in sources.tables}
        self._pins = {number: pins for number, pins in self._pins.items() if number in alive}
        for level in range(LAST_LEVEL, 0, -1):
            for table in sources.tables_of(level):
                if not self._may_hold_garbage(table, level):
                    continue
                if table.properties.largest_timestamp > snapshots[-1]:
                    continue
                rewrite = rewrite_alone(sources, level, table)
                if self._has_garbage(table, rewrite, snapshots):
                    return rewrite
        return None

    def note_collected(
        self, tables: Iterable[SSTableReader], snapshots: Snapshots, *, has_old_versions: bool
    ) -> None:
        """A compaction has just written these, and nothing in them is left to be collected."""
        for table in tables:
            found = table.properties
            if not has_old_versions and not found.tombstone_count:
                self._pins[table.number] = frozenset()
            elif not snapshots or found.largest_timestamp > snapshots[-1]:
                self._pins[table.number] = _NOT_KNOWN
            else:
                # Which snapshot pins what is not known, so each counts as if it did.
                pins = ((at, at) for at in snapshots if at < found.largest_timestamp)
                self._pins[table.number] = frozenset(pins)

    def has_more_to_collect(self, sources: Sources) -> bool:
        """Whether a table will be rewritten, or a deleted range settled, once nobody reads the past
        of it."""
        if sources.range_tombstones.between(0, sources.flushed_timestamp):
            return True
        return any(
            self._may_hold_garbage(table, level)
            for level in range(1, LEVEL_COUNT)
            for table in sources.tables_of(level)
        )

    def _may_hold_garbage(self, table: SSTableReader, level: int) -> bool:
        """Now or when a snapshot ends. Tombstones above the last level do not count: there may be
        something below for them to hide."""
        pins = self._pins.get(table.number)
        if pins is not None:
            return bool(pins)
        return not table.has_only_newest if level == LAST_LEVEL else has_old_versions(table)

    def _has_garbage(self, table: SSTableReader, rewrite: Compaction, snapshots: Snapshots) -> bool:
        found = table.properties
        if has_old_versions(table) and not _any_between(
            found.smallest_timestamp, found.largest_timestamp, snapshots
        ):
            return True
        pins = self._pins.get(table.number)
        if pins is not None and all(_any_between(first, last + 1, snapshots) for first, last in pins):
            return False
        learned = _pins_of(table, rewrite, snapshots)
        if learned is None:
            return True
        self._pins[table.number] = learned
        return False


def has_old_versions(table: SSTableReader) -> bool:
    """Whether it has two versions of a key, for certain; a few may hide (see `has_only_newest`)."""
    return words_for(table.fewest_keys) != words_for(table.properties.entry_count)


def _any_between(start: int, stop: int, snapshots: Snapshots) -> bool:
    """Whether there is a snapshot with start <= snapshot < stop."""
    return bisect_left(snapshots, start) < bisect_left(snapshots, stop)


def _pins_of(table: SSTableReader, rewrite: Compaction, snapshots: Snapshots) -> Pins | None:
    """None when rewriting the table would leave something out."""
    deeper = [KeyRanges(ranges) for ranges in rewrite.deeper]

    def lies_deeper(key: bytes) -> bool:
        return any(ranges.may_hold(key) for ranges in deeper)

    pins: set[tuple[int, int]] = set()
    for rows in table.runs():
        kept_keys, _, _ = collect(rows, snapshots, lies_deeper)
        if len(kept_keys) < len(rows[0]):
            return None
        pins.update(_pins_in(rows, snapshots))
    return frozenset(pins)


def _pins_in(rows: Rows, snapshots: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Of rows of which nothing can be collected."""
    keys, timestamps, values = rows
    newer_key, newer_at = None, 0
    for key, timestamp, value in zip(keys, timestamps, values, strict=True):
        if key == newer_key:
            yield _pin(timestamp, newer_at, snapshots)
        if value is None and snapshots[0] < timestamp:
            # Whoever reads below must know that the key was written, though nothing else is left.
            yield _pin(0, timestamp, snapshots)
        newer_key, newer_at = key, timestamp


def _pin(older_at: int, newer_at: int, snapshots: Sequence[int]) -> tuple[int, int]:
    return snapshots[bisect_left(snapshots, older_at)], snapshots[bisect_left(snapshots, newer_at) - 1]

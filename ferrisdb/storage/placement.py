"""Placement: into which level a table may go that comes from outside, beside a compaction.

The table is newer than all that is there. It may go as deep as nothing in its way is:

    level 0   [b .. d]       [m .. p]
    level 1           . . . . . . . .            a table [f .. k] meets nothing down to level 4,
    level 5   [a ..      h]    [l .. z]          where it goes; [c .. e] stays in level 0

The deeper, the less often its rows are rewritten: in an empty place of the last level never.
In level 0 tables stand by age, so there anything is right, if it is the newest.

A compaction at work has chosen its inputs, and will put outputs somewhere between their
smallest and largest key, also where no input is. A table that was put there meanwhile would
overlap them. So what meets that range stays in level 0. `lock` makes each of two steps one: to
choose a compaction and note its range, and to choose a level and be in it. The range is opened
again under it, too, or the outputs could come between a look at the tree and the choice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ferrisdb.storage.level import LAST_LEVEL
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader


class Placement:
    """Thread-safe as said of each method."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held from the choice of a compaction until its inputs are noted, and from the choice of
        a level until the table is in it; and while the range of a compaction is opened again."""
        self._kept_out: tuple[bytes, bytes] | None = None

    def keep_out(self, inputs: Sequence[SSTableReader]) -> None:
        """Let nothing between these tables, which are to be rewritten now. Under the lock."""
        self._kept_out = (
            min(table.properties.smallest_key for table in inputs),
            max(table.properties.largest_key for table in inputs),
        )

    def open_again(self) -> None:
        """The compaction is over. Takes the lock."""
        # Whoever is choosing a level may have looked at the tree without the outputs. Were the range
        # open to him now, he could choose the level that they have just been put into.
        with self.lock:
            self._kept_out = None

    def level_for(self, table: SSTableReader, sources: Sources) -> int:
        """The deepest level into which a table may go that is newer than all others. Under the lock."""
        smallest, largest = table.properties.smallest_key, table.properties.largest_key
        kept_out = self._kept_out
        if kept_out is not None and smallest <= kept_out[1] and kept_out[0] <= largest:
            return 0
        for other in sources.level_zero:
            if smallest <= other.properties.largest_key and other.properties.smallest_key <= largest:
                return 0
        for number, level in enumerate(sources.levels, 1):
            if level.meeting(smallest, largest):
                return number - 1
        return LAST_LEVEL

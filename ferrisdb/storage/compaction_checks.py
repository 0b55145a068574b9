"""What must be true of the outputs of a compaction before they take the place of its inputs.

The work was done by another process, from files, and is about to replace the only copy. So
its result is not believed: every version must be accounted for, and the tables must fit into
the tree where the inputs were. A breach is a bug of ours, and stops compaction for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.errors import invariant
from ferrisdb.storage.compaction_job import CompactionResult
from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.sstable_reader import SSTableReader


def check_counts(compaction: Compaction, result: CompactionResult) -> None:
    """Every version that went in must have come out, or been collected on purpose."""
    due = sum(table.properties.entry_count for table in compaction.inputs)
    written = sum(table.entry_count for table in result.tables)
    invariant(
        result.read_count == due and written + result.collected_count == due,
        f"a compaction of {due} versions has read {result.read_count}, written {written} "
        f"and collected {result.collected_count}",
    )


def check_ranges(compaction: Compaction, outputs: Sequence[SSTableReader]) -> None:
    """The outputs may take the place of the inputs: within their range, in order, disjoint."""
    last = None
    for table in outputs:
        found = table.properties
        invariant(last is None or found.smallest_key > last, "the outputs of a compaction are disjoint")
        last = found.largest_key
    if outputs:
        smallest = min(table.properties.smallest_key for table in compaction.inputs)
        largest = max(table.properties.largest_key for table in compaction.inputs)
        invariant(
            smallest <= outputs[0].properties.smallest_key and outputs[-1].properties.largest_key <= largest,
            "the outputs of a compaction lie within the range of its inputs",
        )

"""What reads have asked of each level, counted where it happens.

    point read --> level 0: filter says no                         bloom_negatives
                   level 5: filter says maybe, block from memory   cache_hits
                            ... and the key was not there          bloom_false_positives
                   level 6: filter says maybe, block from disk     blocks_read, read_bytes

The tables of a level share one object, which belongs to the level and not to the tables: so
what a table has counted stays when a compaction replaces it. A table that moves to another
level counts there from then on. Who still reads a table that was replaced counts where it was.

A count must cost next to nothing beside a read of two microseconds. So there is no lock, and
no count of all reads of a level: it follows from the others, `ReadCounts.point_reads`. One
number is counted for a read that finds its key (`cache_hits`) or for one that the filter ends.

What is guaranteed: `cache_hits` is counted by the block cache under its lock and is exact, and
all are exact when one thread reads. Where several do, two may count the others at the same
moment and one of the two be lost, so these may be too small by a few, and what follows from
them wrong by a few. That is the price of reads that take no lock for it.
"""

from __future__ import annotations

from ferrisdb.immutable import immutable


class ReadCounts:
    """Of one level. Counted up by readers, who hold no lock."""

    __slots__ = (
        "absent_in_index",
        "blocks_read",
        "bloom_false_positives",
        "bloom_negatives",
        "cache_hits",
        "further_blocks",
        "read_bytes",
        "scanned_blocks",
    )

    def __init__(self) -> None:
        self.bloom_negatives = 0
        self.bloom_false_positives = 0
        self.absent_in_index = 0
        """Point reads that the filter let pass and that ended without a block, as the key was outside
        of the table's range."""
        self.cache_hits = 0
        self.blocks_read = 0
        self.read_bytes = 0
        self.scanned_blocks = 0
        """Blocks that scans asked for, from the cache or from disk."""
        self.further_blocks = 0
        """Of one point read after its first block: versions of a key that fill several."""

    @property
    def point_blocks(self) -> int:
        """Blocks that point reads asked for, from the cache or from disk."""
        return max(0, self.cache_hits + self.blocks_read - self.scanned_blocks)

    @property
    def point_reads(self) -> int:
        """Point reads that asked this level: each was ended by a filter, an index, or a block."""
        first_blocks = max(0, self.point_blocks - self.further_blocks)
        return self.bloom_negatives + self.absent_in_index + first_blocks


@immutable
class LevelStatistics:
    """Of one level: what it holds now, and what was asked of it since opening.

    In a database that several threads read the counts may be too small by a few.
    """

    level: int
    tables: int
    table_bytes: int
    point_reads: int
    """That asked a table of it. A key outside of all its tables asks none."""
    bloom_negatives: int
    """Of these, how many a filter ended."""
    bloom_false_positives: int
    """How many a filter let pass though the key is not in the table."""
    point_blocks: int
    """Blocks that point reads looked into."""
    scanned_blocks: int
    cache_hits: int
    """Blocks, of both, that were in the cache."""
    blocks_read: int
    """Blocks, of both, that came from disk."""
    read_bytes: int
    """Of the blocks that came from disk."""


def describe_level(level: int, table_sizes_bytes: list[int], counts: ReadCounts) -> LevelStatistics:
    return LevelStatistics(
        level=level,
        tables=len(table_sizes_bytes),
        table_bytes=sum(table_sizes_bytes),
        point_reads=counts.point_reads,
        bloom_negatives=counts.bloom_negatives,
        bloom_false_positives=counts.bloom_false_positives,
        point_blocks=counts.point_blocks,
        scanned_blocks=counts.scanned_blocks,
        cache_hits=counts.cache_hits,
        blocks_read=counts.blocks_read,
        read_bytes=counts.read_bytes,
    )

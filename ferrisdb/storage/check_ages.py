"""Checking ages: of any key, are the versions of a deeper level older than those above them?

    level 0    a9  c8          readers look from the top down, and stop at the first version
    level 6    a2  c12         that they may see: of c they will never find 12

Every checksum can be right here, and every table in order by itself. Only all tables together
show it, so they are merged, as a compaction merges them (`compaction_job.merge_runs`, which
puts the versions of a key in the order of their levels), and the timestamps of each key must
descend.

Most tables need not be read a second time for that: a table is left out when every other one
that meets its range lies the right way by its newest and oldest commit alone. What is left is
read in one pass, holding a block or two of one table a level, and of each table of level 0.

Limits: the first key out of order ends it, for most often there are many by the same mistake.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.compaction_job import merge_runs
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.inspect_manifest import Sum
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.version import Rows


class _Breach(NamedTuple):
    key: bytes
    above: int
    below: int


def check_ages(env: Env, folder: str, total: Sum, manifest_path: str, findings: Findings) -> None:
    """Of tables that are sound, each by itself, and disjoint within their levels."""
    sources = suspects(total.state.tables)
    runs = [_runs(env, folder, source) for source in sources]
    merged = merge_runs(runs)
    try:
        breach = _first_breach(merged)
    except Error as error:
        findings.add_error(error, folder)
        return
    finally:
        # A look that ends early leaves tables open in the middle.
        for run in runs:
            run.close()
    if breach is None:
        return
    having = [table for source in sources for table in source if _covers(table, breach.key)]
    where = ", ".join(f"{table.number} of level {table.level}" for table in having)
    problem = (
        f"version {breach.below} of {breach.key[:40]!r} lies below version {breach.above}, "
        f"where no reader finds it: among tables {where}"
    )
    findings.add(manifest_path, total.added_at[having[-1].number], problem)


def suspects(tables: Sequence[TableEntry]) -> list[list[TableEntry]]:
    """What must be compared key by key, newest source first; of each in key order, disjoint."""
    level_zero = [table for table in tables if table.level == 0]
    level_zero.sort(key=lambda table: table.largest_timestamp, reverse=True)
    sources = [[table] for table in level_zero]
    for level in sorted({table.level for table in tables} - {0}):
        row = [table for table in tables if table.level == level]
        sources.append(sorted(row, key=lambda table: table.smallest_key))
    largest_keys = [[table.largest_key for table in source] for source in sources]
    chosen: set[int] = set()
    for position, source in enumerate(sources):
        for table in source:
            for below in range(position + 1, len(sources)):
                start = bisect_left(largest_keys[below], table.smallest_key)
                for other in sources[below][start:]:
                    if other.smallest_key > table.largest_key:
                        break
                    if other.largest_timestamp >= table.smallest_timestamp:
                        chosen |= {table.number, other.number}
    kept = ([table for table in source if table.number in chosen] for source in sources)
    return [source for source in kept if source]


def _covers(table: TableEntry, key: bytes) -> bool:
    return table.smallest_key <= key <= table.largest_key


def _runs(env: Env, folder: str, tables: Sequence[TableEntry]) -> Generator[Rows, None, None]:
    for entry in tables:
        path = join(folder, table_name(entry.number))
        try:
            table = SSTableReader.open(env, path, entry.number, BlockCache(0), entry.ingested_at)
        except FileNotFoundError as error:
            raise CorruptionError("the table is missing", file=path, offset=0) from error
        try:
            yield from table.runs()
        finally:
            table.close()


def _first_breach(merged: Iterator[Rows]) -> _Breach | None:
    for keys, timestamps, _ in merged:
        if len(set(keys)) == len(keys):
            continue
        for row in range(1, len(keys)):
            if keys[row] == keys[row - 1] and timestamps[row] >= timestamps[row - 1]:
                return _Breach(keys[row], timestamps[row - 1], timestamps[row])
    return None

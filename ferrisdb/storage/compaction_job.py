"""The work of a compaction: tables in, tables out, and what nobody can read any more is gone.

    source 0   level 0, newest   [ a9 a7  c8 ]
    source 1   level 0, older    [ a5  b4 ]          snapshots 3 and 7: one reads at 3, others
    source 2   level 6           [ a2  b1  c3  d2x ]    may from 7 on. x is a tombstone
                 |
    merge      a9 a7 a5 a2   b4 b1   c8 c3   d2x
    collect    a9 a7    a2   b4 b1   c8 c3           d2x goes, as no deeper level has a d
    write      [ a9 a7 a2 b4 b1 ]   [ c8 c3 ]        cut between keys

A job is plain data, so that a child process can do it (`compaction_worker`), or a thread.
It reads immutable files and writes new ones under names that mean nothing yet; nobody sees
any of it before the manifest says so. Every output is synced, its name is not. How many there
will be is not known before: tables are cut by the bytes of their rows, and files may be
compressed. So outputs are only counted, 1, 2, 3, under the mark of their compaction, and get
numbers of their own when they get their names (`compaction`).

Merging goes by runs, as in `merge`: up to the nearest of the sources' last keys all is known
of each key, as a run has all versions of its keys that its source has. Rows are sorted by
their keys alone, and the sort is stable: sources come newest first, so of each key newer
versions stay before older ones. A row costs about one and a half microseconds in all.

Of each key, collecting keeps what each snapshot of the job sees, the newest version at or below
it, and every version above the last snapshot, where a reader may be at any moment (`retention`).
So the snapshots cut time into stripes, and each stripe has one version of a key left:

    snapshots             3           7
    stripes       ........|...........|  above it all stay
    a             2                5  7     9          5 goes: no snapshot from 5 on to before 7

A tombstone that is the oldest version left, with no deeper level that has the key, hides nothing,
and goes too, with one exception. A transaction at a snapshot below it, which may want to write the
key, asks whether somebody has since; so of a key that is deleted, the tombstone stays while
anybody reads below it. Before all that go the versions that a deleted range hides from every
snapshot, by the same stripes.

Limits: all versions of one key in one source are in memory together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, starmap
from operator import itemgetter
from typing import Any

import msgpack

from ferrisdb.errors import CorruptionError
from ferrisdb.immutable import immutable
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.compaction_filter import CompactionFilter, Expired, RowFilter
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import table_name, unfinished_table_name
from ferrisdb.storage.options import Compression
from ferrisdb.storage.range_tombstones import NOTHING_DELETED, FlatView, RangeTombstone
from ferrisdb.storage.retention import Snapshots
from ferrisdb.storage.sstable_format import TableProperties
from ferrisdb.storage.sstable_reader import SSTableReader, not_the_one
from ferrisdb.storage.sstable_writer import ROW_OVERHEAD_BYTES, write_sstable
from ferrisdb.storage.version import Rows


@immutable
class CompactionJob:
    folder: str
    sources: Sequence[Sequence[int]]
    """Numbers of the tables, newest source first; of each source in key order, disjoint."""
    output_mark: str
    """Of no other compaction: see `unfinished_table_name`."""
    table_bytes: int
    block_bytes: int
    snapshots: Snapshots
    """What is kept, for whom: see there."""
    deeper: Sequence[Sequence[tuple[bytes, bytes]]]
    """For each level below the output, smallest and largest key of its tables, in key order."""
    deleted_ranges: Sequence[tuple[bytes, bytes | None, int]] = ()
    """Range tombstones at or below the last snapshot, oldest first, as far as they meet the tables."""
    expired: Expired = ()
    compaction_filter: CompactionFilter | None = None
    compression: str = Compression.NONE.value
    """Of the outputs: the value of a `Compression`."""
    ingested: Sequence[tuple[int, int]] = ()
    """Of the inputs that were ingested, number and commit. The outputs have it in their rows."""
    promised: Sequence[tuple[int, Sequence[int | bytes | None]]] = ()
    """Of the inputs, number and `TableProperties.to_fields`: what their files must hold."""

    def encode(self) -> bytes:
        data: bytes = msgpack.packb(asdict(self))
        return data

    @classmethod
    def decode(cls, data: bytes) -> CompactionJob:
        fields: dict[str, Any] = msgpack.unpackb(data)
        named = fields.pop("compaction_filter")
        return cls(**fields, compaction_filter=None if named is None else CompactionFilter(**named))


@immutable
class CompactionResult:
    tables: Sequence[TableProperties]
    """Of the outputs, the first of which is number 1 of its mark."""
    read_count: int
    """Versions that were read; what is not in the outputs was collected."""
    collected_count: int
    filtered_count: int
    """Versions that were not wanted. They became tombstones, or were collected with them."""
    old_count: int = 0
    """Versions in the outputs that are not the newest of their key there."""

    def encode(self) -> bytes:
        tables = [table.to_fields() for table in self.tables]
        counts = (self.read_count, self.collected_count, self.filtered_count, self.old_count)
        data: bytes = msgpack.packb([tables, *counts])
        return data

    @classmethod
    def decode(cls, data: bytes) -> CompactionResult:
        """ValueError for anything that `encode` did not give."""
        fields: Any = msgpack.unpackb(data)
        if not isinstance(fields, list) or list(map(type, fields)) != [list, int, int, int, int]:
            raise ValueError("not the result of a compaction")
        tables, *counts = fields
        return cls([TableProperties.from_fields(table) for table in tables], *counts)


def run_compaction(env: Env, job: CompactionJob, pace: Callable[[], None]) -> CompactionResult:
    """Do the job. `pace` is called every some hundred rows, and may sleep or raise.

    Raises CorruptionError for a damaged or missing input, FilterFailed, StorageError, DiskFull.
    The outputs begun by then stay behind.
    """
    opened: list[SSTableReader] = []
    try:
        return _Compactor(env, job, pace).run(_opened_sources(env, job, opened))
    finally:
        for table in opened:
            table.close()


def _opened_sources(env: Env, job: CompactionJob, opened: list[SSTableReader]) -> list[list[SSTableReader]]:
    """The inputs. Each is in `opened` as soon as it is to be closed."""
    ingested_at, promised = dict(job.ingested), dict(job.promised)
    sources = []
    for numbers in job.sources:
        source: list[SSTableReader] = []
        for number in numbers:
            table = _open_input(env, job.folder, number, ingested_at.get(number, 0))
            opened.append(table)
            # Nobody may have read it since it was promised. Were it another one, its rows would get
            # into the outputs, and with it would go the last sign that they are wrong.
            if number in promised and table.properties.to_fields() != promised[number]:
                raise not_the_one(join(job.folder, table_name(number)))
            source.append(table)
        sources.append(source)
    return sources


def _open_input(env: Env, folder: str, number: int, ingested_at: int) -> SSTableReader:
    path = join(folder, table_name(number))
    try:
        return SSTableReader.open(env, path, number, BlockCache(0), ingested_at)
    except FileNotFoundError as error:
        raise CorruptionError("a table is missing", file=path, offset=0) from error


class _Compactor:
    def __init__(self, env: Env, job: CompactionJob, pace: Callable[[], None]) -> None:
        self._env = env
        self._job = job
        self._pace = pace
        self._deeper = [KeyRanges(ranges) for ranges in job.deeper]
        self._deleted = deleted_by_stripe(starmap(RangeTombstone, job.deleted_ranges), job.snapshots)
        # Below the oldest snapshot nobody reads, so it alone says what has been settled.
        self._watermark = job.snapshots[0] if job.snapshots else 0
        self._filter = RowFilter(job.expired, job.compaction_filter)
        self._read_count = 0
        self._collected_count = 0
        self._old_count = 0

    def run(self, sources: Sequence[Sequence[SSTableReader]]) -> CompactionResult:
        runs = self._kept_runs(merge_runs([chain.from_iterable(t.runs() for t in s) for s in sources]))
        outputs: list[TableProperties] = []
        first = next(runs, None)
        while first is not None:
            table = _TableRuns(first, runs, self._job.table_bytes)
            name = unfinished_table_name(len(outputs) + 1, self._job.output_mark)
            path = join(self._job.folder, name)
            outputs.append(
                write_sstable(
                    self._env,
                    path,
                    table.entries(),
                    block_bytes=self._job.block_bytes,
                    compression=Compression(self._job.compression),
                )
            )
            first = table.following
        filtered_count = self._filter.filtered_count
        return CompactionResult(
            outputs, self._read_count, self._collected_count, filtered_count, self._old_count
        )

    def _kept_runs(self, runs: Iterator[Rows]) -> Iterator[Rows]:
        for run in runs:
            self._pace()
            alive = run
            for after, view in self._deleted:
                alive = without_hidden(alive, view, after)
            wanted = alive if self._filter.is_empty else self._filter.apply(alive, self._watermark)
            kept = collect(wanted, self._job.snapshots, self._lies_deeper)
            self._read_count += len(run[0])
            self._collected_count += len(run[0]) - len(kept[0])
            self._old_count += len(kept[0]) - len(set(kept[0]))
            if kept[0]:
                yield kept

    def _lies_deeper(self, key: bytes) -> bool:
        return any(ranges.may_hold(key) for ranges in self._deeper)


class KeyRanges:
    def __init__(self, ranges: Sequence[tuple[bytes, bytes]]) -> None:
        self._smallest = [smallest for smallest, _ in ranges]
        self._largest = [largest for _, largest in ranges]

    def may_hold(self, key: bytes) -> bool:
        position = bisect_left(self._largest, key)
        return position < len(self._largest) and self._smallest[position] <= key


class _TableRuns:
    """The runs of one output: `first`, and more until they have `limit_bytes`."""

    def __init__(self, first: Rows, runs: Iterator[Rows], limit_bytes: int) -> None:
        self.following: Rows | None = first
        """When `entries` is used up: the first run of the next output."""
        self._runs = runs
        self._limit_bytes = limit_bytes

    def entries(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        size_bytes = 0
        # A run has all versions of its keys. Were a key cut in two, a reader would find the
        # newer half, and never look into the other table.
        while self.following is not None and size_bytes < self._limit_bytes:
            keys, timestamps, values = self.following
            yield from zip(keys, timestamps, values, strict=True)
            size_bytes += sum(map(len, keys)) + sum(map(len, filter(None, values)))
            size_bytes += len(keys) * ROW_OVERHEAD_BYTES
            self.following = next(self._runs, None)


def merge_runs(sources: Iterable[Iterator[Rows]]) -> Iterator[Rows]:
    """All versions of all sources, in runs that have all versions of their keys.

    `sources` come newest first: of any key, each has newer versions than those behind it.
    """
    cursors = [cursor for cursor in map(_Cursor, sources) if cursor.fetch()]
    while len(cursors) > 1:
        bound = min(cursor.keys[-1] for cursor in cursors)
        parts = [part for cursor in cursors if (part := cursor.take(bound))[0]]
        yield parts[0] if len(parts) == 1 else _interleaved(parts)
        cursors = [cursor for cursor in cursors if cursor.keys or cursor.fetch()]
    for cursor in cursors:
        yield cursor.rows
        yield from cursor.source


class _Cursor:
    """A source, and what is not yet taken of its present run."""

    __slots__ = ("rows", "source")

    def __init__(self, source: Iterator[Rows]) -> None:
        self.source = source
        self.rows: Rows = ([], [], [])

    @property
    def keys(self) -> list[bytes]:
        return self.rows[0]

    def fetch(self) -> bool:
        """Go on to the next run. False at the end of the source."""
        run = next(self.source, None)
        if run is None:
            return False
        self.rows = run
        return True

    def take(self, bound: bytes) -> Rows:
        """The rows up to and with `bound`, perhaps none; they are gone from here."""
        keys, timestamps, values = rows = self.rows
        if keys[-1] == bound:
            self.rows = ([], [], [])
            return rows
        stop = bisect_right(keys, bound)
        self.rows = (keys[stop:], timestamps[stop:], values[stop:])
        return keys[:stop], timestamps[:stop], values[:stop]


def _interleaved(parts: list[Rows]) -> Rows:
    keys = list(chain.from_iterable(part[0] for part in parts))
    timestamps = list(chain.from_iterable(part[1] for part in parts))
    values = list(chain.from_iterable(part[2] for part in parts))
    # Two parts have two rows at least, so itemgetter gives tuples.
    pick = itemgetter(*sorted(range(len(keys)), key=keys.__getitem__))
    return list(pick(keys)), list(pick(timestamps)), list(pick(values))


def deleted_by_stripe(
    tombstones: Iterable[RangeTombstone], snapshots: Snapshots
) -> list[tuple[int, FlatView]]:
    """(after, view): what the tombstones of one stripe hide of the versions above `after`, which is
    the snapshot below the stripe. `tombstones` come oldest first, none above the last snapshot."""
    by_stripe: dict[int, list[RangeTombstone]] = {}
    for tombstone in tombstones:
        by_stripe.setdefault(_snapshot_below(tombstone.timestamp, snapshots), []).append(tombstone)
    return [(after, NOTHING_DELETED.over(found)) for after, found in by_stripe.items()]


def _snapshot_below(timestamp: int, snapshots: Snapshots) -> int:
    position = bisect_left(snapshots, timestamp)
    return snapshots[position - 1] if position else 0


def without_hidden(rows: Rows, deleted: FlatView, after: int = 0) -> Rows:
    """Of rows: those that are not below the floor of their key, or not above `after`."""
    keys, timestamps, _values = rows
    if not keys or not any(deleted.floors_between(keys[0], keys[-1])):
        return rows
    kept = [
        row
        for row, (key, timestamp) in enumerate(zip(keys, timestamps, strict=True))
        if timestamp <= after or timestamp >= deleted.floor(key)
    ]
    return _rows_at(rows, kept)


def collect(rows: Rows, snapshots: Snapshots, lies_deeper: Callable[[bytes], bool]) -> Rows:
    """Of rows that are all of their keys: what a reader at one of `snapshots`, or at any moment
    from the last one on, may see, or must know of to write."""
    keys, timestamps, values = rows
    has_tombstones = not all(values) and None in values
    if not snapshots or (not has_tombstones and len(set(keys)) == len(keys)):
        return rows
    oldest, last = snapshots[0], snapshots[-1]
    kept: list[int] = []
    last_key, seen_by_others_up_to = None, 0
    for row, (key, timestamp) in enumerate(zip(keys, timestamps, strict=True)):
        if key != last_key:
            last_key = key
        elif timestamp > seen_by_others_up_to:
            continue
        kept.append(row)
        # A snapshot that does not see this version is below it; what it sees is no newer than
        # the newest of those.
        if timestamp <= oldest:
            seen_by_others_up_to = 0
        elif timestamp > last:
            seen_by_others_up_to = timestamp
        else:
            seen_by_others_up_to = snapshots[bisect_left(snapshots, timestamp) - 1]
    if has_tombstones:
        kept = _without_idle_tombstones(rows, kept, snapshots, lies_deeper)
    return _rows_at(rows, kept)


def _without_idle_tombstones(
    rows: Rows, kept: list[int], snapshots: Snapshots, lies_deeper: Callable[[bytes], bool]
) -> list[int]:
    """`kept` without tombstones under which nothing is left, and of which nobody must know."""
    keys, timestamps, values = rows
    oldest, last = snapshots[0], snapshots[-1]
    useful: list[int] = []
    has_older = None
    # From the oldest version of a key to its newest.
    for position in range(len(kept) - 1, -1, -1):
        row = kept[position]
        key = keys[row]
        if values[row] is None and key != has_older and timestamps[row] <= last:
            is_newest = position == 0 or keys[kept[position - 1]] != key
            must_be_known = is_newest and timestamps[row] > oldest
            if not must_be_known and not lies_deeper(key):
                continue
        has_older = key
        useful.append(row)
    useful.reverse()
    return useful


def _rows_at(rows: Rows, positions: list[int]) -> Rows:
    keys, timestamps, values = rows
    if len(positions) == len(keys):
        return rows
    return (
        [keys[row] for row in positions],
        [timestamps[row] for row in positions],
        [values[row] for row in positions],
    )

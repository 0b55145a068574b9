"""Merging sources into what a reader sees: whole runs, not entry by entry.

A read goes over several sources at once: the memtable, older memtables, SSTables. Each gives
chunks of distinct keys in order. The sources are in order of age, newest first, and a newer
source's version of a key hides all older ones.

    newest   [ a  d | k  p  t ]            bound = smallest last key of the chunks = f
             [ b  d  f ]        <- f
    oldest   [ c  e | g ]
               \\____/
                round 1: everything up to f is complete, nobody can add to it any more

In each round the bound is the nearest of the chunks' last keys. Up to the bound every source
has shown all it has, so the round takes that part of each chunk: one contributor's part is
passed on as it is, several are poured into a dict, oldest first, so that newer versions
overwrite older ones, and its keys are sorted (the dict holds them in a few ascending runs,
which is the case Timsort is made for). Only then the tombstones go: before, they must hide.

A chunk is fetched only when its source has nothing left and the caller asks for more, so
reading ten rows reads one block of each source. `heapq.merge` costs several times as much,
because it comes back to Python for each entry.

Reverse reads are the mirror image: chunks descend, the bound is the greatest last key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias, cast

from ferrisdb.storage.version import Chunk

Batch: TypeAlias = tuple[list[bytes], list[bytes]]
"""Keys in order and their values; no tombstones. Never empty. Read, never write."""


def merge_chunks(sources: Sequence[Iterator[Chunk]], *, reverse: bool = False) -> Iterator[Batch]:
    """What a reader of all `sources` sees, in key order, a batch at a time.

    `sources` come newest first. Tombstones and what they and newer versions hide are gone.
    Lazy: a source is asked for its next chunk only when the batch after needs it.
    """
    cursors = [cursor for cursor in map(_Cursor, sources) if cursor.fetch()]
    nearest = max if reverse else min
    while len(cursors) > 1:
        bound = nearest([cursor.keys[-1] for cursor in cursors])
        parts = [part for cursor in cursors if (part := cursor.take(bound, reverse)) is not None]
        batch = _without_tombstones(parts[0] if len(parts) == 1 else _overlay(parts, reverse))
        if batch[0]:
            yield batch
        # Here and not at the end of the round: fetching reads a block, and the caller may
        # have had enough.
        cursors = [cursor for cursor in cursors if not cursor.is_used_up or cursor.fetch()]
    for cursor in cursors:
        yield from _rest(cursor)


class _Cursor:
    """A source, its present chunk, and how far that is used."""

    __slots__ = ("is_used_up", "keys", "source", "start", "values")

    def __init__(self, source: Iterator[Chunk]) -> None:
        self.source = source
        self.keys: list[bytes] = []
        self.values: list[bytes | None] = []
        self.start = 0
        self.is_used_up = True

    def fetch(self) -> bool:
        """Go on to the next chunk. False at the end of the source."""
        chunk = next(self.source, None)
        if chunk is None:
            return False
        self.keys, self.values = chunk
        self.start = 0
        self.is_used_up = False
        return True

    def take(self, bound: bytes, reverse: bool) -> Chunk | None:
        """The unused part up to and with `bound`; None when that is empty."""
        start, keys = self.start, self.keys
        if keys[-1] == bound:
            self.is_used_up = True
            return self.rest()
        stop = _end_of_descending(keys, bound, start) if reverse else bisect_right(keys, bound, start)
        if stop == start:
            return None
        self.start = stop
        return keys[start:stop], self.values[start:stop]

    def rest(self) -> Chunk:
        if self.start == 0:
            return self.keys, self.values
        return self.keys[self.start :], self.values[self.start :]


def _rest(cursor: _Cursor) -> Iterator[Batch]:
    """The last source that is left needs no merging."""
    batch = _without_tombstones(cursor.rest())
    if batch[0]:
        yield batch
    for chunk in cursor.source:
        batch = _without_tombstones(chunk)
        if batch[0]:
            yield batch


def _overlay(parts: list[Chunk], reverse: bool) -> Chunk:
    """The parts, newest first, laid over one another."""
    merged: dict[bytes, bytes | None] = {}
    for keys, values in reversed(parts):
        merged.update(zip(keys, values, strict=True))
    ordered = sorted(merged, reverse=reverse)
    return ordered, list(map(merged.__getitem__, ordered))


def _without_tombstones(chunk: Chunk) -> Batch:
    keys, values = chunk
    # `all` runs over the values several times faster than `None in` compares them, and is
    # enough unless a value is empty.
    if all(values) or None not in values:
        return cast("Batch", chunk)
    live = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
    return [key for key, _ in live], [value for _, value in live]


def _end_of_descending(keys: list[bytes], bound: bytes, start: int) -> int:
    """The first position from `start` whose key is below `bound`; `keys` descend."""
    stop = len(keys)
    while start < stop:
        middle = (start + stop) // 2
        if keys[middle] < bound:
            stop = middle
        else:
            start = middle + 1
    return start

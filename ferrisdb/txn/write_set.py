"""What one transaction has written and nobody else sees yet.

    values    key -> value, None for a deletion          what commit hands to the engine
    keys      the same keys in order                     built only when a scan asks
    ranges    deleted before all of the values           sorted, disjoint
    undo      (key, what stood there before), ...        built once there is a savepoint

A savepoint is a position in the undo list. Going back pops entries and puts the old
values in place again.

Deleting a range removes the own values that lie in it: from then on a value in a deleted
range was written later, and so it counts.

Reads lay these values over a scan of the snapshot, a batch at a time:

    snapshot batch   a   c   d           own   b=1  c=None
    result           a   b   d           one batch that no own key touches passes as it is
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from sortedcontainers import SortedList

from ferrisdb import errors
from ferrisdb.immutable import immutable
from ferrisdb.storage.range_tombstones import DeletedRange
from ferrisdb.txn.api import Batch

ENTRY_OVERHEAD_BYTES = 120
"""What Python keeps beside the bytes of a key and a value: two objects and a dict slot."""


class _Absent:
    """In the undo list: this transaction had not written the key."""


_ABSENT = _Absent()

MAX_DELETED_RANGES = 1000
"""Of one transaction, after those that touch have been joined. They are a share of what the
whole database may have alive, and a scan is cut at each."""


@immutable
class _RangesBefore:
    """In the undo list: a range was deleted, and these had been before."""

    deleted_ranges: tuple[DeletedRange, ...]
    size_bytes: int


class WriteSet:
    """Own writes of one transaction. Used by one thread at a time."""

    def __init__(self, max_bytes: int) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self.deleted_ranges: tuple[DeletedRange, ...] = ()
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._ordered: SortedList | None = None
        self._unordered: list[bytes] = []
        self._undo: list[tuple[bytes, bytes | _Absent | None] | _RangesBefore] = []
        self._has_savepoint = False

    def write(self, key: bytes, value: bytes | None) -> None:
        """Raises TransactionTooLarge; the write set is then as it was."""
        size = len(key) + ENTRY_OVERHEAD_BYTES + (0 if value is None else len(value))
        self._make_room(size)
        previous = self.values.get(key, _ABSENT)
        if self._has_savepoint:
            self._undo.append((key, previous))
        elif not isinstance(previous, _Absent):
            self.size_bytes -= len(key) + ENTRY_OVERHEAD_BYTES + (0 if previous is None else len(previous))
        if isinstance(previous, _Absent):
            self._unordered.append(key)
        self.values[key] = value

    def delete_range(self, lo: bytes, hi: bytes | None) -> None:
        """Delete lo <= key < hi, which is not empty. Raises TransactionTooLarge; the write set is
        then as it was."""
        joined = _joined(self.deleted_ranges, lo, hi)
        if len(joined) > MAX_DELETED_RANGES:
            raise errors.TransactionTooLarge(
                f"the transaction deletes more than {MAX_DELETED_RANGES} ranges",
                hint="commit in smaller parts",
            )
        size = len(lo) + len(hi or b"") + ENTRY_OVERHEAD_BYTES
        self._make_room(size)
        gone = self.keys_between(lo, hi)
        if self._has_savepoint:
            self._undo.append(_RangesBefore(self.deleted_ranges, size))
        for key in gone:
            value = self.values.pop(key)
            if self._has_savepoint:
                self._undo.append((key, value))
            else:
                self.size_bytes -= len(key) + ENTRY_OVERHEAD_BYTES + (0 if value is None else len(value))
        if gone:
            self._ordered = None
            self._unordered = list(self.values)
        self.deleted_ranges = joined

    def has_deleted(self, key: bytes) -> bool:
        """Whether `key` lies in a deleted range."""
        found = bisect_right(self.deleted_ranges, key, key=lambda each: each[0]) - 1
        if found < 0:
            return False
        hi = self.deleted_ranges[found][1]
        return hi is None or key < hi

    def has_written(self, key: bytes) -> bool:
        """Whether what becomes of `key` is settled here: written, or deleted with a range."""
        return key in self.values or (bool(self.deleted_ranges) and self.has_deleted(key))

    def gaps_between(self, lo: bytes, hi: bytes | None) -> list[DeletedRange]:
        """The parts of [lo, hi), which is not empty, that no deleted range covers, in order."""
        gaps: list[DeletedRange] = []
        for gone_lo, gone_hi in self.deleted_ranges:
            if hi is not None and gone_lo >= hi:
                break
            if gone_lo > lo:
                gaps.append((lo, gone_lo))
            if gone_hi is None:
                return gaps
            lo = max(lo, gone_hi)
        if hi is None or lo < hi:
            gaps.append((lo, hi))
        return gaps

    def _make_room(self, size: int) -> None:
        if self.size_bytes + size > self._max_bytes:
            raise errors.TransactionTooLarge(
                f"the transaction is larger than {self._max_bytes} bytes",
                hint="commit in smaller parts (`ferrisdb import` has --batch)",
            )
        self.size_bytes += size

    def savepoint(self) -> int:
        self._has_savepoint = True
        return len(self._undo)

    def rollback_to(self, position: int) -> None:
        errors.invariant(position <= len(self._undo), "a savepoint lies within the undo list")
        while len(self._undo) > position:
            undone = self._undo.pop()
            if isinstance(undone, _RangesBefore):
                self.deleted_ranges = undone.deleted_ranges
                self.size_bytes -= undone.size_bytes
                continue
            key, previous = undone
            current = self.values.get(key, _ABSENT)
            if isinstance(current, _Absent):
                # A range took it, and its bytes have been counted ever since.
                self._ordered = None
            else:
                self.size_bytes -= len(key) + ENTRY_OVERHEAD_BYTES + (0 if current is None else len(current))
            if isinstance(previous, _Absent):
                del self.values[key]
                self._ordered = None
            else:
                self.values[key] = previous
        if self._ordered is None:
            self._unordered = list(self.values)

    def keys_between(self, lo: bytes, hi: bytes | None) -> list[bytes]:
        """Own keys with lo <= key < hi, ascending."""
        if not self.values:
            return []
        if self._ordered is None:
            self._ordered = SortedList()
        if self._unordered:
            self._ordered.update(self._unordered)
            self._unordered = []
        keys: list[bytes] = list(
            self._ordered.irange(lo, hi, inclusive=(True, False))
            if hi is not None
            else self._ordered.irange(lo)
        )
        return keys


def _joined(ranges: tuple[DeletedRange, ...], lo: bytes, hi: bytes | None) -> tuple[DeletedRange, ...]:
    """Sorted, disjoint `ranges` and one more, joined with those that it touches."""
    before = [each for each in ranges if each[1] is not None and each[1] < lo]
    after = [] if hi is None else [each for each in ranges if each[0] > hi]
    touched = ranges[len(before) : len(ranges) - len(after)]
    for touched_lo, touched_hi in touched:
        lo = min(lo, touched_lo)
        hi = None if hi is None or touched_hi is None else max(hi, touched_hi)
    return (*before, (lo, hi), *after)


def overlay(
    snapshot: Iterator[tuple[list[bytes], list[bytes]]],
    own_keys: list[bytes],
    own_values: dict[bytes, bytes | None],
    reverse: bool,
) -> Iterator[Batch]:
    """Lay own writes (`own_keys` ascending) over the batches of a snapshot."""
    remaining_from, remaining_to = 0, len(own_keys)
    for keys, values in snapshot:
        last = keys[-1]
        if reverse:
            cut = bisect_left(own_keys, last, remaining_from, remaining_to)
            touched, remaining_to = own_keys[cut:remaining_to], cut
        else:
            cut = bisect_right(own_keys, last, remaining_from, remaining_to)
            touched, remaining_from = own_keys[remaining_from:cut], cut
        if touched:
            merged = _merge(keys, values, touched, own_values, reverse)
            if merged[0]:
                yield merged
        else:
            yield keys, values
    rest = own_keys[remaining_from:remaining_to]
    merged = _merge([], [], rest, own_values, reverse)
    if merged[0]:
        yield merged


def _merge(
    keys: list[bytes],
    values: list[bytes],
    own_keys: list[bytes],
    own_values: dict[bytes, bytes | None],
    reverse: bool,
) -> Batch:
    merged = dict(zip(keys, values, strict=True))
    for key in own_keys:
        value = own_values[key]
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    ordered = sorted(merged, reverse=reverse)
    return ordered, [merged[key] for key in ordered]

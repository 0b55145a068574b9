"""What a serializable transaction has read and written: keys, and ranges of keys.

    get(k)             the key k, whether it was there or not
    scan(a, z)         the range from a as far as the scan was taken: an empty one, too
    lock(k)            the key k: who locks a key relies on it
    put, delete        the key
    delete_range       the range

A scan grows its range batch by batch, so what lies behind the last batch taken was not read.
The same key, or the same range, read a thousand times is one entry.

    scan of [a, z)     |--- batch ---|--- batch ---|   not taken
    recorded           [a ........................k]

Entries carry the number of the statement that made them, for the explanation of a conflict.

Limits: past MAX_READ_KEYS keys, MAX_READ_RANGES ranges or MAX_WRITTEN_KEYS keys the nearest
neighbours are joined, until half as many ranges are left. What lies between two that were
joined counts as read, or written: it may cost a transaction needlessly, never the other way
round. A batch counts as read as a whole when its first pair is taken, unless the scan was
asked for with a limit.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

MAX_READ_KEYS: Final = 4096
MAX_READ_RANGES: Final = 1024
MAX_WRITTEN_KEYS: Final = 1024

Span: TypeAlias = tuple[bytes, bytes | None]
"""(lo, hi): keys with lo <= key < hi; hi None is the end of all keys."""

_WINDOW_BYTES: Final = 24
"""Of two keys, behind what all have in common, that say how far they are apart."""


class Footprint:
    """Keys and ranges, each with the number of a statement. Not changed once it is made."""

    __slots__ = ("_apart", "_ordered", "keys", "ranges")

    def __init__(self, keys: dict[bytes, int], ranges: dict[Span, int]) -> None:
        self.keys = keys
        self.ranges = ranges
        self._ordered: list[bytes] | None = None
        self._apart: list[Span] | None = None
        """The ranges in order, those that meet as one. With a thousand on either side, to compare
        each with each would take seconds, under the mutex of the graph."""

    def __len__(self) -> int:
        return len(self.keys) + len(self.ranges)

    def first_in(self, lo: bytes, hi: bytes | None) -> Span | None:
        """Something of it that meets [lo, hi): a key, or what it shares with one of the ranges."""
        if self.keys:
            if self._ordered is None:
                self._ordered = sorted(self.keys)
            place = bisect_left(self._ordered, lo)
            if place < len(self._ordered) and (hi is None or self._ordered[place] < hi):
                return key_span(self._ordered[place])
        return self.shared_range(lo, hi) if self.ranges else None

    def shared_range(self, lo: bytes, hi: bytes | None) -> Span | None:
        """What [lo, hi) shares with one of the ranges."""
        if self._apart is None:
            self._apart = _joined(self.ranges, len(self.ranges))
        place = bisect_right(self._apart, lo, key=_lower_end)
        # The last that begins at or below lo, and the one behind it.
        for own_lo, own_hi in self._apart[max(place - 1, 0) : place + 1]:
            shared_lo, shared_hi = max(lo, own_lo), _nearer_end(hi, own_hi)
            if shared_hi is None or shared_lo < shared_hi:
                return shared_lo, shared_hi
        return None

    def statement_of(self, span: Span) -> int:
        """The number of a statement that touched `span`; 0 when none is known."""
        lo, hi = span
        if hi == lo + b"\0" and lo in self.keys:
            return self.keys[lo]
        for own, statement in self.ranges.items():
            if (hi is None or own[0] < hi) and (own[1] is None or lo < own[1]):
                return statement
        return 0

    def spans(self) -> Iterator[Span]:
        yield from map(key_span, self.keys)
        yield from self.ranges

    @classmethod
    def of_writes(
        cls, keys: Iterable[bytes], statements: Mapping[bytes, int], ranges: dict[Span, int]
    ) -> Footprint:
        """What a transaction has written. `statements` may know only some of the keys."""
        written = {key: statements.get(key, 0) for key in keys}
        if len(written) <= MAX_WRITTEN_KEYS:
            return cls(written, ranges)
        joined = _joined(map(key_span, written), MAX_WRITTEN_KEYS // 2)
        return cls({}, {**dict.fromkeys(joined, 0), **ranges})

    @classmethod
    def joined(cls, footprints: Iterable[Footprint], limit: int) -> Footprint:
        """All of them as at most `limit` ranges, whatever their statements were."""
        spans = (span for footprint in footprints for span in footprint.spans())
        return cls({}, dict.fromkeys(_joined(spans, limit), 0))


class ReadSet:
    """What one transaction has read so far. Used by one thread at a time."""

    __slots__ = ("_backward", "_forward", "keys")

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}
        self._forward: dict[bytes, tuple[bytes | None, int]] = {}
        """Where ranges begin -> where they end."""
        self._backward: dict[bytes | None, tuple[bytes, int]] = {}
        """Where ranges end -> where they begin, for scans in reverse."""

    def __bool__(self) -> bool:
        return bool(self.keys or self._forward or self._backward)

    def add_key(self, key: bytes, statement: int) -> None:
        if key not in self.keys:
            self.keys[key] = statement
            if len(self.keys) > MAX_READ_KEYS:
                self._coarsen()

    def extend_to(self, lo: bytes, hi: bytes | None, statement: int) -> None:
        """A scan from `lo` has come as far as `hi`."""
        known = self._forward.get(lo)
        if known is None or (known[0] is not None and (hi is None or hi > known[0])):
            self._forward[lo] = (hi, statement)
            self._limit_ranges()

    def extend_down_to(self, lo: bytes, hi: bytes | None, statement: int) -> None:
        """A scan in reverse from `hi` has come down to `lo`."""
        known = self._backward.get(hi)
        if known is None or lo < known[0]:
            self._backward[hi] = (lo, statement)
            self._limit_ranges()

    def footprint(self) -> Footprint:
        ranges = {(lo, hi): statement for lo, (hi, statement) in self._forward.items()}
        for hi, (lo, statement) in self._backward.items():
            ranges.setdefault((lo, hi), statement)
        return Footprint(self.keys, ranges)

    def _limit_ranges(self) -> None:
        if len(self._forward) + len(self._backward) > MAX_READ_RANGES:
            self._coarsen()

    def _coarsen(self) -> None:
        joined = _joined(self.footprint().spans(), MAX_READ_RANGES // 2)
        # First what stands for all the others: an interrupt in between forgets nothing.
        self._forward = {lo: (hi, 0) for lo, hi in joined}
        self.keys = {}
        self._backward = {}


def key_span(key: bytes) -> Span:
    return key, key + b"\0"


def _lower_end(span: Span) -> bytes:
    return span[0]


def _joined(spans: Iterable[Span], limit: int) -> list[Span]:
    """At most `limit` ranges that cover the spans: the widest gaps stay open."""
    apart: list[Span] = []
    for lo, hi in sorted(spans, key=_lower_end):
        if apart:
            last_lo, last_hi = apart[-1]
            if last_hi is None:
                break
            if lo <= last_hi:
                apart[-1] = (last_lo, None if hi is None else max(last_hi, hi))
                continue
        apart.append((lo, hi))
    if len(apart) <= limit:
        return apart
    cuts = sorted(_widest_gaps(apart, limit - 1))
    return [
        (apart[first][0], apart[stop - 1][1])
        for first, stop in zip([0, *cuts], [*cuts, len(apart)], strict=True)
    ]


def _widest_gaps(spans: list[Span], count: int) -> list[int]:
    """Positions of spans with the widest gaps before them. `spans` are sorted and apart."""
    skipped = _common_prefix_length(spans[0][0], spans[-1][0])

    def place(key: bytes) -> int:
        return int.from_bytes(key[skipped : skipped + _WINDOW_BYTES].ljust(_WINDOW_BYTES, b"\0"))

    def gap(position: int) -> tuple[int, int]:
        before = spans[position - 1][1] or b""
        # Gaps of one width are chosen all over the row, and not at its beginning.
        return place(spans[position][0]) - place(before), position * 2654435761 % 2**32

    return sorted(range(1, len(spans)), key=gap, reverse=True)[:count]


def _common_prefix_length(a: bytes, b: bytes) -> int:
    for place, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return place
    return min(len(a), len(b))


def _nearer_end(a: bytes | None, b: bytes | None) -> bytes | None:
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)

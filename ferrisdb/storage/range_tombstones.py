"""Deleted ranges: one small record hides any number of keys.

A range tombstone is a floor under a range of keys:

    timestamp
      9 |        x                    x a version, - a range tombstone
      7 |   -------------             of [b, m) at 7
      5 |   x    x    x    x
      2 |   x         x
        +---b----e----j----m--- keys

For a reader at 7 or above no version below 7 of a key in [b, m) counts: it sees e at 9 (if it
reads at 9), nothing of b and j, and m as ever. A reader at 6 does not see the tombstone, and
reads all. A version at 7 itself stays: a commit deletes its ranges before it writes its keys.

Deleting a million keys one by one writes a million tombstones, and every scan walks over
them. RocksDB's DeleteRange puts range tombstones into the tables beside the keys, and every
read of every table has to ask for them. Here they are few and live in one immutable set in
memory, which a read asks once. A floor is all that a source has to know of them (`Source`),
and a table whose newest version is below the floor is not even opened.

A set is asked as of a timestamp. As of one, the tombstones lie flat: the key space falls into
fragments, each with one floor, that of its newest tombstone.

    bounds    [b""   b     m  ]
    floors    [ 0    7     0  ]      one bisect finds the fragment of a key

The flat view of all tombstones is made with the set; those of older readers when one asks.

    log record                     of the commit; as long as its memtable is not flushed
    manifest, `deleted_ranges`     in the same edit as the memtable's table
    manifest, `settled_ranges`     when no version is left that it hides: `range_garbage`

Limits: at most MAX_LIVE_RANGE_TOMBSTONES; a commit that would pass it is refused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

DeletedRange: TypeAlias = tuple[bytes, bytes | None]
"""(lo, hi): all keys with lo <= key < hi; hi None is the end of all keys."""


def is_range(found: DeletedRange) -> bool:
    """Whether it is one, of whatever was read from a file."""
    lo, hi = found
    return type(lo) is bytes and (hi is None or (type(hi) is bytes and lo < hi))


MAX_VIEWS: Final = 64
"""Flat views kept for readers of old snapshots. Each is at most two lists of twice as many
entries as there are tombstones."""


class RangeTombstone(NamedTuple):
    """See docs/formats.md: this is how it stands in a manifest."""

    lo: bytes
    hi: bytes | None
    timestamp: int

    def meets(self, lo: bytes, hi: bytes | None) -> bool:
        """Whether a key may be in both ranges."""
        return (hi is None or self.lo < hi) and (self.hi is None or lo < self.hi)


class Fragment(NamedTuple):
    """No version below `floor` counts of a key with lo <= key < hi. 0: nothing is deleted."""

    lo: bytes
    hi: bytes | None
    floor: int


class FlatView:
    """What a reader of one timestamp sees of the tombstones. Immutable."""

    __slots__ = ("_bounds", "_floors")

    def __init__(self, bounds: Sequence[bytes] = (b"",), floors: Sequence[int] = (0,)) -> None:
        """`floors[n]` holds from `bounds[n]` to the next bound. The first bound is b""."""
        self._bounds = bounds
        self._floors = floors

    def floor(self, key: bytes) -> int:
        """The newest timestamp below which no version of `key` counts; 0 when all do."""
        return self._floors[bisect_right(self._bounds, key) - 1]

    def floors_between(self, smallest_key: bytes, largest_key: bytes) -> Sequence[int]:
        """The floors of all fragments that meet the range, both ends included."""
        first = bisect_right(self._bounds, smallest_key) - 1
        return self._floors[first : bisect_right(self._bounds, largest_key)]

    def fragments(self, lo: bytes, hi: bytes | None) -> list[Fragment]:
        """[lo, hi), which is not empty, cut where the floor changes."""
        first = bisect_right(self._bounds, lo) - 1
        stop = len(self._bounds) if hi is None else bisect_left(self._bounds, hi)
        ends = [*self._bounds[first + 1 : stop], hi]
        starts = [lo, *self._bounds[first + 1 : stop]]
        return [Fragment(*found) for found in zip(starts, ends, self._floors[first:stop], strict=True)]

    def over(self, tombstones: Iterable[RangeTombstone]) -> FlatView:
        """With these on top, oldest first, none of them older than those that are here."""
        bounds, floors = list(self._bounds), list(self._floors)
        for lo, hi, timestamp in tombstones:
            start = bisect_left(bounds, lo)
            stop = len(bounds) if hi is None else bisect_left(bounds, hi)
            new_bounds, new_floors = [lo], [timestamp]
            if hi is not None and (stop == len(bounds) or bounds[stop] != hi):
                # From `hi` on all is as it was: what was in force there began further left.
                new_bounds.append(hi)
                new_floors.append(floors[stop - 1])
            bounds[start:stop] = new_bounds
            floors[start:stop] = new_floors
        return FlatView(bounds, floors)


def decode_tombstones(triples: Iterable[Any]) -> tuple[RangeTombstone, ...]:
    """Those of a file. ValueError, TypeError for what are none."""
    found = tuple(RangeTombstone(*triple) for triple in triples)
    if not all(is_range(each[:2]) and type(each.timestamp) is int for each in found):
        raise ValueError("not a list of deleted ranges")
    return found


NOTHING_DELETED: Final = FlatView()


class RangeTombstones:
    """All that are alive. Immutable; every method may be called from any thread."""

    __slots__ = ("_newest_view", "_timestamps", "_views", "all")

    def __init__(
        self, tombstones: Iterable[RangeTombstone] = (), *, newest_view: FlatView | None = None
    ) -> None:
        """In any order; one that comes twice counts once. `newest_view` is for `with_added`."""
        self.all: tuple[RangeTombstone, ...] = tuple(
            sorted(dict.fromkeys(tombstones), key=lambda tombstone: tombstone.timestamp)
        )
        """Oldest first. Empty as a rule, and so what a reader asks first."""
        self._timestamps = [tombstone.timestamp for tombstone in self.all]
        self._newest_view = NOTHING_DELETED.over(self.all) if newest_view is None else newest_view
        # Of the first so many tombstones. Replaced as a whole, so that readers need no lock;
        # of two that add one at the same time, the view of one is made again some day.
        self._views: dict[int, FlatView] = {}

    def as_of(self, timestamp: int) -> FlatView:
        """What a reader at `timestamp` sees."""
        if not self.all or timestamp >= self._timestamps[-1]:
            return self._newest_view
        count = bisect_right(self._timestamps, timestamp)
        if count == 0:
            return NOTHING_DELETED
        view = self._views.get(count)
        if view is None:
            view = NOTHING_DELETED.over(self.all[:count])
            kept = self._views if len(self._views) < MAX_VIEWS else {}
            self._views = {**kept, count: view}
        return view

    def floor(self, key: bytes, timestamp: int) -> int:
        """The newest tombstone at or below `timestamp` that covers `key`; 0 when none does."""
        return self.as_of(timestamp).floor(key)

    def newest_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest tombstone that meets [lo, hi), which is not empty; 0 when none does."""
        return max(fragment.floor for fragment in self._newest_view.fragments(lo, hi))

    def between(self, after: int, up_to: int) -> tuple[RangeTombstone, ...]:
        """Those with after < timestamp <= up_to, oldest first."""
        return self.all[bisect_right(self._timestamps, after) : bisect_right(self._timestamps, up_to)]

    def with_added(self, tombstones: Sequence[RangeTombstone]) -> RangeTombstones:
        """These are newer than all that are here, and come oldest first."""
        return RangeTombstones((*self.all, *tombstones), newest_view=self._newest_view.over(tombstones))

    def without(self, tombstones: Collection[RangeTombstone]) -> RangeTombstones:
        gone = set(tombstones)
        return RangeTombstones(tombstone for tombstone in self.all if tombstone not in gone)


NO_RANGE_TOMBSTONES: Final = RangeTombstones()

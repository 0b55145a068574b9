"""The memtable: the newest writes, in memory, until they are flushed to an SSTable.

    newest version of each key (dict)                keys in order
    b"a" --> (9, b"x", *)                            SortedList  [b"a", b"m", b"z"]
                       +-> (5, None, *)                    ^ the rest is merged at the
                                     +-> (2, b"y", None)   | next ordered read
    b"m" --> (7, b"v", None)                         arrivals    [b"m", b"a", b"z", b"q", b"c"]

A version is an immutable tuple (timestamp, value, older). A write puts a new tuple in front
of the chain by one dict store, so a reader that takes the chain by one dict get holds
something that nobody will change: point reads take no lock and never wait.

Order costs more than that, and most writes are never scanned while they are here. So a new
key is only noted at the end of a list, and the next ordered read merges those that came
since the last one into the sorted keys.

Two locks, always taken in this order: `_order_lock` for the sorted keys, and inside it
`_arrivals_lock` for the list of new keys. A writer takes only the second, and that is held
for a list `extend` or a slice, so a long merge by a reader never makes a writer wait.

The structure that LevelDB uses here, a skip list, is in `skip_list_memtable.py`; in Python a
write or a point read costs ten times as much there.

Limits: a reader of an old timestamp walks the chain of a hot key version by version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Final, TypeAlias

from sortedcontainers import SortedList

from ferrisdb.errors import broken
from ferrisdb.storage.version import MISSING, Chunk, Found

_Version: TypeAlias = "tuple[int, bytes | None, _Version | None]"

KEY_OVERHEAD_BYTES: Final = 120
"""What a new key costs beside its bytes: the object's header (33), its slot in the dict (about
50 with the free slots), its places in two key lists (16 to 24), rounding by the allocator."""

VERSION_OVERHEAD_BYTES: Final = 120
"""What a version costs beside its value: the tuple (64 and 16 for the collector), the value
object's header (33), a share of the timestamp object."""

FIRST_SLICE_KEYS: Final = 16
LARGEST_SLICE_KEYS: Final = 1024
SLICE_GROWTH: Final = 4

_timestamp_of = itemgetter(0)
_value_of = itemgetter(1)


class SortedMemtable:
    """See `memtable_kinds.Memtable`."""

    def __init__(self) -> None:
        self._newest: dict[bytes, _Version] = {}
        self._arrivals: list[bytes] = []
        self._arrivals_lock = threading.Lock()
        self._sorted: tuple[SortedList, int] = (SortedList(), 0)
        """The first so many arrivals, in order."""
        self._order_lock = threading.Lock()
        self._bytes = 0
        self._version_count = 0

    @property
    def approximate_bytes(self) -> int:
        """Memory held, as estimated from the lengths and the overheads above."""
        return self._bytes

    @property
    def version_count(self) -> int:
        """Versions held, tombstones included."""
        return self._version_count

    def empty_twin(self) -> SortedMemtable:
        """A new, empty one."""
        return SortedMemtable()

    def add(self, timestamp: int, writes: Mapping[bytes, bytes | None]) -> None:
        """Put one commit in: of each key a value, or None to delete it.

        `timestamp` is above that of every version already here of the same keys. A reader
        may be told of `timestamp` only after this has returned.
        """
        newest = self._newest
        new_keys: list[bytes] = []
        added_bytes = 0
        for key, value in writes.items():
            older = newest.get(key)
            if older is None:
                new_keys.append(key)
                added_bytes += len(key)
            elif older[0] >= timestamp:
                broken(f"version {timestamp} of {key!r} comes after version {older[0]}")
            newest[key] = (timestamp, value, older)
            if value is not None:
                added_bytes += len(value)
        if new_keys:
            with self._arrivals_lock:
                self._arrivals.extend(new_keys)
        self._version_count += len(writes)
        self._bytes += added_bytes + len(new_keys) * KEY_OVERHEAD_BYTES + len(writes) * VERSION_OVERHEAD_BYTES

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        """The newest version of `key` at or below `timestamp`; None when it is below `floor`."""
        version = self._newest.get(key)
        while version is not None:
            if version[0] <= timestamp:
                return None if floor and version[0] < floor else version[1]
            version = version[2]
        return MISSING

    def newest_timestamp(self, key: bytes) -> int:
        """The timestamp of the newest version of `key`, tombstones included; 0 when absent."""
        version = self._newest.get(key)
        return 0 if version is None else version[0]

    def versions(self, key: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Timestamp and value of each version of `key`, newest first; None is a tombstone."""
        version = self._newest.get(key)
        while version is not None:
            yield version[0], version[1]
            version = version[2]

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest of all versions of keys with lo <= key < hi; 0 when there is none."""
        with self._order_lock:
            keys = list(self._merge_arrivals().irange(lo, hi, inclusive=(True, False)))
        return max((self._newest[key][0] for key in keys), default=0)

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]:
        """What a reader at `timestamp` sees of lo <= key < hi, in order, a chunk at a time.

        `hi` None means to the end. No version below `floor` counts. The first chunk is small,
        so that reading a few keys is cheap; the next ones grow.
        """
        # The lock is free between two slices, and writers go on meanwhile. Still nothing is
        # missed and nothing comes twice. Missed: every version at or below `timestamp` had
        # been added before this reader was told of `timestamp`, so its key stands in
        # `_arrivals` from the first slice on; keys are never removed; and a slice takes
        # every key beyond the last one. A key that arrives meanwhile has only versions above
        # `timestamp`, so it makes no difference on which side of the cursor it falls. Twice:
        # the cursor is a key, not a position, and each slice starts strictly beyond it.
        slice_keys = FIRST_SLICE_KEYS
        lo_is_open = False
        while True:
            keys = self._slice(lo, hi, lo_is_open, slice_keys, reverse)
            if not keys:
                return
            chunk = self._visible(keys, timestamp, floor)
            if chunk[0]:
                yield chunk
            if len(keys) < slice_keys:
                return
            if reverse:
                hi = keys[-1]
            else:
                lo, lo_is_open = keys[-1], True
            slice_keys = min(slice_keys * SLICE_GROWTH, LARGEST_SLICE_KEYS)

    def entries(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Every version: keys ascending, timestamps of one key descending.

        Only for a memtable that is sealed: that no `add` will come to.
        """
        with self._order_lock:
            keys = list(self._merge_arrivals())
        for key in keys:
            version: _Version | None = self._newest[key]
            while version is not None:
                yield key, version[0], version[1]
                version = version[2]

    def _slice(self, lo: bytes, hi: bytes | None, lo_is_open: bool, limit: int, reverse: bool) -> list[bytes]:
        with self._order_lock:
            found = self._merge_arrivals().irange(lo, hi, inclusive=(not lo_is_open, False), reverse=reverse)
            return list(islice(found, limit))

    def _merge_arrivals(self) -> SortedList:
        """All keys in order. Called under `_order_lock`."""
        keys, count = self._sorted
        with self._arrivals_lock:
            fresh = self._arrivals[count:]
        if not fresh:
            return keys
        # An interrupt in the middle of `update` (Ctrl-C) leaves a list that lacks keys, and a
        # flush would lose them for ever. So it does not count while it is being changed: after
        # an interrupt the next read sorts all arrivals anew.
        self._sorted = (SortedList(), 0)
        keys.update(fresh)
        self._sorted = (keys, count + len(fresh))
        return keys

    def _visible(self, keys: list[bytes], timestamp: int, floor: int) -> Chunk:
        versions = list(map(self._newest.__getitem__, keys))
        if floor == 0 and max(map(_timestamp_of, versions)) <= timestamp:
            return keys, list(map(_value_of, versions))
        visible_keys: list[bytes] = []
        values: list[bytes | None] = []
        for key, newest in zip(keys, versions, strict=True):
            version: _Version | None = newest
            while version is not None and version[0] >= floor:
                if version[0] <= timestamp:
                    visible_keys.append(key)
                    values.append(version[1])
                    break
                version = version[2]
        return visible_keys, values

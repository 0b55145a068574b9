"""A memtable over a skip list: the classic, whose readers never take a lock.

    skip list   a ---------> m ---------> z        one node for each key
                |            |            |
    versions    (9, b"x")    (7, b"v")    ...      newest first, immutable, linked to the older
                (5, None)
                (2, b"y")

Where `memtable.py` keeps a dict for points and sorts keys when somebody asks for an order,
here one structure does both, and it is always in order. A new version of a key that is there
replaces the node's content by one store; a new key is one insert (`skip_list.py` says why a
reader never sees half of it). So no reader waits, and no reader pays for sorting what others
wrote.

LevelDB makes a node of each version. A chain in the node makes the list as long as there are
keys, however often they change, and a version is found as in the other memtable.

Limits: a reverse range makes a search of each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from ferrisdb.errors import broken
from ferrisdb.storage.memtable import (
    FIRST_SLICE_KEYS,
    LARGEST_SLICE_KEYS,
    SLICE_GROWTH,
    VERSION_OVERHEAD_BYTES,
)
from ferrisdb.storage.skip_list import Node, SkipList
from ferrisdb.storage.version import MISSING, Chunk, Found

_Version: TypeAlias = "tuple[int, bytes | None, _Version | None]"
_NO_VERSION: Final[_Version] = (0, None, None)

KEY_OVERHEAD_BYTES: Final = 200
"""What a new key costs beside its bytes: the object's header (33), the node (64 with what the
collector adds), its list of links (88 for the average of 1.3), rounding by the allocator."""


class SkipListMemtable:
    """See `memtable_kinds.Memtable`."""

    def __init__(self) -> None:
        self._list: SkipList[_Version] = SkipList(_NO_VERSION)
        self._bytes = 0
        self._version_count = 0

    @property
    def approximate_bytes(self) -> int:
        return self._bytes

    @property
    def version_count(self) -> int:
        return self._version_count

    def empty_twin(self) -> SkipListMemtable:
        return SkipListMemtable()

    def add(self, timestamp: int, writes: Mapping[bytes, bytes | None]) -> None:
        added_bytes = 0
        for key, value in writes.items():
            node = self._list.find(key)
            if node is None:
                self._list.insert(key, (timestamp, value, None))
                added_bytes += len(key) + KEY_OVERHEAD_BYTES
            else:
                older = node.content
                if older[0] >= timestamp:
                    broken(f"version {timestamp} of {key!r} comes after version {older[0]}")
                node.content = (timestamp, value, older)
            added_bytes += VERSION_OVERHEAD_BYTES + (0 if value is None else len(value))
        self._version_count += len(writes)
        self._bytes += added_bytes

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        node = self._list.find(key)
        return MISSING if node is None else _visible(node, timestamp, floor)

    def newest_timestamp(self, key: bytes) -> int:
        node = self._list.find(key)
        return 0 if node is None else node.content[0]

    def versions(self, key: bytes) -> Iterator[tuple[int, bytes | None]]:
        node = self._list.find(key)
        version = None if node is None else node.content
        while version is not None:
            yield version[0], version[1]
            version = version[2]

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None) -> int:
        return max((node.content[0] for node in self._forward(lo, hi)), default=0)

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]:
        # No lock, and nothing kept but one node. A key that arrives while we walk has only
        # versions above `timestamp`, so it makes no difference whether we come past it.
        nodes = self._backward(lo, hi) if reverse else self._forward(lo, hi)
        keys: list[bytes] = []
        values: list[bytes | None] = []
        slice_keys = FIRST_SLICE_KEYS
        for node in nodes:
            found = _visible(node, timestamp, floor)
            if found is MISSING:
                continue
            keys.append(node.key)
            values.append(found)
            if len(keys) == slice_keys:
                yield keys, values
                keys, values = [], []
                slice_keys = min(slice_keys * SLICE_GROWTH, LARGEST_SLICE_KEYS)
        if keys:
            yield keys, values

    def entries(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        for node in self._forward(b"", None):
            version: _Version | None = node.content
            while version is not None:
                yield node.key, version[0], version[1]
                version = version[2]

    def _forward(self, lo: bytes, hi: bytes | None) -> Iterator[Node[_Version]]:
        node = self._list.at_or_after(lo)
        while node is not None and (hi is None or node.key < hi):
            yield node
            node = node.following[0]

    def _backward(self, lo: bytes, hi: bytes | None) -> Iterator[Node[_Version]]:
        node = self._list.last_before(hi)
        while node is not None and node.key >= lo:
            yield node
            node = self._list.last_before(node.key)


def _visible(node: Node[_Version], timestamp: int, floor: int) -> Found:
    """The newest version at or below `timestamp`; None when it is below `floor`."""
    version: _Version | None = node.content
    while version is not None:
        if version[0] <= timestamp:
            return None if floor and version[0] < floor else version[1]
        version = version[2]
    return MISSING

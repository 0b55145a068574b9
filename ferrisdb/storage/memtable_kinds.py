"""What every memtable does, and the two that there are.

    SORTED      a dict, and keys that are sorted when somebody asks for an order    memtable.py
    SKIP_LIST   always in order, readers take no lock                               skip_list_memtable.py

They answer alike, and pass the same tests. The first is ten times faster in Python and is the
default (docs/performance.md#memtables); the second is the one in the textbooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ferrisdb.storage.memtable import SortedMemtable
from ferrisdb.storage.options import MemtableKind
from ferrisdb.storage.version import Chunk, Found


class Memtable(Protocol):
    """Versions of keys. `add` is called by one thread at a time; reads run beside it."""

    @property
    def approximate_bytes(self) -> int:
        """Memory held, as estimated from lengths and overheads."""

    @property
    def version_count(self) -> int:
        """Versions held, tombstones included."""

    def empty_twin(self) -> Memtable:
        """A new, empty one of the same kind."""

    def add(self, timestamp: int, writes: Mapping[bytes, bytes | None]) -> None:
        """Put one commit in: of each key a value, or None to delete it.

        `timestamp` is above that of every version already here of the same keys. A reader
        may be told of `timestamp` only after this has returned.
        """

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        """The newest version of `key` at or below `timestamp`; None when it is below `floor`."""

    def newest_timestamp(self, key: bytes) -> int:
        """The timestamp of the newest version of `key`, tombstones included; 0 when absent."""

    def versions(self, key: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Timestamp and value of each version of `key`, newest first; None is a tombstone."""

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest of all versions of keys with lo <= key < hi; 0 when there is none."""

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]:
        """What a reader at `timestamp` sees of lo <= key < hi, in order, a chunk at a time.

        `hi` None means to the end. No version below `floor` counts. The first chunk is small,
        so that reading a few keys is cheap; the next ones grow.
        """

    def entries(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Every version: keys ascending, timestamps of one key descending.

        Only for a memtable that is sealed: that no `add` will come to.
        """


def new_memtable(kind: MemtableKind) -> Memtable:
    """An empty memtable."""
    if kind is MemtableKind.SKIP_LIST:
        # Late: few programs need it, and every program pays for what is imported at start-up.
        from ferrisdb.storage.skip_list_memtable import SkipListMemtable  # noqa: PLC0415

        return SkipListMemtable()
    return SortedMemtable()

"""What the user of a storage engine can choose, with the defaults and their reasons."""

from __future__ import annotations

import enum

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.immutable import immutable


class Durability(enum.Enum):
    """What a commit has waited for when it returns."""

    FULL = "full"
    """The disk: the commit survives a power cut. Nobody sees it before that."""
    OFF = "off"
    """Nothing: it survives the end of the process, and a power cut only once the operating
    system has written it. What a power cut leaves is always a prefix of the commits."""


class MemtableKind(enum.Enum):
    """Which structure holds the newest writes. Both answer alike (see `memtable_kinds`)."""

    SORTED = "sorted"
    """A dict, and keys sorted when an order is asked for."""
    SKIP_LIST = "skip list"
    """Always in order; readers take no lock. Ten times slower in Python, ranges twice."""


class RecoveryMode(enum.Enum):
    """What opening does with a log whose end is not whole."""

    TOLERATE_TAIL = "tolerate tail"
    """A torn end is what a crash leaves: cut it off. Damage anywhere else is an error."""
    STRICT = "strict"
    """Any tear is an error."""


@immutable
class StorageOptions:
    memtable_bytes: int = 32 * 1024 * 1024
    """The memtable is flushed when it passes this. Also what a recovery replays at most, times
    the number of memtables."""
    memtable: MemtableKind = MemtableKind.SORTED
    block_bytes: int = 4096
    """Of a table: what one point read decodes and checks."""
    cache_bytes: int = 64 * 1024 * 1024
    """Decoded blocks kept in memory."""
    durability: Durability = Durability.FULL
    """Of a commit that does not say otherwise."""
    max_flushing_memtables: int = 2
    """Full memtables that may wait for the disk before writers wait for them."""
    recovery_mode: RecoveryMode = RecoveryMode.TOLERATE_TAIL
    manifest_bytes: int = 1024 * 1024
    """The manifest is replaced by a snapshot of itself when it passes this."""

    def __post_init__(self) -> None:
        for name in ("memtable_bytes", "block_bytes", "max_flushing_memtables", "manifest_bytes"):
            if getattr(self, name) < 1:
                raise InvalidParameterValue(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.cache_bytes < 0:
            raise InvalidParameterValue(f"cache_bytes is {self.cache_bytes}; it must not be negative")

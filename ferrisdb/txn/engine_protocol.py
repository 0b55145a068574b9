"""What a local store asks of a storage engine: the one that writes, and the one that only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from ferrisdb.storage.env import Env
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.ingest import Pairs
from ferrisdb.storage.options import Durability
from ferrisdb.storage.pinned_tables import PinnedTables
from ferrisdb.storage.range_tombstones import DeletedRange
from ferrisdb.storage.salvage_report import RecoveryReport
from ferrisdb.storage.statistics import EngineStatistics
from ferrisdb.storage.version_chain import StoredVersion


class StorageEngine(Protocol):
    """See `ferrisdb.storage.engine.Engine`, and `ReadOnlyEngine` for one that refuses to write."""

    @property
    def is_read_only(self) -> bool: ...

    @property
    def events(self) -> EventHub: ...

    @property
    def visible_timestamp(self) -> int: ...

    def read(self, key: bytes, timestamp: int) -> bytes | None: ...

    def read_many(self, keys: Sequence[bytes], timestamp: int) -> list[bytes | None]: ...

    def scan(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
    ) -> Iterator[tuple[list[bytes], list[bytes]]]: ...

    def newest_timestamp(self, key: bytes, after: int) -> int: ...

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None, after: int) -> int: ...

    def versions(self, key: bytes) -> list[StoredVersion]: ...

    def commit(
        self,
        writes: Mapping[bytes, bytes | None],
        durability: Durability | None = None,
        *,
        deleted_ranges: Sequence[DeletedRange] = (),
    ) -> int: ...

    def ingest(
        self,
        pairs: Pairs,
        *,
        below: bytes | None = None,
        before_publish: Callable[[bytes, bytes], object] = ...,
    ) -> int: ...

    def flush(self) -> None: ...

    def wait_until_compacted(self) -> None: ...

    @property
    def recovery_report(self) -> RecoveryReport | None: ...

    def pin_tables(self) -> PinnedTables: ...

    def checkpoint(self, folder: str, env: Env | None = None) -> None: ...

    @property
    def has_expiries(self) -> bool: ...

    def now_s(self) -> float: ...

    @property
    def retention_s(self) -> float: ...

    def oldest_readable(self) -> int: ...

    def version_at(self, second: float) -> int | None: ...

    def keep_moment(self, timestamp: int) -> None: ...

    def statistics(self) -> EngineStatistics: ...

    def close(self) -> None: ...

"""Compaction filters: rules that let a compaction drop what is no longer wanted.

    session/a  v9 v4         watermark 7: nobody reads below it
    session/b  v3                    |
    user/c     v2            v4 and v3 are what a reader at the watermark sees: asked about
                             v9 is above it: never asked about

    Expiry(b"session/", 3600), and commits up to 5 are an hour old:
               v9 v4x        v4 and v3 become tombstones (x), or nothing where no deeper
               v3x           level has the key
    user/c     v2

A compaction passes every row anyway, so a rule applied there costs no reads and no writes of
its own. Two kinds of rule:

    Expiry             keys with a prefix live for some seconds after their commit. The parent
                       knows when commits were made (`commit_times`) and hands the child plain
                       numbers: of this prefix, all up to this timestamp is expired
    CompactionFilter   a function of the user's: `wanted(key, value, data) -> bool`

The work is done in a child process, so the function cannot be handed over; it is named, as
"module:name", and imported there. `data` is handed over, for one function with many uses.

A version that is dropped becomes a tombstone with its timestamp, not nothing: older versions
may lie in deeper levels, and would come back to life. `collect` then drops the tombstone as
it drops any other, where nothing deeper is hidden by it.

What a reader may count on:

- A version above the watermark is never asked about. One that was overwritten in time is
  gone as ever; the rules only touch what is newest at or below it.
- A snapshot that is open sees a row vanish only if it had expired already when the snapshot
  was taken. For that, ages are counted back from the moment when the oldest snapshot in use
  was taken, and not from now: a transaction that stays open for an hour keeps an hour more.
  So does a retention of an hour (`retention`).
- For the user's function the same holds when it is pure: what it does not want it has not
  wanted since the database was opened. A function that asks the clock gives that up.
- Nobody is told when a row vanishes, and until a compaction comes by a read still shows what
  has expired, as in RocksDB.

A function that raises, or cannot be imported, stops compaction with one error in the
statistics. Nothing has changed then, reads and writes go on, and the next open tries again.

Limits: what came to rest in the last level before the filter was set is asked about only when
it is compacted again. A small compaction runs in a thread of this process, and a function that
does not return there holds up compaction, and closing the database; in a child it is killed.
Rows of SQL have index entries and constraints: no rule should touch them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, TypeAlias

from ferrisdb.errors import InvalidParameterValue, StorageError
from ferrisdb.immutable import immutable
from ferrisdb.storage.version import Rows

Expired: TypeAlias = Sequence[tuple[bytes, int]]
"""Prefixes of keys, and of each the timestamp up to which what it covers is expired."""

MAX_EXPIRIES: Final = 1000
"""Each is looked for in every run of rows."""


class FilterFailed(StorageError):
    """The function of a compaction filter raised, or is not there."""


@immutable
class CompactionFilter:
    """`name` is "module:function", importable in another process; it is called as
    `function(key, value, data)` and says whether the value is still wanted."""

    name: str
    data: bytes | str | int | None = None

    def __post_init__(self) -> None:
        module, colon, name = self.name.partition(":")
        if not (colon and all(part.isidentifier() for part in [*module.split("."), name])):
            raise InvalidParameterValue(
                f"{self.name!r} names no compaction filter", hint='it is "module:function"'
            )
        if not isinstance(self.data, bytes | str | int | None):
            raise InvalidParameterValue(
                "the data of a compaction filter are bytes, a str, an int or None, "
                f"not {type(self.data).__name__}"
            )


@immutable
class Expiry:
    """Values of keys that begin with `prefix` expire `ttl_s` seconds after their commit.

    Where several cover a key, the shortest life counts.
    """

    prefix: bytes
    ttl_s: float

    def __post_init__(self) -> None:
        if not isinstance(self.prefix, bytes):
            raise InvalidParameterValue(
                f"the prefix of keys that expire is bytes, not {type(self.prefix).__name__}"
            )
        if not (isinstance(self.ttl_s, int | float) and math.isfinite(self.ttl_s) and self.ttl_s > 0):
            raise InvalidParameterValue(f"ttl_s is {self.ttl_s!r}; it is a number of seconds above 0")


class RowFilter:
    """The rules of one job. Built where the rows are, by plain data."""

    def __init__(self, expired: Expired, named: CompactionFilter | None) -> None:
        """FilterFailed when there is nothing of that name."""
        self.filtered_count = 0
        self._expired = [(prefix, prefix_end(prefix), cut) for prefix, cut in expired]
        self._named = named
        self._is_wanted = None if named is None else _imported(named.name)

    @property
    def is_empty(self) -> bool:
        return not self._expired and self._is_wanted is None

    def apply(self, rows: Rows, watermark: int) -> Rows:
        """Rows that are all of their keys; of each key the newest at or below `watermark` has
        become a tombstone where it is not wanted. Raises FilterFailed."""
        unwanted = set(self._unwanted(rows, watermark))
        if not unwanted:
            return rows
        self.filtered_count += len(unwanted)
        keys, timestamps, values = rows
        # The lists may belong to somebody else.
        return keys, timestamps, [None if row in unwanted else value for row, value in enumerate(values)]

    def _unwanted(self, rows: Rows, watermark: int) -> Iterator[int]:
        keys, timestamps, values = rows
        for prefix, end, cut in self._expired:
            first = bisect_left(keys, prefix)
            stop = len(keys) if end is None else bisect_left(keys, end)
            for row in _settled(rows, first, stop, watermark):
                if timestamps[row] <= cut:
                    yield row
        if self._is_wanted is not None:
            for row in _settled(rows, 0, len(keys), watermark):
                if not self._asked(keys[row], values[row]):
                    yield row

    def _asked(self, key: bytes, value: bytes | None) -> bool:
        if self._named is None or self._is_wanted is None:
            return True
        try:
            return bool(self._is_wanted(key, value, self._named.data))
        except (Exception, SystemExit) as error:
            raise FilterFailed(
                f"the compaction filter {self._named.name} failed for the key {key[:100]!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _settled(rows: Rows, first: int, stop: int, watermark: int) -> Iterator[int]:
    """Of each key the newest row at or below the watermark, when it has a value."""
    keys, timestamps, values = rows
    last_key = None
    for row in range(first, stop):
        if timestamps[row] <= watermark and keys[row] != last_key:
            last_key = keys[row]
            if values[row] is not None:
                yield row


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with `prefix`; None for the end of all keys."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def _imported(name: str) -> Callable[[bytes, bytes | None, Any], object]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise FilterFailed(
            f"the compaction filter {name} cannot be imported: {type(error).__name__}: {error}",
            hint="it must be importable in another process: not a part of the program's main file",
        ) from error
    if not callable(found):
        raise FilterFailed(f"the compaction filter {name} is not a function")
    return found  # type: ignore[no-any-return]

"""Ingesting: sorted data becomes tables at once, and the log never sees it.

    pairs, keys ascending
      |
      1  write     tables under unfinished names, synced; commits go on meanwhile
      2  flush     all that is committed, so that the log is empty
      3  rename    the tables get their names; sync the folder        |  while nobody
      4  manifest  ONE edit, synced: the tables, and last commit T    |  commits
      5  swap      readers get the tables, and then see commit T      |

An ingest is one commit, T, and is there as a whole or not at all: step 4 decides. A crash before
it leaves files that the manifest does not name, and the next open removes them.

T is known only when all is written. So the rows have timestamp 0 in the file, and the manifest
says which commit they are of; `SSTableReader` puts it in their place (RocksDB's external files
have a global sequence number for the same reason). A compaction writes it into the rows.

Commits are numbered one after the other, and recovery holds the log to that: the first record
behind the manifest's last commit T must be T + 1. So when the edit is made, no record may be in
the log that is not in a table, and no mark of an earlier commit either: a segment that has
anything but its header is sealed and flushed before, and the edit says from which one the log goes on.

    segment 7   4 5 6         segment 8   (empty)       manifest: last commit 6, log from 8
    ingest: last commit 7     segment 8   8 9 ...       replayed as: 7 was the last, 8 is due

Nothing but the edit tells of the commit. So closing leaves a mark of it in the log: with the mark
there, an edit that is missing was damaged, and not torn by a crash.

Each table goes to the deepest level that it may (`placement`): into an empty place of the last
level as a rule, where it is never rewritten.

Limits: keys in ascending order, each once; values only, no deletes. The tables are written in the
caller's thread. No commit is made while step 3 to 5 last, some milliseconds and a few for each table.
Each table takes a file descriptor from then on, as those of a compaction do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from ferrisdb.errors import (
    CorruptionError,
    Error,
    InterfaceError,
    InvalidParameterValue,
    KeyTooLarge,
    StorageError,
    TransactionTooLarge,
)
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import FileNumbers, table_name, unfinished_table_name
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sstable_format import TableProperties
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import ROW_OVERHEAD_BYTES, write_sstable

Pairs = Iterable[tuple[bytes, bytes]]

MAX_TABLES: Final = 10_000
"""Of one ingest: they are all named in one edit of the manifest."""

_NOTHING: Final = object()


class Ingest:
    """The tables of one ingest, until they are live. Used by one thread."""

    def __init__(
        self,
        env: Env,
        folder: str,
        options: StorageOptions,
        numbers: FileNumbers,
        *,
        check_usable: Callable[[], None],
        below: bytes | None,
    ) -> None:
        """`check_usable` is called before each table, and raises when it is in vain. All keys
        must be smaller than `below`."""
        self.row_count = 0
        self.may_be_live = False
        """Whether the manifest may name the tables, so that they must stay."""
        self._env = env
        self._folder = folder
        self._options = options
        self._numbers = numbers
        self._check_usable = check_usable
        self._below = below
        self._mark = os.urandom(4).hex()
        self._table_numbers: list[int] = []
        self._promised: list[TableProperties] = []
        self._tables: list[SSTableReader] = []
        self._named: list[int] = []
        self._last_key = b""

    @property
    def first_key(self) -> bytes:
        return self._promised[0].smallest_key

    @property
    def last_key(self) -> bytes:
        return self._promised[-1].largest_key

    def write(self, pairs: Pairs) -> int:
        """Write the tables, synced, under unfinished names; return how many rows.

        Raises InterfaceError, InvalidParameterValue, KeyTooLarge naming the position, from 0 on, of
        the pair that cannot be taken; TransactionTooLarge, StorageError, DiskFull, and what
        `pairs` raises.
        """
        if not isinstance(pairs, Iterable):
            raise InterfaceError(f"what is ingested must be pairs of key and value, not {pairs!r:.40}")
        rest = iter(pairs)
        while (first := next(rest, _NOTHING)) is not _NOTHING:
            self._check_usable()
            if len(self._table_numbers) == MAX_TABLES:
                raise TransactionTooLarge(
                    f"pair {self.row_count} would begin table {MAX_TABLES + 1}; that many are not possible",
                    hint="ingest the data in several parts",
                )
            self._table_numbers.append(self._numbers.take())
            properties = write_sstable(
                self._env,
                self._unfinished_path(self._table_numbers[-1]),
                self._rows_of_table(chain((first,), rest)),
                block_bytes=self._options.block_bytes,
                compression=self._options.compression,
            )
            self._promised.append(properties)
        return self.row_count

    def finish(self, timestamp: int, cache: BlockCache) -> list[SSTableReader]:
        """Give the tables their names, durably, and open them as those of commit `timestamp`."""
        for number in self._table_numbers:
            self._named.append(number)
            self._env.rename(self._unfinished_path(number), self._path(number))
        # Before the manifest names them, or a power cut could leave it naming nothing.
        self._env.sync_directory(self._folder)
        for number, promised in zip(self._table_numbers, self._promised, strict=True):
            path = self._path(number)
            table = SSTableReader.open(self._env, path, number, cache, timestamp)
            self._tables.append(table)
            if table.properties != promised.stamped(timestamp):
                raise CorruptionError("the table is not the one that was written", file=path, offset=0)
        return self._tables

    def take_back(self) -> None:
        """Close and remove what `finish` gave its name, unless it may be live. While nobody commits.

        Later the folder may have another owner, who uses the same numbers for his own tables.
        """
        if self.may_be_live:
            return
        for table in self._tables:
            table.close()
        self._remove(map(self._path, self._named))

    def discard(self) -> None:
        """Remove what has no name yet. At any time: such files are nobody else's."""
        self._remove(map(self._unfinished_path, self._table_numbers))

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            # What cannot be removed now, the next open removes: the manifest never named it.
            with contextlib.suppress(StorageError):
                if self._env.exists(path):
                    self._env.remove(path)

    def _path(self, number: int) -> str:
        return join(self._folder, table_name(number))

    def _unfinished_path(self, number: int) -> str:
        return join(self._folder, unfinished_table_name(number, self._mark))

    def _rows_of_table(self, pairs: Iterable[Any]) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Rows of `pairs` until the table is full."""
        position, last_key, size_bytes = self.row_count, self._last_key, 0
        limit_bytes, below = self._options.table_bytes, self._below
        for pair in pairs:
            try:
                key, value = pair
            except (TypeError, ValueError):
                raise InterfaceError(f"pair {position} is not a key and a value") from None
            if type(key) is not bytes or type(value) is not bytes:
                raise InterfaceError(f"pair {position}: a key and a value are bytes to be ingested")
            if key <= last_key and position:
                raise _out_of_order(position, key, last_key)
            if len(key) > MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
                raise _too_large(position, key, value)
            if below is not None and key >= below:
                raise InvalidParameterValue(
                    f"pair {position}: keys from 0x{below.hex().upper()} on belong to SQL: {key[:16]!r}",
                    hint="begin the key with another byte",
                )
            yield key, 0, value
            last_key = key
            position += 1
            size_bytes += len(key) + len(value) + ROW_OVERHEAD_BYTES
            if size_bytes >= limit_bytes:
                break
        self.row_count, self._last_key = position, last_key


def ingest_unknown(cause: Exception) -> LogWriteFailed:
    """What to raise when the manifest's edit was begun, and came to this end."""
    reason = cause.message if isinstance(cause, Error) else f"{type(cause).__name__}: {cause}"
    return LogWriteFailed(
        f"what was ingested may or may not be there: {reason}",
        hint="close the database and open it again to see whether it is",
    )


def _out_of_order(position: int, key: bytes, last_key: bytes) -> InvalidParameterValue:
    problem = "is there twice" if key == last_key else f"comes behind {last_key[:16]!r}"
    return InvalidParameterValue(
        f"pair {position}: the key {key[:16]!r} {problem}",
        hint="what is ingested must be sorted by its keys, each of them once",
    )


def _too_large(position: int, key: bytes, value: bytes) -> KeyTooLarge:
    if len(key) > MAX_KEY_BYTES:
        return KeyTooLarge(f"pair {position}: the key has {len(key)} bytes; at most {MAX_KEY_BYTES} fit")
    return KeyTooLarge(f"pair {position}: the value has {len(value)} bytes; at most {MAX_VALUE_BYTES} fit")

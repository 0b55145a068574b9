"""Writing an SSTable: one pass over sorted versions, from first byte to footer.

Rows are cut into blocks; between two blocks the index keeps a separator, and the filter all
keys; when the rows are all out, index, filter, properties and footer follow (sstable_format.py
draws the file). Memory is one block, a few bytes a key, and a separator a block, however long
the file gets.

The file is on disk when `write_sstable` returns, but its name is not: that takes
`Env.sync_directory`, which is for the caller, who may write several files first. If writing
fails, the part written stays behind under its name, and whoever opens the database knows
from the manifest that the file is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import lt
from typing import Final

import msgpack

from ferrisdb.errors import invariant
from ferrisdb.storage.block import chain_checksum, encode_block, frame
from ferrisdb.storage.bloom import BloomBuilder
from ferrisdb.storage.compression import Compress, compressor
from ferrisdb.storage.env import AppendFile, Env
from ferrisdb.storage.file_header import HEADER_BYTES, SSTABLE_MAGIC, encode_header
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.options import Compression
from ferrisdb.storage.sstable_format import Footer, Section, TableProperties, encode_footer
from ferrisdb.storage.sstable_index import index_columns, shortest_separator
from ferrisdb.storage.version import Rows

ROW_OVERHEAD_BYTES: Final = 10
"""What msgpack adds to the bytes of a key and a value: two headers and a timestamp."""

WRITE_BYTES: Final = 256 * 1024
"""Blocks are handed to the operating system together, up to this sum."""


def write_sstable(
    env: Env,
    path: str,
    entries: Iterable[tuple[bytes, int, bytes | None]],
    *,
    block_bytes: int,
    compression: Compression = Compression.NONE,
) -> TableProperties:
    """Write `entries` to a new file at `path`; it is written and synced when this returns.

    `entries` are (key, timestamp, value or None for a tombstone), at least one, keys
    ascending and the timestamps of one key descending. A block is closed once its rows
    reach `block_bytes`, before compression, so most are a little longer. The directory is not
    synced.

    Raises StorageError, DiskFull; MissingLibrary before anything is made.
    """
    compress = compressor(compression)
    file = env.create(path)
    try:
        table = _TableWriter(file, compress)
        for rows in _cut_into_blocks(entries, block_bytes):
            table.add_block(rows)
        properties = table.finish()
        file.sync()
        return properties
    finally:
        file.close()


def _cut_into_blocks(entries: Iterable[tuple[bytes, int, bytes | None]], block_bytes: int) -> Iterator[Rows]:
    keys: list[bytes] = []
    timestamps: list[int] = []
    values: list[bytes | None] = []
    size_bytes = 0
    for key, timestamp, value in entries:
        keys.append(key)
        timestamps.append(timestamp)
        values.append(value)
        size_bytes += len(key) + ROW_OVERHEAD_BYTES
        if value is not None:
            size_bytes += len(value)
        if size_bytes >= block_bytes:
            yield keys, timestamps, values
            keys, timestamps, values, size_bytes = [], [], [], 0
    if keys:
        yield keys, timestamps, values


class _TableWriter:
    def __init__(self, file: AppendFile, compress: Compress | None) -> None:
        self._file = file
        self._compress = compress
        self._unwritten = [encode_header(SSTABLE_MAGIC)]
        self._end = HEADER_BYTES
        self._written_end = 0
        self._filter = BloomBuilder()
        self._smallest_key = b""
        self._largest_key = b""
        self._last_timestamp = 0
        self._separators: list[bytes] = []
        self._lengths: list[int] = []
        self._continued: dict[int, int] = {}
        self._entry_count = 0
        self._tombstone_count = 0
        self._smallest_timestamp = MAX_TIMESTAMP
        self._largest_timestamp = 0
        self._blocks_checksum = 0

    def add_block(self, rows: Rows) -> None:
        keys, timestamps, values = rows
        self._check_order(keys, timestamps)
        distinct_keys = dict.fromkeys(keys)
        if not self._lengths:
            self._smallest_key = keys[0]
        elif self._largest_key == keys[0]:
            self._separators.append(keys[0])
            self._continued[len(self._lengths)] = timestamps[0]
            del distinct_keys[keys[0]]
        else:
            self._separators.append(shortest_separator(self._largest_key, keys[0]))
        self._filter.add(list(distinct_keys))
        self._largest_key = keys[-1]
        self._last_timestamp = timestamps[-1]
        block = encode_block(keys, timestamps, values, self._compress)
        self._blocks_checksum = chain_checksum(block, self._blocks_checksum)
        self._lengths.append(self._append(block).length)
        self._entry_count += len(keys)
        self._tombstone_count += values.count(None)
        smallest, largest = min(timestamps), max(timestamps)
        self._smallest_timestamp = min(self._smallest_timestamp, smallest)
        self._largest_timestamp = max(self._largest_timestamp, largest)

    def finish(self) -> TableProperties:
        """Everything behind the blocks. The file is complete then, but not synced."""
        invariant(self._entry_count > 0, "an SSTable without entries")
        index = index_columns(self._separators, self._lengths, self._continued)
        summary = (
            self._entry_count,
            self._tombstone_count,
            self._smallest_key,
            self._largest_key,
            self._smallest_timestamp,
            self._largest_timestamp,
        )
        footer = Footer(
            index=self._append(frame(msgpack.packb(index))),
            filter=self._append(frame(self._filter.build())),
            properties=self._append(frame(msgpack.packb((*summary, self._blocks_checksum)))),
        )
        self._append(encode_footer(footer))
        self._write_out()
        return TableProperties(*summary, file_bytes=self._end, blocks_checksum=self._blocks_checksum)

    def _append(self, data: bytes) -> Section:
        section = Section(self._end, len(data))
        self._unwritten.append(data)
        self._end += len(data)
        if self._end - self._written_end >= WRITE_BYTES:
            self._write_out()
        return section

    def _write_out(self) -> None:
        self._file.append(b"".join(self._unwritten))
        self._unwritten.clear()
        self._written_end = self._end

    def _check_order(self, keys: list[bytes], timestamps: list[int]) -> None:
        """A table out of order would answer wrongly, with every checksum right."""
        if self._lengths:
            keys = [self._largest_key, *keys]
            timestamps = [self._last_timestamp, *timestamps]
        if all(map(lt, keys, islice(keys, 1, None))):
            return
        for row in range(1, len(keys)):
            is_ordered = keys[row - 1] < keys[row] or (
                keys[row - 1] == keys[row] and timestamps[row - 1] > timestamps[row]
            )
            invariant(is_ordered, f"{keys[row]!r} at {timestamps[row]} is out of order in an SSTable")

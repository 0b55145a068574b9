"""A data block: some hundred versions, stored as three columns.

    +------------------------------------------+-------+-------------------+
    | msgpack [ [key, key, ...],               | codec | crc32 of all that |
    |           [timestamp, timestamp, ...],   | u8    | is before it, u32 |
    |           [value or nil, ...],           |       |                   |
    |           newest timestamp,              |       |                   |
    |           number of distinct keys ]      |       |                   |
    +------------------------------------------+-------+-------------------+

Rows are in the order (key ascending, timestamp descending), so a key's newest version comes
first. nil is a tombstone. Columns, because msgpack makes a list of byte strings in one call
in C: about 100 ns an entry. Rows with shared prefixes, as LevelDB stores them, are smaller,
and cost 1150 ns an entry to take apart in Python.

The last two say whether a reader may see the whole block: when its newest timestamp is not
above the reader's and each key comes once, the lists are handed on as they are, and no
entry is touched.

The codec byte is 0 where the body is stored as it is; other codecs are compression, which only
blocks have (compression.py). The checksum is that of the stored bytes.

The same frame (body, codec, checksum) holds the other parts of an SSTable.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import Any, Final
from zlib import crc32

import msgpack

from ferrisdb.errors import CorruptionError, FormatVersionError
from ferrisdb.storage.compression import CODEC_NONE, Compress, inflate
from ferrisdb.storage.version import MISSING, Chunk, Found

_TRAILER: Final = struct.Struct("<BI")
TRAILER_BYTES: Final = _TRAILER.size

ROW_OVERHEAD_BYTES: Final = 130
"""What a decoded row costs beside the bytes of key and value: the headers of two byte strings
(33 each), a timestamp (32), three places in lists (24), rounding by the allocator."""

BLOCK_OVERHEAD_BYTES: Final = 400
"""The block object, three list heads, its place in the cache."""


def frame(body: bytes, codec: int = CODEC_NONE) -> bytes:
    """`body`, as it is to be stored, with its codec and checksum behind it."""
    kind = codec.to_bytes(1, "little")
    return b"".join((body, kind, crc32(kind, crc32(body)).to_bytes(4, "little")))


def chain_checksum(block: bytes | memoryview, before: int = 0) -> int:
    """The checksum of a table's blocks up to the frame `block`; `before` is that of those before it.

    It is the crc32 of their checksums, one behind the other, and not of the blocks themselves:
    the crc32 of bytes with their own crc32 behind them is 2144df1c, whatever the bytes are.
    """
    return crc32(block[-4:], before)


def unframe(data: bytes, path: str, offset: int, what: str) -> bytes:
    """The body of a frame that lies at `offset` of `path`; `what` names it in errors.

    Raises CorruptionError unless the checksum is right, FormatVersionError for a compressed one.
    """
    codec = _checked_codec(data, path, offset, what)
    if codec != CODEC_NONE:
        raise FormatVersionError(
            f"{path} has a {what} with codec {codec}; this FerrisDB reads codec {CODEC_NONE}",
            hint="open it with the newer FerrisDB that wrote it",
        )
    return data[:-TRAILER_BYTES]


def _checked_codec(data: bytes, path: str, offset: int, what: str) -> int:
    if len(data) < TRAILER_BYTES:
        raise CorruptionError(f"the {what} is cut short", file=path, offset=offset)
    codec, checksum = _TRAILER.unpack_from(data, len(data) - TRAILER_BYTES)
    if crc32(memoryview(data)[:-4]) != checksum:
        raise CorruptionError(f"the checksum of the {what} is wrong", file=path, offset=offset)
    return int(codec)


def unpack(body: bytes, path: str, offset: int, what: str) -> Any:
    """The msgpack value in the body of a frame.

    Raises CorruptionError when it is none: the checksum was right, so whoever wrote it wrote
    it wrong.
    """
    try:
        return msgpack.unpackb(body, use_list=True)
    # ValueError is the root of msgpack's own errors, and of bad UTF-8; TypeError is a map
    # with a list as a key.
    except (ValueError, TypeError) as error:
        raise malformed(what, path, offset) from error


def malformed(what: str, path: str, offset: int) -> CorruptionError:
    return CorruptionError(f"the {what} is not built as it should be", file=path, offset=offset)


class Block:
    """A decoded block. Shared between readers: never changed."""

    __slots__ = ("has_unique_keys", "keys", "newest_timestamp", "size_bytes", "timestamps", "values")

    def __init__(
        self,
        keys: list[bytes],
        timestamps: list[int],
        values: list[bytes | None],
        *,
        newest_timestamp: int,
        distinct_keys: int,
        encoded_bytes: int,
    ) -> None:
        self.keys = keys
        self.timestamps = timestamps
        self.values = values
        self.newest_timestamp = newest_timestamp
        self.has_unique_keys = distinct_keys == len(keys)
        # The encoded length stands for the bytes of the keys and values themselves.
        self.size_bytes = encoded_bytes + len(keys) * ROW_OVERHEAD_BYTES + BLOCK_OVERHEAD_BYTES

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        """The newest version of `key` at or below `timestamp` in this block; None when it is
        below `floor`."""
        keys = self.keys
        row = bisect_left(keys, key)
        while row < len(keys) and keys[row] == key:
            if (version := self.timestamps[row]) <= timestamp:
                return None if floor and version < floor else self.values[row]
            row += 1
        return MISSING

    def newest_timestamp_of(self, key: bytes) -> int:
        """The timestamp of the first row of `key`; 0 when it has none here."""
        row = bisect_left(self.keys, key)
        return self.timestamps[row] if row < len(self.keys) and self.keys[row] == key else 0

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest of all versions of keys with lo <= key < hi; 0 when there is none."""
        start = bisect_left(self.keys, lo)
        stop = len(self.keys) if hi is None else bisect_left(self.keys, hi)
        return max(self.timestamps[start:stop], default=0)

    def visible(self, timestamp: int, floor: int = 0) -> Chunk:
        """Of each key the newest version at or below `timestamp`, when that is not below
        `floor`; both lists may be empty."""
        if floor == 0 and self.newest_timestamp <= timestamp and self.has_unique_keys:
            return self.keys, self.values
        keys: list[bytes] = []
        values: list[bytes | None] = []
        last_key = None
        for key, version, value in zip(self.keys, self.timestamps, self.values, strict=True):
            if version <= timestamp and key != last_key:
                last_key = key
                if version >= floor:
                    keys.append(key)
                    values.append(value)
        return keys, values


def encode_block(
    keys: list[bytes],
    timestamps: list[int],
    values: list[bytes | None],
    compress: Compress | None = None,
) -> bytes:
    """The frame of these rows, which are in block order and at least one."""
    body: bytes = msgpack.packb((keys, timestamps, values, max(timestamps), len(set(keys))))
    if compress is None:
        return frame(body)
    codec, stored = compress(body)
    return frame(stored, codec)


def decode_block(data: bytes, path: str, offset: int) -> Block:
    """The block whose frame is `data`, from `offset` of `path`.

    Raises CorruptionError when the checksum or the structure is wrong, MissingLibrary when it
    is compressed and cannot be read here, FormatVersionError for a codec not known here.
    """
    body = block_body(data, path, offset)
    columns = unpack(body, path, offset, "block")
    if not _is_block(columns):
        raise malformed("block", path, offset)
    keys, timestamps, values, newest_timestamp, distinct_keys = columns
    return Block(
        keys,
        timestamps,
        values,
        newest_timestamp=newest_timestamp,
        distinct_keys=distinct_keys,
        encoded_bytes=len(body) + TRAILER_BYTES,
    )


def stamped(block: Block, timestamp: int, path: str, offset: int) -> Block:
    """A block, just decoded, of a table that was ingested: all its rows are of commit `timestamp`.

    Raises CorruptionError when the rows have timestamps of their own.
    """
    if any(block.timestamps) or block.newest_timestamp:
        raise CorruptionError(
            "the table was ingested, and a row has a timestamp of its own", file=path, offset=offset
        )
    block.timestamps = [timestamp] * len(block.keys)
    block.newest_timestamp = timestamp
    return block


def block_body(data: bytes, path: str, offset: int) -> bytes:
    """The body, decompressed, of a block's frame. Raises what `decode_block` does."""
    codec = _checked_codec(data, path, offset, "block")
    body = data[:-TRAILER_BYTES]
    return body if codec == CODEC_NONE else inflate(codec, body, path, offset)


def _is_block(columns: Any) -> bool:
    """Shape only: the checksum vouches for the entries, and looking at each costs as much as
    decoding it."""
    if not isinstance(columns, list) or list(map(type, columns)) != [list, list, list, int, int]:
        return False
    keys, timestamps, values, _, _ = columns
    return 0 < len(keys) == len(timestamps) == len(values)


def clip(chunk: Chunk, lo: bytes, hi: bytes | None) -> Chunk:
    """The part of an ascending chunk with lo <= key < hi."""
    keys, values = chunk
    start = bisect_left(keys, lo) if keys and keys[0] < lo else 0
    stop = len(keys) if hi is None or (keys and keys[-1] < hi) else bisect_left(keys, hi)
    if start == 0 and stop == len(keys):
        return chunk
    return keys[start:stop], values[start:stop]

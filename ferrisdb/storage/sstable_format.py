"""How an SSTable is laid out: the parts that its writer and its reader share.

    +--------+---------+-----+---------+-------+--------+------------+--------+
    | header | block 0 | ... | block n | index | filter | properties | footer |
    +--------+---------+-----+---------+-------+--------+------------+--------+
     16 bytes \\________ frames: body, codec, crc32 (see block.py) __/  60 bytes

The parts lie one behind the other without a gap, and each has a checksum, so there is no
byte in the file whose change would go unnoticed.

    index       what separates the blocks, and their lengths (see sstable_index.py)
    filter      the words of a bloom filter over the distinct keys (see bloom.py)
    properties  msgpack [ entries, tombstones, smallest key, largest key,
                          smallest timestamp, largest timestamp, checksum of all blocks ]
    footer      where index, filter and properties lie: three times offset and length (u64),
                crc32 of these 48 bytes (u32), the magic of the file

A reader starts at the end. A file that was cut anywhere has no footer at its end.

The versions of one key may run over several blocks; each then begins with the key that the
one before ends with. docs/formats.md gives the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from zlib import crc32

from ferrisdb.errors import CorruptionError
from ferrisdb.immutable import immutable
from ferrisdb.storage.block import malformed
from ferrisdb.storage.file_header import HEADER_BYTES, SSTABLE_MAGIC

_POSITIONS: Final = struct.Struct("<6Q")
_CHECKSUM: Final = struct.Struct("<I")
FOOTER_BYTES: Final = _POSITIONS.size + _CHECKSUM.size + len(SSTABLE_MAGIC)


@immutable
class TableProperties:
    """What is in an SSTable, known without reading it. Counts are of versions."""

    entry_count: int
    tombstone_count: int
    smallest_key: bytes
    largest_key: bytes
    smallest_timestamp: int
    largest_timestamp: int
    file_bytes: int
    blocks_checksum: int | None = None
    """The crc32 of the checksums of all blocks, which tells the table's content from any other;
    None in a table of format version 1."""

    def stamped(self, timestamp: int) -> TableProperties:
        """Those of a table that was ingested. ValueError when its rows have timestamps of their own."""
        if self.smallest_timestamp or self.largest_timestamp:
            raise ValueError("not the properties of a table to be ingested")
        return replace(self, smallest_timestamp=timestamp, largest_timestamp=timestamp)

    def to_fields(self) -> list[int | bytes | None]:
        """The fields in the order above, for msgpack."""
        return [
            self.entry_count,
            self.tombstone_count,
            self.smallest_key,
            self.largest_key,
            self.smallest_timestamp,
            self.largest_timestamp,
            self.file_bytes,
            self.blocks_checksum,
        ]

    @classmethod
    def from_fields(cls, fields: Any) -> TableProperties:
        """What `to_fields` gave. ValueError for anything of another shape."""
        kinds = list(map(type, fields)) if isinstance(fields, Sequence) else []
        if kinds[:-1] != _FIELD_TYPES or kinds[-1] not in (int, type(None)):
            raise ValueError("not the properties of an SSTable")
        return cls(*fields)

    @classmethod
    def from_stored(cls, stored: Any, file_bytes: int) -> TableProperties:
        """From the body of a file's properties. ValueError for anything of another shape."""
        if not isinstance(stored, Sequence) or len(stored) not in (_VERSION_1_FIELDS, _VERSION_1_FIELDS + 1):
            raise ValueError("not the properties of an SSTable")
        summary, checksum = stored[:_VERSION_1_FIELDS], stored[_VERSION_1_FIELDS:]
        return cls.from_fields([*summary, file_bytes, checksum[0] if checksum else None])


_FIELD_TYPES: Final[list[type]] = [int, int, bytes, bytes, int, int, int]
"""Up to the checksum, which may be missing."""

_VERSION_1_FIELDS: Final = 6
"""What the properties of a file of version 1 hold; version 2 adds the checksum."""


@immutable
class Section:
    """A part of the file, in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@immutable
class Footer:
    index: Section
    filter: Section
    properties: Section


def encode_footer(footer: Footer) -> bytes:
    sections = (footer.index, footer.filter, footer.properties)
    positions = _POSITIONS.pack(*(n for section in sections for n in (section.offset, section.length)))
    return positions + _CHECKSUM.pack(crc32(positions)) + SSTABLE_MAGIC


def decode_footer(data: bytes, path: str, offset: int) -> Footer:
    """The footer from `data`, the last FOOTER_BYTES of a file, which lie at `offset`.

    Raises CorruptionError when it is damaged, or when the parts it names do not lie
    one behind the other up to itself.
    """
    if not data.endswith(SSTABLE_MAGIC) or len(data) != FOOTER_BYTES:
        raise CorruptionError("the file does not end with a footer", file=path, offset=offset)
    (checksum,) = _CHECKSUM.unpack_from(data, _POSITIONS.size)
    if checksum != crc32(data[: _POSITIONS.size]):
        raise CorruptionError("the checksum of the footer is wrong", file=path, offset=offset)
    numbers = _POSITIONS.unpack_from(data)
    index, filter_, properties = (Section(*numbers[n : n + 2]) for n in (0, 2, 4))
    ends = (HEADER_BYTES, index.end, filter_.end, properties.end)
    if index.offset < ends[0] or (filter_.offset, properties.offset, offset) != ends[1:]:
        raise malformed("footer", path, offset)
    return Footer(index, filter_, properties)

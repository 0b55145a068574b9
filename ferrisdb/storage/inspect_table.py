"""A table as it lies there: each part with its place and its checksum, read one by one.

`SSTableReader` takes a table or refuses it. Here each part is asked for by itself, and each
raises by itself, so that what is sound is still shown when something else is damaged:

    TableFile.header()  footer()  index()  filter()  properties()  block(n)

Without a sound index nobody says where the blocks are. But a block's body is msgpack, which
says itself where it ends (as does a compressed one, see compressed_frame.py), and five bytes of
codec and checksum follow; so `walk_blocks` finds block after block from the beginning of the
file, up to the first damaged one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgpack

from ferrisdb.errors import CorruptionError, FormatVersionError
from ferrisdb.storage.block import (
    TRAILER_BYTES,
    Block,
    block_body,
    decode_block,
    malformed,
    stamped,
    unframe,
    unpack,
)
from ferrisdb.storage.bloom import BloomFilter
from ferrisdb.storage.compressed_frame import begins_frame, frame_length
from ferrisdb.storage.env import Env
from ferrisdb.storage.file_header import HEADER_BYTES, SSTABLE_MAGIC, check_header
from ferrisdb.storage.sstable_format import (
    FOOTER_BYTES,
    Footer,
    Section,
    TableProperties,
    decode_footer,
)
from ferrisdb.storage.sstable_index import INDEX_COLUMNS, VERSION_1_COLUMNS, TableIndex, decode_index

_FIRST_WINDOW_BYTES: Final = 64 * 1024
_BLOCK_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What stands behind the body of a frame, and what should stand there."""

    codec: int
    stored_checksum: int
    found_checksum: int

    @property
    def is_sound(self) -> bool:
        return self.stored_checksum == self.found_checksum


@dataclass(frozen=True)
class SeenFilter:
    filter: BloomFilter
    word_count: int
    bits_set: int


class TableFile:
    """An SSTable open for looking. Nothing is kept but the file.

    Every method that reads a part raises CorruptionError with the part's offset when it is
    damaged, FormatVersionError for one of a newer FerrisDB, StorageError.
    """

    def __init__(self, env: Env, path: str, ingested_at: int = 0) -> None:
        """`ingested_at` is what the manifest says of it: then all rows are shown with that
        timestamp. Raises CorruptionError when the file is missing, StorageError."""
        self.path = path
        self.ingested_at = ingested_at
        try:
            self._file = env.open_read(path)
        except FileNotFoundError as error:
            raise CorruptionError("the table is missing", file=path, offset=0) from error
        self.size_bytes = self._file.size()

    def close(self) -> None:
        self._file.close()

    def header(self) -> int:
        """Its format version."""
        return check_header(self._file.read_at(0, HEADER_BYTES), SSTABLE_MAGIC, self.path)

    def footer(self) -> Footer:
        if self.size_bytes < HEADER_BYTES + FOOTER_BYTES:
            raise CorruptionError(
                "the file is too short for an SSTable", file=self.path, offset=self.size_bytes
            )
        offset = self.size_bytes - FOOTER_BYTES
        return decode_footer(self._file.read_at(offset, FOOTER_BYTES), self.path, offset)

    def index(self, footer: Footer) -> TableIndex:
        section = footer.index
        stored = unpack(self._body(section, "index"), self.path, section.offset, "index")
        return decode_index(stored, self.path, section)

    def filter(self, footer: Footer) -> SeenFilter:
        body = self._body(footer.filter, "filter")
        try:
            found = BloomFilter(body)
        except ValueError as error:
            raise malformed("filter", self.path, footer.filter.offset) from error
        return SeenFilter(found, len(body) // 8, int.from_bytes(body, "little").bit_count())

    def properties(self, footer: Footer) -> TableProperties:
        offset = footer.properties.offset
        summary = unpack(self._body(footer.properties, "properties block"), self.path, offset, "properties")
        try:
            found = TableProperties.from_stored(summary, self.size_bytes)
            return found.stamped(self.ingested_at) if self.ingested_at else found
        except (ValueError, TypeError) as error:
            raise malformed("properties block", self.path, offset) from error

    def block(self, section: Section) -> Block:
        return self.decode(self.block_frame(section), section.offset)

    def decode(self, data: bytes, offset: int) -> Block:
        """The block whose frame is `data`, from `offset`."""
        block = decode_block(data, self.path, offset)
        return stamped(block, self.ingested_at, self.path, offset) if self.ingested_at else block

    def block_frame(self, section: Section) -> bytes:
        """A block as it is stored."""
        return self._read(section, "block")

    def body_bytes(self, section: Section) -> int:
        """The length of a block's body when it is decompressed."""
        return len(block_body(self._read(section, "block"), self.path, section.offset))

    def facts(self, section: Section) -> FrameFacts:
        """Of any frame, sound or not."""
        data = self._read(section, "frame")
        if len(data) < TRAILER_BYTES:
            raise CorruptionError("the frame is cut short", file=self.path, offset=section.offset)
        stored = int.from_bytes(data[-4:], "little")
        return FrameFacts(data[-TRAILER_BYTES], stored, crc32(memoryview(data)[:-4]))

    def walk_blocks(self) -> Iterator[Section]:
        """Where the blocks are, found without footer and index, up to one that is no msgpack."""
        offset = HEADER_BYTES
        while True:
            body_bytes = self._body_length(offset)
            if body_bytes is None:
                return
            yield Section(offset, body_bytes + TRAILER_BYTES)
            offset += body_bytes + TRAILER_BYTES

    def index_at(self, offset: int) -> TableIndex | None:
        """The index, when a sound one begins at `offset` that says that the blocks end there.

        For when the footer is gone, which else says where it is.
        """
        body_bytes = self._body_length(offset, INDEX_COLUMNS) or self._body_length(offset, VERSION_1_COLUMNS)
        if body_bytes is None:
            return None
        section = Section(offset, body_bytes + TRAILER_BYTES)
        try:
            return self.index(Footer(section, section, section))
        except (CorruptionError, FormatVersionError):
            return None

    def _body_length(self, offset: int, columns: int = _BLOCK_COLUMNS) -> int | None:
        """The length of the array of so many, or compressed frame, that begins here; None when none does."""
        window_bytes = _FIRST_WINDOW_BYTES
        while True:
            data = self._file.read_at(offset, window_bytes)
            if begins_frame(data):
                found = frame_length(data)
                if found is not None or len(data) < window_bytes:
                    return found
                window_bytes *= 4
                continue
            unpacker = msgpack.Unpacker(max_buffer_size=0)
            unpacker.feed(data)
            try:
                if unpacker.read_array_header() != columns:
                    return None
                for _ in range(columns):
                    unpacker.skip()
                return int(unpacker.tell())
            except msgpack.OutOfData:
                if len(data) < window_bytes:
                    return None
                window_bytes *= 4
            except (ValueError, TypeError, msgpack.UnpackException):
                return None

    def _body(self, section: Section, what: str) -> bytes:
        return unframe(self._read(section, what), self.path, section.offset, what)

    def _read(self, section: Section, what: str) -> bytes:
        data = self._file.read_at(section.offset, section.length)
        if len(data) < section.length:
            raise CorruptionError(f"the {what} is cut short", file=self.path, offset=section.offset)
        return data

"""A table taken apart, changed, and put together again with every checksum right.

What the writer would never write: a checker must find it though no checksum is wrong.
"""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

import msgpack

from ferrisdb.storage.block import frame, unframe
from ferrisdb.storage.file_header import HEADER_BYTES, SSTABLE_MAGIC
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.sstable_format import Footer, Section, encode_footer


class ForgedTable:
    """`blocks`, `index` and `properties` are their msgpack values, `filter` its words."""

    def __init__(self, env: MemoryEnv, path: str) -> None:
        data = env.read_file(path)
        table = TableFile(env, path)
        footer = table.footer()
        sections = table.index(footer).sections
        self._env, self._path, self._header = env, path, data[:HEADER_BYTES]

        def body(section: Section) -> bytes:
            return unframe(data[section.offset : section.end], path, section.offset, "part")

        self.offsets = [section.offset for section in sections]
        self.parts = footer
        self.blocks: list[list[Any]] = [msgpack.unpackb(body(section)) for section in sections]
        self.index: list[list[Any]] = msgpack.unpackb(body(footer.index))
        self.filter = bytearray(body(footer.filter))
        self.properties: list[Any] = msgpack.unpackb(body(footer.properties))
        self._blocks_checksum = self.properties[6]

    def save_version_1(self, index: list[list[Any]]) -> None:
        """As format version 1 had it: another index, and no checksum of all blocks."""
        fields = SSTABLE_MAGIC + struct.pack("<HH", 1, 1)
        self._header = fields + struct.pack("<I", crc32(fields))
        self.properties = self.properties[:6]
        self._write(index)

    def save(self) -> None:
        self.index[1] = [len(frame(msgpack.packb(block))) for block in self.blocks]
        self._write(self.index)

    def _write(self, index: list[list[Any]]) -> None:
        parts = [self._header, *(frame(msgpack.packb(block)) for block in self.blocks)]
        if self.properties[6:] == [self._blocks_checksum]:
            self.properties[6] = crc32(b"".join(part[-4:] for part in parts[1:]))
        sections = []
        for part in (msgpack.packb(index), bytes(self.filter), msgpack.packb(self.properties)):
            sections.append(Section(sum(map(len, parts)), len(frame(part))))
            parts.append(frame(part))
        parts.append(encode_footer(Footer(*sections)))
        file = self._env.create(self._path)
        file.append(b"".join(parts))

"""Copying a table so that what arrives is known to be right.

    source   [ header | block crc | block crc | ... | index | filter | properties | footer ]
                         ok?         ok?            each with a checksum, read again in the copy
                              crc crc ...  ->  checksum of all blocks, as it should be?

Each block is checked on the way, so bytes that rotted on the source's disk are noticed before
anybody relies on the copy, and the error says where. The other parts are read again in the copy,
through their own checksums.

The checksum of all blocks, with number and length, also names a table's content: two databases
may both have a table 000012, and a backup store keeps them apart. It is the seventh of a table's
properties. A table of format version 1 does not have it; it is computed there, by reading and
checking all blocks.

What is not found: bytes that the copy's disk turns after they were written. That is what
`backup_verify` is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from typing import Final
from zlib import crc32

from ferrisdb.errors import CorruptionError, MissingLibrary
from ferrisdb.storage.block import chain_checksum, decode_block
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.check_table import check_table
from ferrisdb.storage.env import AppendFile, Env, ReadFile
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.sstable_format import Section
from ferrisdb.storage.sstable_reader import SSTableReader

COPY_BYTES: Final = 1024 * 1024


def copy_table(
    source_env: Env,
    source: str,
    env: Env,
    target: str,
    *,
    entry: TableEntry,
    checksum: int,
    progress: Callable[[int], None],
) -> None:
    """Copy the file `source` to the new file `target`; checked and synced, its name is not.

    `checksum` is that of all its blocks, `entry` what the manifest says of it; `progress` is
    told of bytes as they are copied. After an error a part of the copy stays behind.

    Raises FileNotFoundError when there is no source, CorruptionError with the file and offset
    of the damage, StorageError, DiskFull.
    """
    with closing(source_env.open_read(source)) as file:
        sections = _sections(source_env, source)
        with closing(env.create(target)) as copy:
            found = _copy(file, source, sections, copy, progress)
            is_same = found == checksum and file.size() == entry.file_bytes
            if is_same:
                copy.sync()
    if not is_same:
        raise _damage(source_env, source, entry, "the table is not the one that was to be copied")
    try:
        SSTableReader.open(env, target, entry.number, BlockCache(0)).close()
    except CorruptionError as error:
        raise _damage(source_env, source, entry, f"its copy is not what was written: {error}") from error


def _sections(env: Env, path: str) -> list[Section]:
    """Where the blocks are."""
    try:
        with closing(TableFile(env, path)) as table:
            return table.index(table.footer()).sections
    except CorruptionError:
        if not env.exists(path):
            raise FileNotFoundError(path) from None
        raise


def _copy(
    file: ReadFile, path: str, sections: list[Section], copy: AppendFile, progress: Callable[[int], None]
) -> int:
    """The checksum of all blocks, each of which has been checked."""

    def take(offset: int, length: int) -> bytes:
        data = file.read_at(offset, length)
        if len(data) < length:
            raise CorruptionError("the file is cut short", file=path, offset=offset + len(data))
        copy.append(data)
        progress(length)
        return data

    take(0, HEADER_BYTES)
    checksum = 0
    for group in _groups(sections):
        start = group[0].offset
        blocks = memoryview(take(start, group[-1].end - start))
        for section in group:
            block = blocks[section.offset - start : section.end - start]
            if crc32(block[:-4]) != int.from_bytes(block[-4:], "little"):
                raise CorruptionError("the checksum of the block is wrong", file=path, offset=section.offset)
            checksum = chain_checksum(block, checksum)
    blocks_end, size_bytes = sections[-1].end, file.size()
    for offset in range(blocks_end, size_bytes, COPY_BYTES):
        take(offset, min(COPY_BYTES, size_bytes - offset))
    return checksum


def _groups(sections: Iterable[Section]) -> Iterator[list[Section]]:
    """Neighbours, up to COPY_BYTES together and at least one."""
    group: list[Section] = []
    for section in sections:
        if group and section.end - group[0].offset > COPY_BYTES:
            yield group
            group = []
        group.append(section)
    yield group


def content_checksum(env: Env, path: str) -> int:
    """The checksum of a table's blocks where the table itself does not say, each block checked.

    Raises CorruptionError (also when the file is missing), StorageError.
    """
    with closing(TableFile(env, path)) as table:
        checksum = 0
        for section in table.index(table.footer()).sections:
            block = table.block_frame(section)
            decode_block(block, path, section.offset)
            checksum = chain_checksum(block, checksum)
        return checksum


def _damage(env: Env, path: str, entry: TableEntry, otherwise: str) -> CorruptionError:
    """The first thing that is wrong with the table at `path`."""
    findings = Findings()
    # A copy needs no library to decompress, and must not fail for want of one.
    with suppress(MissingLibrary):
        check_table(env, path, entry, findings, lambda read_bytes: None)
    for finding in findings.found:
        return CorruptionError(finding.problem, file=finding.file, offset=finding.offset)
    return CorruptionError(otherwise, file=path, offset=0)

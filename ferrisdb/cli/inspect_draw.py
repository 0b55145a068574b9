"""What `ferrisdb inspect` prints, line by line, as it reads.

Every line that begins with `byte N` stands for a part of the file that begins there:

    byte 16  commit 1, 45 bytes, crc32 384e8b93 right, 16 bytes were synced
               put account(1)  (1, 'Ada', 100)

Each function is a generator, so a long file is shown in constant memory and `head` ends the
work. `Limit` bounds it. Damage is shown where it is and raised at the end, so that the reader
sees what is around it and the command fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from ferrisdb.cli.inspect_names import KeyNames, show_bytes
from ferrisdb.errors import CorruptionError, InvalidParameterValue
from ferrisdb.storage.compression import CODEC_LZ4, CODEC_NAMES, CODEC_NONE, CODEC_ZSTD
from ferrisdb.storage.env import join
from ferrisdb.storage.file_header import (
    HEADER_BYTES,
    MANIFEST_MAGIC,
    SSTABLE_MAGIC,
    WAL_MAGIC,
    check_header,
)
from ferrisdb.storage.file_names import log_name, manifest_name, table_name
from ferrisdb.storage.inspect_folder import FoundInTable, SeenFolder, read_whole
from ferrisdb.storage.inspect_log import BadBytes, ReservedBytes, SeenRecord, read_records
from ferrisdb.storage.inspect_manifest import SeenEdit, read_edits
from ferrisdb.storage.inspect_table import FrameFacts, TableFile
from ferrisdb.storage.manifest import ManifestEdit, TableEntry
from ferrisdb.storage.sstable_format import FOOTER_BYTES, Footer, Section
from ferrisdb.storage.sstable_index import TableIndex

Lines = Iterator[str]

_SEPARATOR_CHARACTERS: Final = 80
"""Shown of a separator, which is part of a key and means nothing in SQL."""


class Limit:
    """Lets `most` things through and counts the others; 0 lets all through."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seen = 0

    def lets_through(self) -> bool:
        self._seen += 1
        return self.most == 0 or self._seen <= self.most

    def rest(self, what: str) -> Lines:
        left_out = self._seen - self.most
        if self.most and left_out > 0:
            yield f"... and {left_out:,} more {what} (--limit 0 shows all)"


def draw_log(seen: SeenFolder, number: int, names: KeyNames, limit: Limit) -> Lines:
    """A segment's records. Raises CorruptionError at the end when there was damage."""
    path = join(seen.folder, log_name(number))
    data = read_whole(seen.env, path)
    yield f"{log_name(number)}: a segment of the write-ahead log, {len(data):,} bytes"
    yield _header_line(WAL_MAGIC, check_header(data, WAL_MAGIC, path))
    is_last = number == seen.log_numbers[-1] if seen.log_numbers else False
    bad: BadBytes | None = None
    is_damage = False
    for found in read_records(data, number):
        if isinstance(found, BadBytes):
            bad = bad or found
            is_damage = is_damage or not is_last
        elif isinstance(found, ReservedBytes):
            yield from _reserved_lines(found)
            continue
        elif bad is not None and found.synced_bytes > bad.offset:
            is_damage = True
        if limit.lets_through():
            yield from (
                _bad_lines(found) if isinstance(found, BadBytes) else _record_lines(found, names, limit.most)
            )
    if bad is not None and is_damage:
        raise CorruptionError(
            f"the log record is torn or damaged: {bad.problem}", file=path, offset=bad.offset
        )


def draw_manifest(seen: SeenFolder, number: int, names: KeyNames, limit: Limit) -> Lines:
    """A manifest's edits. Raises CorruptionError at the end when one in the middle is damaged."""
    path = join(seen.folder, manifest_name(number))
    data = read_whole(seen.env, path)
    yield f"{manifest_name(number)}: which files are alive, {len(data):,} bytes"
    yield _header_line(MANIFEST_MAGIC, check_header(data, MANIFEST_MAGIC, path))
    bad: BadBytes | None = None
    for found in read_edits(data, number):
        if isinstance(found, BadBytes):
            bad = bad or found
        if limit.lets_through():
            yield from _bad_lines(found) if isinstance(found, BadBytes) else _edit_lines(found, names)
    yield from limit.rest("edits")
    if bad is not None and bad.end < len(data):
        raise CorruptionError(f"a manifest edit is damaged: {bad.problem}", file=path, offset=bad.offset)


def draw_levels(seen: SeenFolder, names: KeyNames, limit: Limit) -> Lines:
    """The tree: tables by level, and the log segments that are not flushed yet."""
    state = seen.state
    yield (
        f"{manifest_name(seen.manifest_number)}: last commit in a table {state.last_timestamp}, "
        f"next file number {state.next_file_number}"
    )
    for number in seen.log_numbers:
        yield f"log      {log_name(number)}  commits that are not in a table yet"
    for level in sorted({entry.level for entry in state.tables}):
        tables = [entry for entry in state.tables if entry.level == level]
        total_bytes = sum(entry.file_bytes for entry in tables)
        yield f"level {level}  {_count(len(tables), 'table')}, {total_bytes:,} bytes"
        for entry in tables:
            if limit.lets_through():
                yield "  " + _table_line(entry, names)
    yield from limit.rest("tables")
    if state.deleted_ranges:
        yield f"{_count(len(state.deleted_ranges), 'deleted range')} that a table may still hold versions of"
    for name in seen.leftovers:
        yield f"unused   {name}  opening the database removes it"


def draw_table(path: str, table: TableFile, names: KeyNames, limit: Limit) -> Lines:
    """A table's parts in the order of the file. Raises CorruptionError at the end when one is damaged."""
    yield f"{path}: a table, {table.size_bytes:,} bytes"
    yield _header_line(SSTABLE_MAGIC, table.header())
    try:
        footer = table.footer()
        index = table.index(footer)
    except CorruptionError:
        # Without them the blocks are found by their own structure, as far as that is sound.
        for number, section in enumerate(table.walk_blocks()):
            if limit.lets_through():
                yield _frame_line(f"block {number}", section, table.facts(section))
        yield from limit.rest("blocks")
        raise
    damage: CorruptionError | None = None
    for number, section in enumerate(index.sections):
        if limit.lets_through():
            facts = table.facts(section)
            note = _block_range(table, section, facts, names) + _inflated(table, section, facts)
            yield _frame_line(f"block {number}", section, facts, note)
            yield from _separator_lines(index, number)
            damage = damage or _wrong_checksum("block", path, section, facts)
    yield from limit.rest("blocks")
    yield from _draw_end(table, footer, names)
    if damage is not None:
        raise damage


def draw_block(path: str, table: TableFile, number: int, names: KeyNames, limit: Limit) -> Lines:
    """A block's rows. Raises CorruptionError."""
    index = table.index(table.footer())
    if number >= len(index.sections):
        raise InvalidParameterValue(f"{path} has {_count(len(index.sections), 'block')}, counted from 0")
    section = index.sections[number]
    yield _frame_line(f"{path} block {number}", section, table.facts(section))
    block = table.block(section)
    unique = "each key once" if block.has_unique_keys else "some keys in several versions"
    yield f"  {_count(len(block.keys), 'row')}, newest commit {block.newest_timestamp}, {unique}"
    for row, (key, timestamp, value) in enumerate(
        zip(block.keys, block.timestamps, block.values, strict=True)
    ):
        if limit.lets_through():
            yield f"  {row:>4}  {names.key(key)} @{timestamp}  {names.value(key, value)}"
    yield from limit.rest("rows")


def draw_key(seen: SeenFolder, key: bytes, names: KeyNames, limit: Limit) -> Lines:
    """Every version of a key: which file has it, and which files could say no without a look."""
    yield f"{names.key(key)}: {len(key)} bytes, 0x{key[:64].hex()}{'...' if len(key) > 64 else ''}"
    versions = 0
    for number in reversed(seen.log_numbers):
        in_log = seen.versions_in_log(number, key)
        yield f"{log_name(number)}  " + (_count(len(in_log), "version") if in_log else "not in this segment")
        for found in in_log:
            if limit.lets_through():
                value = names.value(key, found.value)
                yield f"  @{found.timestamp} in the record at byte {found.offset}  {value}"
        versions += len(in_log)
    for entry in sorted(seen.state.tables, key=lambda entry: (entry.level, -entry.largest_timestamp)):
        in_table = seen.versions_in_table(entry, key)
        yield f"{table_name(entry.number)}  level {entry.level}: {_verdict(in_table)}"
        for timestamp, stored in in_table.versions:
            if limit.lets_through():
                yield f"  @{timestamp}  {names.value(key, stored)}"
        versions += len(in_table.versions)
    yield from limit.rest("versions")
    for tombstone in reversed(seen.range_tombstones().all):
        if tombstone.meets(key, key + b"\0"):
            at = tombstone.timestamp
            covering = _range(tombstone.lo, tombstone.hi, names)
            yield f"deleted at {at}: {covering}; no version below {at} counts"
    yield f"{_count(versions, 'version')} in all"


def _verdict(found: FoundInTable) -> str:
    if not found.is_in_range:
        says = "maybe" if found.filter_says_maybe else "no"
        return f"the key is outside its range (its bloom filter would say {says})"
    if not found.filter_says_maybe:
        return "its bloom filter says no"
    read = (
        "no block may hold it" if not found.blocks else f"block {', '.join(map(str, found.blocks))} was read"
    )
    if not found.versions:
        return f"its bloom filter says maybe, {read}, and it is not there: a false positive"
    return f"its bloom filter says maybe, {read}: {_count(len(found.versions), 'version')}"


def _draw_end(table: TableFile, footer: Footer, names: KeyNames) -> Lines:
    """Index, filter, properties, footer."""
    yield _frame_line("index", footer.index, table.facts(footer.index))
    seen = table.filter(footer)
    share = seen.bits_set / (seen.word_count * 64)
    note = f"bloom filter of {_count(seen.word_count, 'word')} of 64 bits, {share:.0%} of them set"
    yield _frame_line("filter", footer.filter, table.facts(footer.filter), note)
    yield _frame_line("properties", footer.properties, table.facts(footer.properties))
    found = table.properties(footer)
    tombstones = _count(found.tombstone_count, "tombstone")
    yield f"          {_count(found.entry_count, 'version')}, {tombstones} among them"
    yield f"          keys {names.key(found.smallest_key)} to {names.key(found.largest_key)}"
    if table.ingested_at:
        yield f"          ingested: all rows are of commit {table.ingested_at}, and have 0 in the file"
    else:
        yield f"          commits {found.smallest_timestamp} to {found.largest_timestamp}"
    if found.blocks_checksum is not None:
        yield f"          checksum of all blocks {found.blocks_checksum:08x}"
    offset = table.size_bytes - FOOTER_BYTES
    yield (
        f"byte {offset}  footer, {FOOTER_BYTES} bytes, its checksum is right: "
        f"index at {footer.index.offset}, filter at {footer.filter.offset}, "
        f"properties at {footer.properties.offset}"
    )


def _wrong_checksum(what: str, path: str, section: Section, facts: FrameFacts) -> CorruptionError | None:
    if facts.is_sound:
        return None
    return CorruptionError(f"the checksum of the {what} is wrong", file=path, offset=section.offset)


def _header_line(magic: bytes, version: int) -> str:
    """Of a header that `check_header` has accepted."""
    return (
        f"byte 0  header, {HEADER_BYTES} bytes: {magic[:-1].decode()}, version {version}, "
        "checksums are crc32, its own is right"
    )


def _record_lines(record: SeenRecord, names: KeyNames, most: int) -> Lines:
    what = f"mark of commit {record.timestamp}" if record.is_mark else f"commit {record.timestamp}"
    yield (
        f"byte {record.offset}  {what}, {record.end - record.offset} bytes, "
        f"crc32 {record.checksum:08x} right, {record.synced_bytes} bytes were synced"
    )
    for lo, hi in record.deleted_ranges[: most or None]:
        yield f"          delete {_range(lo, hi, names)}"
    if most and len(record.deleted_ranges) > most:
        yield f"          ... and {len(record.deleted_ranges) - most:,} more ranges (--limit 0 shows all)"
    for key, value in record.writes[: most or None]:
        if value is None:
            yield f"          delete {names.key(key)}"
        else:
            yield f"          put {names.key(key)}  {names.value(key, value)}"
    if most and len(record.writes) > most:
        yield f"          ... and {len(record.writes) - most:,} more writes (--limit 0 shows all)"


def _reserved_lines(zeros: ReservedBytes) -> Lines:
    yield f"byte {zeros.offset}  zeros, {zeros.end - zeros.offset:,} bytes: space for more records"


def _range(lo: bytes, hi: bytes | None, names: KeyNames) -> str:
    return f"all keys from {names.key(lo)} to " + ("the end" if hi is None else f"before {names.key(hi)}")


def _bad_lines(bad: BadBytes) -> Lines:
    yield f"byte {bad.offset}  BAD, {bad.end - bad.offset} bytes: {bad.problem}"


def _edit_lines(seen: SeenEdit, names: KeyNames) -> Lines:
    yield f"byte {seen.offset}  edit, {seen.end - seen.offset} bytes, crc32 {seen.checksum:08x} right"
    for number in seen.edit.removed:
        yield f"          remove {table_name(number)}"
    for entry in seen.edit.added:
        yield f"          add to level {entry.level}: {_table_line(entry, names)}"
    for lo, hi, timestamp in seen.edit.deleted_ranges:
        yield f"          deleted at {timestamp}: {_range(lo, hi, names)}"
    for lo, hi, timestamp in seen.edit.settled_ranges:
        yield f"          settled, deleted at {timestamp}: {_range(lo, hi, names)}"
    for field in fields(ManifestEdit):
        value = getattr(seen.edit, field.name)
        if isinstance(value, int):
            yield f"          {field.name.replace('_', ' ')} is {value}"


def _table_line(entry: TableEntry, names: KeyNames) -> str:
    commits = f"commits {entry.smallest_timestamp} to {entry.largest_timestamp}"
    if entry.ingested_at:
        commits = f"ingested at commit {entry.ingested_at}"
    return (
        f"{table_name(entry.number)}  {entry.file_bytes:,} bytes, {_count(entry.entry_count, 'version')}, "
        f"{commits}, "
        f"keys {names.key(entry.smallest_key)} to {names.key(entry.largest_key)}"
    )


def _frame_line(what: str, section: Section, facts: FrameFacts, note: str = "") -> str:
    checksum = f"crc32 {facts.stored_checksum:08x} "
    checksum += "right" if facts.is_sound else f"WRONG: the bytes give {facts.found_checksum:08x}"
    codec = f"codec {facts.codec}"
    if facts.is_sound and facts.codec in (CODEC_ZSTD, CODEC_LZ4):
        codec += f" ({CODEC_NAMES[facts.codec]})"
    line = f"byte {section.offset}  {what}, {section.length:,} bytes, {codec}, {checksum}"
    return f"{line}; {note}" if note else line


def _inflated(table: TableFile, section: Section, facts: FrameFacts) -> str:
    """Of a compressed block: what it has become from."""
    if facts.codec == CODEC_NONE or not facts.is_sound:
        return ""
    return f"; {table.body_bytes(section):,} bytes when decompressed"


def _block_range(table: TableFile, section: Section, facts: FrameFacts, names: KeyNames) -> str:
    """Of a sound block: its first row and its last key. The index does not say."""
    if not facts.is_sound:
        return ""
    try:
        block = table.block(section)
    except CorruptionError:
        return "its structure is not that of a block"
    return f"{names.key(block.keys[0])} @{block.timestamps[0]} to {names.key(block.keys[-1])}"


def _separator_lines(index: TableIndex, number: int) -> Lines:
    """What the index has between this block and the next."""
    if number == len(index.separators):
        return
    separator = show_bytes(index.separators[number], _SEPARATOR_CHARACTERS)
    after = index.continued.get(number + 1)
    goes_on = "" if after is None else f", which goes on in the next block with commit {after}"
    yield f"          separator {separator}{goes_on}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"

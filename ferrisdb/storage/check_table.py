"""Checking a table: are its bytes sound, and does each part say the truth about the others?

    blocks      checksum; keys ascending, the timestamps of one key descending, within a block
                and from block to block; newest timestamp and uniqueness as they are
    index       its separators lie between the blocks; which blocks go on with the key of the one
                before, and from which timestamp
    filter      knows every key
    properties  counts, keys, timestamps and checksum of all blocks together
    manifest    says of the table what the table says, and how long it is

A checksum tells of damage after writing. The rest would tell of a mistake in the writing: a
table out of order answers wrongly with every checksum right, and a filter that forgot a key
hides a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

from ferrisdb.errors import Error, MissingLibrary
from ferrisdb.storage.block import Block, chain_checksum
from ferrisdb.storage.bloom import fewest_keys_of
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.env import Env
from ferrisdb.storage.inspect_table import SeenFilter, TableFile
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.sstable_format import Footer, Section, TableProperties
from ferrisdb.storage.sstable_index import TableIndex

T = TypeVar("T")


@dataclass
class Counted:
    """What the sound blocks hold."""

    blocks: int = 0
    versions: int = 0
    tombstones: int = 0
    smallest_key: bytes | None = None
    largest_key: bytes | None = None
    smallest_timestamp: int = MAX_TIMESTAMP
    largest_timestamp: int = 0
    blocks_checksum: int = 0
    is_all: bool = True
    """No block was left out because it is damaged."""

    def take(self, block: Block) -> None:
        self.blocks += 1
        self.versions += len(block.keys)
        self.tombstones += block.values.count(None)
        self.smallest_key = block.keys[0] if self.smallest_key is None else self.smallest_key
        self.largest_key = block.keys[-1]
        self.smallest_timestamp = min(self.smallest_timestamp, *block.timestamps)
        self.largest_timestamp = max(self.largest_timestamp, *block.timestamps)


def check_table(
    env: Env,
    path: str,
    entry: TableEntry | None,
    findings: Findings,
    progress: Callable[[int], None],
) -> Counted:
    """Check one table, and that it is what the manifest's `entry` says; None when nobody knows.

    Raises MissingLibrary for a block that cannot be decompressed here.
    """
    try:
        table = TableFile(env, path, 0 if entry is None else entry.ingested_at)
    except Error as error:
        findings.add_error(error, path)
        return Counted()
    try:
        return _TableCheck(table, findings, progress).check(entry)
    finally:
        table.close()


class _TableCheck:
    def __init__(self, table: TableFile, findings: Findings, progress: Callable[[int], None]) -> None:
        self._table = table
        self._findings = findings
        self._progress = progress
        self._counted = Counted()
        self._last_row: tuple[bytes, int] | None = None
        self._found_before = len(findings.found)
        self._oldest = 1

    def check(self, entry: TableEntry | None) -> Counted:
        # Where nobody says what the table is, it may be one that was ingested.
        self._oldest = 0 if entry is None else 1
        table, size_bytes = self._table, self._table.size_bytes
        if entry is not None and size_bytes != entry.file_bytes:
            problem = f"the file has {size_bytes} bytes, and the manifest says {entry.file_bytes}"
            self._add(min(size_bytes, entry.file_bytes), problem)
        self._try(table.header)
        footer = self._try(table.footer, size_bytes)
        index = None if footer is None else self._try(lambda: table.index(footer))
        bloom = None if footer is None else self._try(lambda: table.filter(footer))
        properties = None if footer is None else self._try(lambda: table.properties(footer))
        if index is None:
            self._check_unindexed(footer, bloom)
        else:
            self._check_blocks(index, bloom)
        if properties is not None and footer is not None:
            if self._counted.is_all:
                self._check_properties(properties, footer.properties.offset)
            if entry is not None:
                self._check_entry(entry, properties, footer.properties.offset)
                if bloom is not None:
                    self._check_fewest_keys(entry, properties, bloom, footer.filter.offset)
        return self._counted

    def _check_blocks(self, index: TableIndex, bloom: SeenFilter | None) -> None:
        for number, section in enumerate(index.sections):
            block = self._sound_block(section)
            if block is None:
                continue
            if not index.has_place_for(number, block.keys[0], block.keys[-1]):
                self._add(section.offset, f"block {number} does not lie between its separators in the index")
            elif index.continued.get(number, block.timestamps[0]) != block.timestamps[0]:
                self._add(
                    section.offset, f"block {number} does not begin with the commit that the index says"
                )
            self._check_block(block, section, bloom)

    def _check_unindexed(self, footer: Footer | None, bloom: SeenFilter | None) -> None:
        """The blocks as far as they can be found without an index."""
        end = None
        for section in self._table.walk_blocks():
            end = section.end
            block = self._sound_block(section)
            if block is None:
                break
            self._check_block(block, section, bloom)
        else:
            if footer is not None and end is not None and end < footer.index.offset:
                self._add(end, "no block can be found here, and the index does not say where the next one is")
        self._counted.is_all = False

    def _sound_block(self, section: Section) -> Block | None:
        block = self._try(lambda: self._read_block(section), section.offset)
        self._progress(section.length)
        if block is not None and not _has_sound_types(block, self._oldest):
            self._add(section.offset, "the block holds what is neither a key, a timestamp nor a value")
            block = None
        if block is None:
            self._counted.is_all = False
            self._last_row = None
        return block

    def _read_block(self, section: Section) -> Block:
        frame = self._table.block_frame(section)
        self._counted.blocks_checksum = chain_checksum(frame, self._counted.blocks_checksum)
        return self._table.decode(frame, section.offset)

    def _check_block(self, block: Block, section: Section, bloom: SeenFilter | None) -> None:
        self._check_order(block, section.offset)
        keys = set(block.keys)
        newest = max(block.timestamps)
        if block.newest_timestamp != newest:
            problem = f"the block says its newest commit is {block.newest_timestamp}, and it is {newest}"
            self._add(section.offset, problem)
        if block.has_unique_keys != (len(keys) == len(block.keys)):
            self._add(
                section.offset, f"the block does not have as many different keys as it says: {len(keys)}"
            )
        if bloom is not None:
            forgotten = [key for key in keys if not bloom.filter.may_contain(key)]
            if forgotten:
                problem = (
                    f"the bloom filter denies {len(forgotten)} keys of the block, as {min(forgotten)[:40]!r}"
                )
                self._add(section.offset, problem)
        self._counted.take(block)

    def _check_order(self, block: Block, offset: int) -> None:
        last = self._last_row
        for row, (key, timestamp) in enumerate(zip(block.keys, block.timestamps, strict=True)):
            if last is not None and not (last[0] < key or (last[0] == key and last[1] > timestamp)):
                where = "the block before" if row == 0 else f"row {row - 1}"
                self._add(
                    offset, f"row {row} of the block, {key[:40]!r} at {timestamp}, does not follow {where}"
                )
                break
            last = key, timestamp
        self._last_row = block.keys[-1], block.timestamps[-1]

    def _check_properties(self, properties: TableProperties, offset: int) -> None:
        counted = self._counted
        truth: dict[str, object] = {
            "entry_count": counted.versions,
            "tombstone_count": counted.tombstones,
            "smallest_key": counted.smallest_key,
            "largest_key": counted.largest_key,
            "smallest_timestamp": counted.smallest_timestamp,
            "largest_timestamp": counted.largest_timestamp,
            "blocks_checksum": counted.blocks_checksum,
        }
        if properties.blocks_checksum is None:
            del truth["blocks_checksum"]
        for name, value in truth.items():
            if getattr(properties, name) != value:
                self._add(
                    offset, f"the properties say {name} {getattr(properties, name)!r}, and it is {value!r}"
                )

    def _check_entry(self, entry: TableEntry, properties: TableProperties, offset: int) -> None:
        names = [field.name for field in fields(entry) if hasattr(properties, field.name)]
        if self._has_findings:
            # They follow from the rows, and would tell of the same damage once more.
            names = [name for name in names if name not in ("tombstone_count", "blocks_checksum")]
        for name in names:
            said, found = getattr(entry, name), getattr(properties, name)
            # What an older version's entry does not say is None there.
            if said not in (found, None) and name != "file_bytes":
                self._add(
                    offset, f"the manifest says {name} {said!r}, the table {found!r}: not the same table"
                )

    @property
    def _has_findings(self) -> bool:
        """Whether the table is damaged by what has been found so far."""
        return len(self._findings.found) > self._found_before

    def _check_fewest_keys(
        self, entry: TableEntry, properties: TableProperties, bloom: SeenFilter, offset: int
    ) -> None:
        fewest = min(properties.entry_count, fewest_keys_of(bloom.word_count))
        if entry.fewest_keys not in (fewest, None) and not self._has_findings:
            problem = f"the manifest says fewest_keys {entry.fewest_keys}, the filter's length {fewest}"
            self._add(offset, problem)

    def _try(self, read: Callable[[], T], offset: int = 0) -> T | None:
        """What `read` gives; None when it was refused, which is a finding then."""
        try:
            return read()
        except MissingLibrary:
            raise  # says nothing of the table
        except Error as error:
            self._findings.add_error(error, self._table.path, offset)
            return None

    def _add(self, offset: int, problem: str) -> None:
        self._findings.add(self._table.path, offset, problem)


def _has_sound_types(block: Block, oldest: int) -> bool:
    return (
        set(map(type, block.keys)) == {bytes}
        and {bytes, type(None)}.issuperset(map(type, block.values))
        and set(map(type, block.timestamps)) == {int}
        and oldest <= min(block.timestamps) <= max(block.timestamps) <= MAX_TIMESTAMP
    )

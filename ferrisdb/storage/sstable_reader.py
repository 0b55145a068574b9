"""Reading an SSTable: what is asked of it is answered from memory, or from one block.

    read(key, timestamp)
      bloom filter ----- "certainly not here" (of 100 absent keys, 99 end here)
      index: bisect ---- the one block that may hold the key
      block cache ------ decoded already?
      file ------------- read_at, checksum, decode, into the cache
      block: bisect ---- the newest version at or below the timestamp

An open table keeps its index and its filter in memory: some 60 bytes a block and what the keys
on both sides of it have in common, and 14 bits a key. Blocks come through the cache. The index
has no keys of blocks, only what separates them (sstable_index.py), so a key between two blocks
is looked for in one of them.

The versions of one key may run over several blocks (a counter that every transaction
updates). The index holds the timestamp of the first row of each block that goes on with the
key of the one before, so a reader of an old timestamp passes over the blocks that begin and
end with newer versions of the key. In a scan such a key belongs to the first block that holds
it, and the others leave it out:

    block 4 [ ... k9 k8 k7 ]   block 5 [ k6 k5 k4 ]   block 6 [ k3 m1 ... ]
              gives k                   gives nothing           gives m and on

A table that recovery finds is *promised*: the manifest says what is in it, which is all that
the tree, compactions and statistics ask about, and nothing is read. Whoever asks for a key first
reads index and filter, and finds out whether the promise was true; others who come meanwhile
wait. A compaction opens files itself, perhaps in another process, and compares them, too. So a
database opens in a time that does not grow with its tables. The hot path pays one comparison
with None; `__getattr__`, which is called only for what is missing, would cost more, since CPython
3.11 specializes no attribute of a class that has one.

A reader trusts nothing it has not checked: each block's checksum, and that its keys lie
between the separators around it. Damage is a CorruptionError with the file and the offset of
the part.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ferrisdb.errors import CorruptionError, InterfaceError
from ferrisdb.storage.block import Block, clip, decode_block, malformed, stamped, unframe, unpack
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.bloom import BloomFilter, fewest_keys_of, words_for
from ferrisdb.storage.env import Env, ReadFile
from ferrisdb.storage.file_header import HEADER_BYTES, SSTABLE_MAGIC, check_header
from ferrisdb.storage.read_counts import ReadCounts
from ferrisdb.storage.sstable_format import (
    FOOTER_BYTES,
    Section,
    TableProperties,
    decode_footer,
)
from ferrisdb.storage.sstable_index import TableIndex, decode_index
from ferrisdb.storage.version import MISSING, Chunk, Found, Rows


class SSTableReader:
    """An open SSTable. Any thread may read; nobody may read after `close`.

    Every read raises CorruptionError where it meets damage, StorageError where the
    operating system refuses.
    """

    properties: TableProperties
    number: int
    """Of its file."""
    fewest_keys: int
    """It has at least so many different keys, and at most four more: the filter's length tells."""
    counts: ReadCounts
    """Those of its level, once it has one (`LiveSources`); before that its own."""

    _promised_by: Env
    _file: ReadFile
    _index: TableIndex
    _separators: list[bytes]
    _continued: dict[int, int]
    _lengths: Sequence[int]
    _offsets: array[int]
    _smallest_key: bytes
    _largest_key: bytes

    def __init__(self, path: str, file_number: int, cache: BlockCache, ingested_at: int = 0) -> None:
        """Has nothing yet; `open` and `promised` are the ways to call it."""
        self.ingested_at = ingested_at
        """The commit of all rows, where the file itself has zeros; else 0."""
        self._path = path
        self.number = file_number
        self._cache = cache
        self.counts = ReadCounts()
        self._filter: BloomFilter | None = None
        """None: nothing but the promise is there. The last part to be set."""
        self._is_closed = False
        self._first_read = threading.Lock()

    def _read_parts(self, file: ReadFile) -> None:
        """All but the blocks."""
        self._file, path = file, self._path
        file_bytes = file.size()
        if file_bytes < HEADER_BYTES + FOOTER_BYTES:
            raise CorruptionError("the file is too short for an SSTable", file=path, offset=file_bytes)
        check_header(file.read_at(0, HEADER_BYTES), SSTABLE_MAGIC, path)
        footer_offset = file_bytes - FOOTER_BYTES
        footer = decode_footer(file.read_at(footer_offset, FOOTER_BYTES), path, footer_offset)
        bloom = self._read_filter(footer.filter)
        self.properties = self._read_properties(footer.properties, file_bytes)
        self.fewest_keys = min(self.properties.entry_count, fewest_keys_of(bloom.word_count))
        self._read_index(footer.index)
        self._filter = bloom

    @classmethod
    def open(
        cls, env: Env, path: str, file_number: int, cache: BlockCache, ingested_at: int = 0
    ) -> SSTableReader:
        """Open the table at `path`; `file_number` names its blocks in `cache`. `ingested_at` is
        what the manifest says of it: all that is read is then of that commit.

        Raises FileNotFoundError, CorruptionError, FormatVersionError, StorageError.
        """
        table = cls(path, file_number, cache, ingested_at)
        file = env.open_read(path)
        try:
            table._read_parts(file)
        except BaseException:
            file.close()
            raise
        return table

    @classmethod
    def promised(
        cls,
        env: Env,
        path: str,
        file_number: int,
        cache: BlockCache,
        *,
        properties: TableProperties,
        fewest_keys: int,
        ingested_at: int = 0,
    ) -> SSTableReader:
        """The table at `path`, of which this is known and nothing is read before it is needed.

        That read raises what `open` does, and CorruptionError when the file is missing or not
        what was promised; the next one tries again.
        """
        table = cls(path, file_number, cache, ingested_at)
        table.properties = properties
        table.fewest_keys = fewest_keys
        table._promised_by = env
        # Filled in place: who waits for the table's last reader holds this very sequence.
        table._offsets = array("Q")
        return table

    def close(self) -> None:
        """Close the file and free its blocks in the cache."""
        with self._first_read:
            self._is_closed = True
        self._cache.drop(self.number, self._offsets)
        if self._filter is not None:
            self._file.close()

    def read(self, key: bytes, timestamp: int, floor: int = 0) -> Found:
        """The newest version of `key` at or below `timestamp`; None when it is below `floor`."""
        if floor and floor > self.properties.largest_timestamp:
            return MISSING
        number = self._find_block(key)
        return MISSING if number is None else self._read_from(number, key, timestamp, floor)

    def newest_timestamp(self, key: bytes) -> int:
        """The timestamp of the newest version of `key`, tombstones included; 0 when absent."""
        number = self._find_block(key)
        if number is None:
            return 0
        newest = self._block(number).newest_timestamp_of(key)
        if newest == 0:
            self.counts.bloom_false_positives += 1
        return newest

    def versions(self, key: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Timestamp and value of each version of `key`, newest first; None is a tombstone."""
        for number in self.blocks_between(key, key + b"\0"):
            block = self._block(number)
            span = slice(bisect_left(block.keys, key), bisect_right(block.keys, key))
            yield from zip(block.timestamps[span], block.values[span], strict=True)

    def newest_timestamp_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest of all versions of keys with lo <= key < hi; 0 when there is none."""
        found = self.properties
        if lo <= found.smallest_key and (hi is None or found.largest_key < hi):
            return found.largest_timestamp
        numbers = self.blocks_between(lo, hi)
        return max((self._block(number).newest_timestamp_in(lo, hi) for number in numbers), default=0)

    def holds_below(self, lo: bytes, hi: bytes | None, floor: int) -> bool:
        """Whether a version below `floor` of a key with lo <= key < hi is here."""
        if self.properties.smallest_timestamp >= floor:
            return False
        for number in self.blocks_between(lo, hi):
            block = self._load(number)
            start = bisect_left(block.keys, lo)
            stop = len(block.keys) if hi is None else bisect_left(block.keys, hi)
            if min(block.timestamps[start:stop], default=floor) < floor:
                return True
        return False

    def blocks_between(self, lo: bytes, hi: bytes | None) -> range:
        """Numbers of the blocks that may hold a key with lo <= key < hi."""
        if self._filter is None:
            self._keep_promise()
        return self._index.blocks_between(lo, hi)

    def chunks(
        self, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False, floor: int = 0
    ) -> Iterator[Chunk]:
        """What a reader at `timestamp` sees of lo <= key < hi, in order, a block at a time.

        `hi` None means to the end. No version below `floor` counts. A block is read when its
        chunk is asked for.
        """
        if floor > self.properties.largest_timestamp:
            return
        if floor <= self.properties.smallest_timestamp:
            # It hides nothing here, and blocks need not be looked through.
            floor = 0
        numbers = self.blocks_between(lo, hi)
        first, last = numbers.start, numbers.stop - 1
        for number in reversed(numbers) if reverse else numbers:
            chunk = self._visible(number, timestamp, floor)
            # Those between lie within lo and hi, as the separators around them do.
            if number in (first, last):
                chunk = clip(chunk, lo, hi)
            keys, values = chunk
            if keys:
                yield (keys[::-1], values[::-1]) if reverse else chunk

    def entries(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Every version: keys ascending, timestamps of one key descending.

        Goes past the cache: it is for those who read the file once, to check or rewrite it.
        """
        for number in self.blocks_between(b"", None):
            block = self._load(number)
            yield from zip(block.keys, block.timestamps, block.values, strict=True)

    def runs(self) -> Iterator[Rows]:
        """Every version, as columns, some blocks at a time; past the cache, as `entries`.

        All versions of a key are in one run, so a run is as long as its longest key's.
        """
        keys: list[bytes] = []
        timestamps: list[int] = []
        values: list[bytes | None] = []
        for number in self.blocks_between(b"", None):
            block = self._load(number)
            if not keys and number + 1 not in self._continued:
                yield block.keys, block.timestamps, block.values
                continue
            keys += block.keys
            timestamps += block.timestamps
            values += block.values
            stop = bisect_left(keys, keys[-1]) if number + 1 in self._continued else len(keys)
            if stop:
                yield keys[:stop], timestamps[:stop], values[:stop]
                keys, timestamps, values = keys[stop:], timestamps[stop:], values[stop:]

    @property
    def has_only_newest(self) -> bool:
        """Whether it has one version of each key, and a value; up to four others may hide.

        The length of the filter tells how many keys there are, by steps of four or five.
        """
        found = self.properties
        return found.tombstone_count == 0 and words_for(self.fewest_keys) == words_for(found.entry_count)

    @property
    def offsets(self) -> Sequence[int]:
        """Of its blocks, which name them in the cache. Read, never write. Empty until the first
        read of a promised table, which fills this very sequence: hold it, and it will be right.
        """
        return self._offsets

    def _find_block(self, key: bytes) -> int | None:
        """The first block that may hold `key`."""
        while (bloom := self._filter) is None:
            self._keep_promise()
        if not bloom.may_contain(key):
            self.counts.bloom_negatives += 1
            return None
        if key > self._largest_key or key < self._smallest_key:
            self.counts.absent_in_index += 1
            self.counts.bloom_false_positives += 1
            return None
        return bisect_left(self._separators, key)

    def _keep_promise(self) -> None:
        """Read the parts of a promised table, and compare them with the promise."""
        with self._first_read:
            if self._filter is not None:
                return
            if self._is_closed:
                raise InterfaceError(f"{self._path} is closed")
            found = self._open_promised()
            try:
                if found.properties != self.properties or found.fewest_keys != self.fewest_keys:
                    raise not_the_one(self._path)
                self._take_parts(found)
            except BaseException:
                found.close()
                raise
            # Last, for who sees it waits no longer, and uses all the others.
            self._filter = found._filter

    def _open_promised(self) -> SSTableReader:
        try:
            return SSTableReader.open(
                self._promised_by, self._path, self.number, self._cache, self.ingested_at
            )
        except FileNotFoundError as error:
            raise CorruptionError("a table is missing", file=self._path, offset=0) from error

    def _take_parts(self, found: SSTableReader) -> None:
        self._offsets[:] = found._offsets
        self._index = replace(found._index, offsets=self._offsets)
        self._separators = found._separators
        self._continued = found._continued
        self._lengths = found._lengths
        self._smallest_key = found._smallest_key
        self._largest_key = found._largest_key
        self._file = found._file

    def _read_from(self, number: int, key: bytes, timestamp: int, floor: int) -> Found:
        """Search block `number`, whose range covers `key`, and those its versions run on to."""
        while number + 1 in self._continued and self._separators[number] == key:
            # Where the next block does not begin below the reader's timestamp, all that this
            # one holds of the key is too new for the reader.
            if self._continued[number + 1] < timestamp:
                found = self._block(number).read(key, timestamp, floor)
                if found is not MISSING:
                    return found
                self.counts.further_blocks += 1
            number += 1
        block = self._block(number)
        found = block.read(key, timestamp, floor)
        # A key whose versions are all too new is there, and the filter was right.
        if found is MISSING and block.newest_timestamp_of(key) == 0:
            self.counts.bloom_false_positives += 1
        return found

    def _visible(self, number: int, timestamp: int, floor: int) -> Chunk:
        """What a reader at `timestamp` sees of the keys that begin in block `number`."""
        if not self._continued:
            self.counts.scanned_blocks += 1
            return self._block(number).visible(timestamp, floor)
        separators = self._separators
        begins_within, ends_within = number in self._continued, number + 1 in self._continued
        if begins_within and ends_within and separators[number - 1] == separators[number]:
            return [], []
        self.counts.scanned_blocks += 1
        keys, values = self._block(number).visible(timestamp, floor)
        if begins_within and keys and keys[0] == separators[number - 1]:
            keys, values = keys[1:], values[1:]
        if ends_within and (not keys or keys[-1] != separators[number]):
            self.counts.scanned_blocks += 1
            last_key = separators[number]
            found = self._read_from(number + 1, last_key, timestamp, floor)
            if found is not MISSING:
                keys, values = [*keys, last_key], [*values, found]
        return keys, values

    def _block(self, number: int) -> Block:
        offset = self._offsets[number]
        block = self._cache.get(self.number, offset, self.counts)
        if block is None:
            block = self._load(number)
            self._cache.put(self.number, offset, block)
            self.counts.blocks_read += 1
            self.counts.read_bytes += self._lengths[number]
        return block

    def _load(self, number: int) -> Block:
        offset, length = self._offsets[number], self._lengths[number]
        block = decode_block(self._read(Section(offset, length), "block"), self._path, offset)
        if self.ingested_at:
            # Here, so that nothing above, the cache included, ever sees the zeros.
            block = stamped(block, self.ingested_at, self._path, offset)
        # A sound block in the wrong place: a write that went astray, or a mixed-up file. What
        # is not noticed is one whose keys happen to lie in the same gap between separators, as
        # those of the same block in another table of the same rows.
        first_key, last_key = block.keys[0], block.keys[-1]
        is_in_range = self._smallest_key <= first_key and last_key <= self._largest_key
        if not is_in_range or not self._index.has_place_for(number, first_key, last_key):
            raise CorruptionError("the block is not the one in the index", file=self._path, offset=offset)
        return block

    def _read(self, section: Section, what: str) -> bytes:
        data = self._file.read_at(section.offset, section.length)
        if len(data) < section.length:
            raise CorruptionError(f"the {what} is cut short", file=self._path, offset=section.offset)
        return data

    def _read_body(self, section: Section, what: str) -> bytes:
        return unframe(self._read(section, what), self._path, section.offset, what)

    def _read_filter(self, section: Section) -> BloomFilter:
        body = self._read_body(section, "filter")
        try:
            return BloomFilter(body)
        except ValueError as error:
            raise malformed("filter", self._path, section.offset) from error

    def _read_properties(self, section: Section, file_bytes: int) -> TableProperties:
        body = self._read_body(section, "properties block")
        summary = unpack(body, self._path, section.offset, "properties block")
        try:
            found = TableProperties.from_stored(summary, file_bytes)
            return found.stamped(self.ingested_at) if self.ingested_at else found
        except (ValueError, TypeError) as error:
            raise malformed("properties block", self._path, section.offset) from error

    def _read_index(self, section: Section) -> None:
        stored = unpack(self._read_body(section, "index"), self._path, section.offset, "index")
        self._index = decode_index(stored, self._path, section)
        # Its fields once more, and the ends of the table: one step less for each read.
        self._separators = self._index.separators
        self._continued = self._index.continued
        self._offsets = self._index.offsets
        self._lengths = self._index.lengths
        self._smallest_key = self.properties.smallest_key
        self._largest_key = self.properties.largest_key


def not_the_one(path: str) -> CorruptionError:
    return CorruptionError("the table is not the one that the manifest names", file=path, offset=0)

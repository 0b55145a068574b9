"""An SSTable gives back what was written, at any timestamp, or says where it is damaged."""

from __future__ import annotations

from hashlib import sha256
from zlib import crc32

import pytest
import version_model as model
from hypothesis import assume, given
from hypothesis import strategies as st

from ferrisdb.errors import CorruptionError, FormatVersionError, InvariantViolation
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.sstable_format import FOOTER_BYTES, TableProperties, decode_footer
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.storage.version import MISSING

PATH = "000001.sst"

block_sizes = st.sampled_from([1, 20, 60, 4096])


def table_of(versions: model.Versions, block_bytes: int = 4096, *, cache_bytes: int = 1 << 20):
    env = MemoryEnv()
    write_sstable(env, PATH, model.entries(versions), block_bytes=block_bytes)
    return SSTableReader.open(env, PATH, 1, BlockCache(cache_bytes))


class CountingEnv(MemoryEnv):
    """Counts the reads of files that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def open_read(self, path):
        file = super().open_read(path)
        read_at = file.read_at

        def counted(offset, length):
            self.reads += 1
            return read_at(offset, length)

        file.read_at = counted
        return file


@given(model.versions, block_sizes, model.timestamps)
def test_point_reads_answer_as_the_model_does(versions, block_bytes, timestamp):
    assume(versions)
    table = table_of(versions, block_bytes)
    for key in [*versions, b"absent", b"", b"\xff" * 4]:
        assert table.read(key, timestamp) == model.read(versions, key, timestamp)
        assert table.newest_timestamp(key) == max(versions.get(key, [0]))


@given(model.versions, block_sizes, model.timestamps, st.booleans())
def test_ranges_answer_as_the_model_does(versions, block_bytes, timestamp, reverse):
    assume(versions)
    table = table_of(versions, block_bytes)
    # Every pair of bounds; all but the first read cached blocks, which must be as good.
    for lo in [b"", b"b", *versions]:
        for hi in [None, b"b", *versions]:
            found = model.rows(table.chunks(lo, hi, timestamp, reverse=reverse))
            assert found == model.visible(versions, lo, hi, timestamp, reverse=reverse)


@given(model.versions, block_sizes)
def test_every_version_comes_back_in_file_order(versions, block_bytes):
    assume(versions)
    assert list(table_of(versions, block_bytes).entries()) == model.entries(versions)


def checksum_of_checksums(env: MemoryEnv) -> int:
    """As docs/formats.md has it."""
    table = TableFile(env, PATH)
    data = env.read_file(PATH)
    return crc32(b"".join(data[block.end - 4 : block.end] for block in table.index(table.footer()).sections))


@given(st.binary(), st.binary())
def test_tables_of_different_content_have_different_checksums(one: bytes, other: bytes):
    """Of equal length, too: the crc32 of whole blocks would be the same for all of these."""
    env = MemoryEnv()
    found = [
        write_sstable(env, PATH, [(b"a", 1, value), (b"b", 1, b"")], block_bytes=1).blocks_checksum
        for value in (one, other, one[::-1])
    ]
    assert (found[0] == found[1]) == (one == other)
    assert (found[0] == found[2]) == (one == one[::-1])


@given(model.versions, block_sizes)
def test_the_properties_are_true(versions, block_bytes):
    assume(versions)
    env = MemoryEnv()
    entries = model.entries(versions)
    written = write_sstable(env, PATH, entries, block_bytes=block_bytes)
    assert written == TableProperties(
        entry_count=len(entries),
        tombstone_count=sum(value is None for _, _, value in entries),
        smallest_key=min(versions),
        largest_key=max(versions),
        smallest_timestamp=min(at for _, at, _ in entries),
        largest_timestamp=max(at for _, at, _ in entries),
        file_bytes=len(env.read_file(PATH)),
        blocks_checksum=checksum_of_checksums(env),
    )
    assert SSTableReader.open(env, PATH, 1, BlockCache(0)).properties == written
    assert TableProperties.from_fields(written.to_fields()) == written


@pytest.mark.parametrize("fields", [None, 7, [], [1, 0, b"a", b"b", 1, 1], [1, 0, "a", b"b", 1, 1, 90]])
def test_fields_of_another_shape_are_no_properties(fields):
    with pytest.raises(ValueError, match="not the properties"):
        TableProperties.from_fields(fields)


@pytest.mark.parametrize("timestamp", range(0, 1001, 37))
def test_a_key_whose_versions_fill_many_blocks_is_found_by_reading_one(timestamp):
    env = CountingEnv()
    hot = [(b"hot", at, b"%d" % at) for at in range(1000, 0, -1)]
    entries = [(b"a", 1, b"v"), *hot, (b"z", 1, b"v")]
    write_sstable(env, PATH, entries, block_bytes=200)
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    env.reads = 0

    found = table.read(b"hot", timestamp)

    assert found == (b"%d" % timestamp if timestamp else MISSING)
    assert env.reads <= 2, "the index says which block the reader's version is in"
    seen = [(b"a", b"v")] * (timestamp >= 1) + [(b"hot", found)] * (timestamp >= 1)
    seen += [(b"z", b"v")] * (timestamp >= 1)
    assert model.rows(table.chunks(b"", None, timestamp)) == seen
    assert model.rows(table.chunks(b"", None, timestamp, reverse=True)) == seen[::-1]


def test_absent_keys_seldom_touch_the_file():
    env = CountingEnv()
    write_sstable(env, PATH, [(b"%06d" % (2 * n), 1, b"v") for n in range(5000)], block_bytes=4096)
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    env.reads = 0
    for number in range(5000):
        assert table.read(b"%06d" % (2 * number + 1), 9) is MISSING
    assert env.reads < 5000 * 0.02


def test_a_scan_reads_no_block_before_it_is_asked_for():
    env = CountingEnv()
    write_sstable(env, PATH, [(b"%06d" % n, 1, b"v" * 50) for n in range(5000)], block_bytes=4096)
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    env.reads = 0
    scan = table.chunks(b"002000", None, 9)
    assert env.reads == 0
    next(scan)
    assert env.reads == 1


def test_a_block_read_again_comes_from_the_cache_until_the_table_is_closed():
    cache = BlockCache(1 << 20)
    env = CountingEnv()
    write_sstable(env, PATH, [(b"a", 1, b"v")], block_bytes=4096)
    table = SSTableReader.open(env, PATH, 1, cache)
    env.reads = 0
    for _ in range(10):
        assert table.read(b"a", 1) == b"v"
    assert (env.reads, table.counts.cache_hits, cache.misses) == (1, 9, 1)
    table.close()
    assert cache.size_bytes == 0


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(b"b", 1, b"v"), (b"a", 1, b"v")],
        [(b"a", 1, b"v"), (b"a", 2, b"v")],
        [(b"a", 1, b"v"), (b"a", 1, b"w")],
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 4096])
def test_entries_out_of_order_are_refused(entries, block_bytes):
    with pytest.raises(InvariantViolation):
        write_sstable(MemoryEnv(), PATH, entries, block_bytes=block_bytes)


# --- damage -----------------------------------------------------------------------------

SMALL: model.Versions = {
    b"apple": {3: b"red", 1: b"green"},
    b"hot": {at: b"%d" % at for at in range(1, 9)},
    b"pear": {7: None, 2: b"yellow"},
}


def small_file() -> bytes:
    env = MemoryEnv()
    write_sstable(env, PATH, model.entries(SMALL), block_bytes=40)
    return env.read_file(PATH)


def read_all(data: bytes) -> None:
    env = MemoryEnv()
    file = env.create(PATH)
    file.append(data)
    file.close()
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    assert list(table.entries()) == model.entries(SMALL)
    for timestamp in (1, 5, 9):
        for reverse in (False, True):
            found = model.rows(table.chunks(b"", None, timestamp, reverse=reverse))
            assert found == model.visible(SMALL, b"", None, timestamp, reverse=reverse)


def parts_of(data: bytes) -> list[int]:
    """Where the parts of the file begin."""
    env = MemoryEnv()
    file = env.create(PATH)
    file.append(data)
    offsets = SSTableReader.open(env, PATH, 1, BlockCache(0))._offsets
    footer_offset = len(data) - FOOTER_BYTES
    footer = decode_footer(data[footer_offset:], PATH, footer_offset)
    return [*offsets, footer.index.offset, footer.filter.offset, footer.properties.offset, footer_offset]


def test_the_bytes_are_the_file_formats_and_may_never_change():
    """A change here is a new format version, and the old one must stay readable."""
    data = small_file()
    # Not by its crc32: that does not depend on what stands before a crc32 in it.
    assert (len(data), sha256(data).hexdigest()[:16]) == (320, "a56e9ee1c6b48617")


def test_every_flipped_byte_is_found_and_the_damaged_part_named():
    data = small_file()
    read_all(data)
    parts = parts_of(data)
    assert len(parts) > 7, "the table should have several blocks"
    for position in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(CorruptionError) as caught:
                read_all(bytes(damaged))
            assert caught.value.file == PATH
            if position < HEADER_BYTES:
                assert caught.value.offset < HEADER_BYTES
            else:
                assert caught.value.offset == max(part for part in parts if part <= position)


def test_every_cut_and_every_addition_is_found():
    data = small_file()
    for length in range(len(data)):
        with pytest.raises(CorruptionError) as caught:
            read_all(data[:length])
        assert caught.value.file == PATH
        assert 0 <= caught.value.offset <= length
    for more in (b"\0", b"\0" * FOOTER_BYTES, data[-FOOTER_BYTES:], data):
        with pytest.raises(CorruptionError):
            read_all(data + more)


def test_a_file_that_shrinks_while_it_is_open_is_found():
    env = MemoryEnv()
    write_sstable(env, PATH, model.entries(SMALL), block_bytes=40)
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    env.truncate(PATH, HEADER_BYTES + 10)
    with pytest.raises(CorruptionError, match="cut short") as caught:
        table.read(b"apple", 9)
    assert caught.value.offset == HEADER_BYTES


def test_a_sound_block_in_the_wrong_place_is_found():
    """Two tables of the same shape, and a write of one that landed in the other."""
    tables = []
    for letter in (b"a", b"b"):
        env = MemoryEnv()
        write_sstable(env, PATH, [(letter + b"%03d" % n, 1, b"v") for n in range(9)], block_bytes=40)
        tables.append(env.read_file(PATH))
    ours, theirs = tables
    block = slice(HEADER_BYTES, parts_of(ours)[1])
    mixed = bytearray(ours)
    mixed[block] = theirs[block]
    env = MemoryEnv()
    env.create(PATH).append(bytes(mixed))
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    with pytest.raises(CorruptionError, match="not the one in the index"):
        table.read(b"a000", 9)


def test_a_table_of_a_newer_format_names_both_versions():
    from zlib import crc32

    data = bytearray(small_file())
    data[8:10] = (3).to_bytes(2, "little")
    data[12:16] = crc32(bytes(data[:12])).to_bytes(4, "little")
    with pytest.raises(FormatVersionError, match=r"version 3.*version 2"):
        read_all(bytes(data))


def test_a_table_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        SSTableReader.open(MemoryEnv(), PATH, 1, BlockCache(0))

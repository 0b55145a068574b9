"""The index finds the block of a key by separators that are as short as they can be."""

from __future__ import annotations

from itertools import product

import msgpack
import pytest
import version_model as model
from forged_table import ForgedTable
from hypothesis import assume, given
from hypothesis import strategies as st

from ferrisdb.errors import CorruptionError
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.check_table import check_table
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.sstable_format import Section
from ferrisdb.storage.sstable_index import TableIndex, decode_index, shortest_separator
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable

PATH = "000001.sst"

edge_bytes = st.lists(st.sampled_from([0, 1, 2, 0x7F, 0xFE, 0xFF]), max_size=5).map(bytes)
keys = edge_bytes | st.binary(max_size=12)
pairs = st.tuples(keys | st.builds(bytes.__add__, st.just(b"order/2024"), keys), keys).map(sorted)
block_sizes = st.sampled_from([1, 20, 60, 4096])


@given(pairs)
def test_a_separator_separates_and_is_no_longer_than_a_key(pair: list[bytes]) -> None:
    last_key, first_key = pair
    assume(last_key != first_key)
    separator = shortest_separator(last_key, first_key)
    assert last_key <= separator < first_key
    assert len(separator) <= len(last_key)


def test_no_separator_is_shorter_and_none_of_its_length_is_smaller() -> None:
    """Every pair of short keys of a few letters, and every candidate there is."""
    letters = (0, 1, 2, 0xFE, 0xFF)
    short_keys = [bytes(word) for size in range(4) for word in product(letters, repeat=size)]
    # With the letter behind each of them; short before long, then in order.
    candidates = [
        bytes(word) for size in range(4) for word in product((*letters[:3], 3, *letters[3:]), repeat=size)
    ]
    for last_key in short_keys:
        for first_key in short_keys:
            if last_key < first_key:
                best = next(word for word in candidates if last_key <= word < first_key)
                assert shortest_separator(last_key, first_key) == best, (last_key, first_key)


@pytest.mark.parametrize(
    ("last_key", "first_key", "separator"),
    [
        (b"order/2024-11-30/0815", b"order/2025-01-02/0001", b"order/2025"),
        (b"apple", b"pear", b"b"),
        (b"", b"a", b""),
        (b"a", b"a\0", b"a"),
        (b"abc", b"b", b"ac"),
        (b"a\xff\xffb", b"b", b"a\xff\xffb"),
        (b"a\xff\xffbc", b"b", b"a\xff\xffc"),
        (b"key0", b"key1", b"key0"),
    ],
)
def test_separators_by_example(last_key: bytes, first_key: bytes, separator: bytes) -> None:
    assert shortest_separator(last_key, first_key) == separator


def index_of(env: MemoryEnv) -> TableIndex:
    table = TableFile(env, PATH)
    return table.index(table.footer())


def table_of(versions: model.Versions, block_bytes: int) -> MemoryEnv:
    env = MemoryEnv()
    write_sstable(env, PATH, model.entries(versions), block_bytes=block_bytes)
    return env


@given(model.versions, block_sizes)
def test_every_block_fits_in_its_place_and_in_that_of_no_other_keys(
    versions: model.Versions, block_bytes: int
) -> None:
    assume(versions)
    env = table_of(versions, block_bytes)
    index, table = index_of(env), TableFile(env, PATH)
    blocks = [table.block(section) for section in index.sections]
    assert index.continued == {
        number: blocks[number].timestamps[0]
        for number in range(1, len(blocks))
        if blocks[number].keys[0] == blocks[number - 1].keys[-1]
    }
    for number, block in enumerate(blocks):
        assert index.has_place_for(number, block.keys[0], block.keys[-1])
        for place, there in enumerate(blocks):
            if not set(block.keys) & set(there.keys):
                assert not index.has_place_for(place, block.keys[0], block.keys[-1])


@given(model.versions, block_sizes)
def test_a_range_is_looked_for_where_it_is_and_in_few_other_blocks(
    versions: model.Versions, block_bytes: int
) -> None:
    assume(versions)
    env = table_of(versions, block_bytes)
    index, table = index_of(env), TableFile(env, PATH)
    blocks = [table.block(section).keys for section in index.sections]
    ends = [b"", b"b", *versions, *(key + b"\0" for key in versions)]
    for lo in ends:
        for hi in [*ends, None]:
            wanted = {
                number
                for number, found in enumerate(blocks)
                if any(lo <= key and (hi is None or key < hi) for key in found)
            }
            between = set(index.blocks_between(lo, hi))
            assert wanted <= between
            assert len(between - wanted) <= 2, "one at either end, where lo or hi lies between two blocks"
            if hi == lo + b"\0" and lo in versions:
                assert wanted == between


# --- format version 1, which has the first and last key of each block ---------------------


def of_version_1(env: MemoryEnv) -> None:
    """Write the table anew as version 1 would have."""
    table = ForgedTable(env, PATH)
    blocks, lengths = table.blocks, table.index[1]
    first_keys = [block[0][0] for block in blocks]
    last_keys = [block[0][-1] for block in blocks]
    table.save_version_1([first_keys, last_keys, [block[1][0] for block in blocks], lengths])


@given(model.versions, block_sizes, model.timestamps)
def test_a_table_of_version_1_answers_as_one_of_version_2(
    versions: model.Versions, block_bytes: int, timestamp: int
) -> None:
    assume(versions)
    env = table_of(versions, block_bytes)
    of_version_1(env)
    assert TableFile(env, PATH).header() == 1
    table = SSTableReader.open(env, PATH, 1, BlockCache(1 << 20))
    assert list(table.entries()) == model.entries(versions)
    for key in [*versions, b"absent", b"", b"\xff" * 4]:
        assert table.read(key, timestamp) == model.read(versions, key, timestamp)
    for lo in [b"", b"b", *versions]:
        for hi in [None, b"b", *versions]:
            found = model.rows(table.chunks(lo, hi, timestamp))
            assert found == model.visible(versions, lo, hi, timestamp)
    findings = Findings()
    check_table(env, PATH, None, findings, lambda read_bytes: None)
    assert findings.found == []


# --- an index of another shape ------------------------------------------------------------

NOTHING: list[list[int]] = [[], []]


@pytest.mark.parametrize(
    "stored",
    [
        None,
        7,
        {},
        [],
        [[], []],
        [[], [9], NOTHING, [], []],
        [[b"a"], [9], NOTHING],
        [[], [9, 9], NOTHING],
        [[], [], NOTHING],
        [["a"], [9, 9], NOTHING],
        [[b"a"], [9, None], NOTHING],
        [[b"a"], [20, -2], NOTHING],
        [[b"a"], [18, 0], NOTHING],
        [[b"a"], [9, 9], []],
        [[b"a"], [9, 9], [[1], []]],
        [[b"a"], [9, 9], [[0], [4]]],
        [[b"a"], [9, 9], [[2], [4]]],
        [[b"a"], [9, 9], [[b"1"], [4]]],
        [[b"a", b"b"], [6, 6, 6], [[2, 1], [4, 5]]],
        [[b"a", b"b"], [6, 6, 6], [[1, 1], [4, 5]]],
        [[b"a"], [b"b"], [1], [9, 9]],
        [[1], [b"b"], [1], [18]],
        [[b"a", b"b"], [b"b", 1], [1, 1], [9, 9]],
        [[], [], [], []],
    ],
)
def test_an_index_of_another_shape_is_damage(stored: object) -> None:
    section = Section(HEADER_BYTES + 18, 99)
    with pytest.raises(CorruptionError, match="not built as it should be") as caught:
        decode_index(msgpack.unpackb(msgpack.packb(stored)), PATH, section)
    assert caught.value.offset == section.offset


def test_an_index_whose_blocks_do_not_reach_up_to_it_is_damage() -> None:
    with pytest.raises(CorruptionError, match="end at byte 35, and the index begins at 34"):
        decode_index([[b"a"], [9, 10], NOTHING], PATH, Section(34, 99))


# --- a block that is sound, and of another place -------------------------------------------


@pytest.mark.parametrize(("number", "key"), [(0, b"a"), (2, b"z")])
def test_a_block_beyond_the_ends_of_the_table_is_damage(number: int, key: bytes) -> None:
    """The first block has no separator before it and the last none behind: there the table's own
    smallest and largest key tell."""
    env = MemoryEnv()
    rows = [(b"key%d" % each, 1, b"value") for each in range(3)]
    write_sstable(env, PATH, rows, block_bytes=1)
    forged = ForgedTable(env, PATH)
    forged.blocks[number][0] = [key]
    forged.save()
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    with pytest.raises(CorruptionError, match="the block is not the one in the index") as caught:
        list(table.entries())
    assert caught.value.offset == table.offsets[number]
    table.close()

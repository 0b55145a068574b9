"""Blocks are stored smaller where that pays, read whatever way they are stored, and never
inflated without a bound."""

from __future__ import annotations

import importlib
import random
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from lz4 import frame as lz4_frame

import ferrisdb
from ferrisdb.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidParameterValue,
    MissingLibrary,
    StorageError,
)
from ferrisdb.storage import compression as compression_module
from ferrisdb.storage.backup import make_backup
from ferrisdb.storage.backup_store import BackupStore
from ferrisdb.storage.backup_verify import verify_backups
from ferrisdb.storage.block import decode_block, encode_block, frame
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.compressed_frame import frame_length
from ferrisdb.storage.compression import CODEC_LZ4, CODEC_NONE, CODEC_ZSTD, MAX_INFLATED_BYTES, compressor
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Compression, StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.restore import restore_backup
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable

BOTH = [Compression.ZSTD, Compression.LZ4]
CODECS = {Compression.NONE: CODEC_NONE, Compression.ZSTD: CODEC_ZSTD, Compression.LZ4: CODEC_LZ4}
PATH = "000001.sst"


def codecs_of(env: MemoryEnv, path: str) -> list[int]:
    table = TableFile(env, path)
    return [table.facts(section).codec for section in table.index(table.footer()).sections]


def table_in(env: MemoryEnv) -> str:
    (name,) = [name for name in env.list_directory("db") if name.endswith(".sst")]
    return f"db/{name}"


# --- one block


@given(
    st.sampled_from(list(Compression)),
    st.lists(st.tuples(st.binary(max_size=30), st.one_of(st.none(), st.binary(max_size=400))), min_size=1),
)
@settings(max_examples=60)
def test_what_was_put_into_a_block_comes_out_of_it(kind, rows):
    keys, values = sorted({key for key, _ in rows}), [value for _, value in rows]
    columns = keys, [5] * len(keys), values[: len(keys)]
    data = encode_block(*columns, compressor(kind))
    block = decode_block(data, PATH, 16)
    assert (block.keys, block.timestamps, block.values) == columns


@pytest.mark.parametrize("kind", BOTH)
def test_a_block_is_compressed_only_where_an_eighth_is_saved(kind):
    repeating, random_bytes = b"shop" * 500, random.Random(1).randbytes(2000)
    assert encode_block([b"k"], [1], [repeating], compressor(kind))[-5] == CODECS[kind]
    assert encode_block([b"k"], [1], [random_bytes], compressor(kind))[-5] == CODEC_NONE


@pytest.mark.parametrize("kind", BOTH)
def test_the_cache_counts_what_a_block_is_in_memory(kind):
    columns = [b"k"], [1], [b"x" * 5000]
    plain, small = encode_block(*columns), encode_block(*columns, compressor(kind))
    assert len(small) < len(plain) / 10
    assert decode_block(small, PATH, 16).size_bytes == decode_block(plain, PATH, 16).size_bytes


@pytest.mark.parametrize("kind", BOTH)
def test_every_flipped_bit_of_a_compressed_block_is_seen(kind):
    data = encode_block([b"a", b"b"], [2, 1], [b"x" * 300, None], compressor(kind))
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(CorruptionError):
                decode_block(bytes(damaged), PATH, 16)


# --- blocks that were made to do harm: the checksum is right


def bomb_zstd(promised: int) -> bytes:
    """A frame with this content size in its header, and eight bytes of zeros."""
    head = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", promised)
    return head + (1 | 1 << 1 | 8 << 3).to_bytes(3, "little") + b"\0"


def without_size_zstd() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)


HOSTILE = {
    "zstd that promises too much": (CODEC_ZSTD, bomb_zstd(2**62)),
    "zstd that promises just too much": (CODEC_ZSTD, bomb_zstd(MAX_INFLATED_BYTES + 1)),
    "zstd that gives less than it promises": (CODEC_ZSTD, bomb_zstd(9)),
    "zstd that gives more than it promises": (CODEC_ZSTD, bomb_zstd(7)),
    "zstd that tells no size": (CODEC_ZSTD, without_size_zstd()),
    "zstd with something behind it": (CODEC_ZSTD, zstandard.compress(b"x" * 100) + b"!"),
    "zstd cut short": (CODEC_ZSTD, zstandard.compress(b"x" * 100)[:-1]),
    "no zstd at all": (CODEC_ZSTD, b"what?"),
    "nothing as zstd": (CODEC_ZSTD, b""),
    "lz4 that tells no size": (CODEC_LZ4, lz4_frame.compress(b"x" * 100, store_size=False)),
    "lz4 with something behind it": (CODEC_LZ4, lz4_frame.compress(b"x" * 100) + b"!"),
    "lz4 cut short": (CODEC_LZ4, lz4_frame.compress(b"x" * 100)[:-1]),
    "no lz4 at all": (CODEC_LZ4, b"what?"),
    "nothing as lz4": (CODEC_LZ4, b""),
    "sound zstd of no block": (CODEC_ZSTD, zstandard.compress(b"x" * 100)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_block_is_an_error_and_not_a_bomb(name):
    codec, stored = HOSTILE[name]
    with pytest.raises(CorruptionError) as refused:
        decode_block(frame(stored, codec), PATH, 16)
    assert (refused.value.file, refused.value.offset) == (PATH, 16)


def test_an_lz4_frame_may_not_go_on_behind_its_promise(monkeypatch):
    monkeypatch.setattr(compression_module, "MAX_INFLATED_BYTES", 99)
    with pytest.raises(CorruptionError, match="at most 99"):
        decode_block(frame(lz4_frame.compress(b"x" * 100), CODEC_LZ4), PATH, 16)


@pytest.mark.parametrize("kind", BOTH)
def test_a_block_that_nobody_would_inflate_is_not_compressed(kind, monkeypatch):
    monkeypatch.setattr(compression_module, "MAX_INFLATED_BYTES", 99)
    assert encode_block([b"k"], [1], [b"x" * 100], compressor(kind))[-5] == CODEC_NONE


def test_a_codec_of_the_future_is_named():
    with pytest.raises(FormatVersionError, match="codec 3"):
        decode_block(frame(b"?", 3), PATH, 16)


# --- a frame's length without inflating it


@given(st.binary(max_size=3000), st.sampled_from([1, 70_000, 300_000]), st.integers(0, 3), st.booleans())
@settings(max_examples=60)
def test_the_length_of_a_frame_is_found_without_its_library(content, repeats, level, has_checksum):
    content = (content * repeats)[:400_000]
    frames = [
        zstandard.ZstdCompressor(level=level, write_checksum=has_checksum).compress(content),
        lz4_frame.compress(
            content, store_size=has_checksum, content_checksum=has_checksum, block_checksum=True
        ),
        lz4_frame.compress(content, compression_level=level, block_checksum=has_checksum),
    ]
    for data in frames:
        assert frame_length(data + b"behind") == len(data)
        assert frame_length(data[:-1]) is None


# --- a whole database


@pytest.mark.parametrize("kind", BOTH)
def test_the_tables_of_a_database_become_smaller_and_answer_alike(kind):
    env = MemoryEnv()
    engine = Engine.open(env, "db", StorageOptions(compression=kind, block_bytes=500))
    expected = {b"key%03d" % n: b"value of %d, " % n * 5 for n in range(300)}
    engine.commit(expected)
    engine.flush()
    table = table_in(env)
    assert set(codecs_of(env, table)) == {CODECS[kind]}
    assert len(env.read_file(table)) < sum(len(k) + len(v) for k, v in expected.items()) / 2
    assert engine.read_many(list(expected), 1) == list(expected.values())
    engine.close()
    assert check_folder(env, "db").findings == ()


def test_compaction_rewrites_the_tables_in_the_way_that_is_asked_for_now():
    # Given a database of three openings, each with another compression.
    env = MemoryEnv()
    text = b"the same words again, and again, " * 8
    for number, kind in enumerate([Compression.NONE, Compression.ZSTD, Compression.LZ4]):
        engine = Engine.open(env, "db", StorageOptions(compression=kind))
        engine.commit({b"a": text, b"k%d" % number: text, b"z": text})
        engine.flush()
        engine.close()
    tables = [f"db/{name}" for name in env.list_directory("db") if name.endswith(".sst")]
    assert sorted(codecs_of(env, table)[0] for table in tables) == [0, 1, 2]
    # When it is compacted by one that asks for zstd, then everything is stored so.
    engine = Engine.open(env, "db", StorageOptions(compression=Compression.ZSTD, compaction_start_tables=1))
    assert engine.read_many([b"a", b"k0", b"k1", b"k2", b"z"], 3) == [text] * 5
    engine.wait_until_compacted()
    engine.close()
    assert codecs_of(env, table_in(env)) == [CODEC_ZSTD]
    assert check_folder(env, "db").findings == ()


def test_the_child_process_of_a_compaction_compresses(tmp_path):
    folder = (tmp_path / "db").as_posix()
    options = StorageOptions(
        compression=Compression.ZSTD, compaction_start_tables=2, compaction_process_bytes=0
    )
    engine = Engine.open(OsEnv(), folder, options)
    for number in range(2):
        engine.commit({b"k%d" % n: b"%d" % number * 500 for n in range(20)})
        engine.flush()
    engine.wait_until_compacted()
    assert engine.statistics().compactions == 1
    assert engine.read(b"k7", 2) == b"1" * 500
    engine.close()
    (name,) = [name for name in OsEnv().list_directory(folder) if name.endswith(".sst")]
    assert set(codecs_of(OsEnv(), f"{folder}/{name}")) == {CODEC_ZSTD}


# --- without the libraries


def hide_the_libraries(monkeypatch):
    real = importlib.import_module

    def import_module(name, *rest):
        if name in ("zstandard", "lz4.frame"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    compression_module._imported.cache_clear()
    monkeypatch.setattr(importlib, "import_module", import_module)


@pytest.fixture
def nothing_installed(monkeypatch):
    hide_the_libraries(monkeypatch)
    yield
    compression_module._imported.cache_clear()


@pytest.mark.parametrize("kind", BOTH)
def test_opening_with_a_compression_that_is_not_installed_tells_the_command(kind, nothing_installed):
    with pytest.raises(MissingLibrary) as refused:
        Engine.open(MemoryEnv(), "db", StorageOptions(compression=kind))
    assert refused.value.hint == 'pip install "ferrisdb[compression]"'
    assert kind.value in refused.value.message


@pytest.mark.parametrize("kind", BOTH)
def test_a_block_that_needs_what_is_not_installed_names_its_file(kind, request):
    env = MemoryEnv()
    write_sstable(env, PATH, [(b"k", 1, b"x" * 500)], block_bytes=4096, compression=kind)
    request.getfixturevalue("nothing_installed")
    table = SSTableReader.open(env, PATH, 1, BlockCache(0))
    with pytest.raises(MissingLibrary, match=PATH) as refused:
        table.read(b"k", 1)
    assert refused.value.hint == 'pip install "ferrisdb[compression]"'


@pytest.mark.parametrize("where", ["in a child process", "in the thread"])
def test_a_compaction_that_lacks_the_library_tells_the_command(where, tmp_path, monkeypatch):
    # Given a compressed database,
    folder = (tmp_path / "db").as_posix()
    rows = {b"k%d" % n: b"x" * 500 for n in range(20)}
    waiting = StorageOptions(compression=Compression.ZSTD)
    engine = Engine.open(OsEnv(), folder, waiting)
    for _ in range(2):
        engine.commit(rows)
        engine.flush()
    engine.close()
    # when a Python that has no zstandard is to merge its tables,
    if where == "in a child process":
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "zstandard.py").write_text("raise ImportError('not here')")
        monkeypatch.syspath_prepend(tmp_path / "bare")
    else:
        hide_the_libraries(monkeypatch)
    monkeypatch.setattr("ferrisdb.storage.compaction.FIRST_PAUSE_S", 0.0)
    in_child = where == "in a child process"
    options = StorageOptions(compaction_start_tables=2, compaction_process_bytes=0 if in_child else 2**40)
    engine = Engine.open(OsEnv(), folder, options)
    try:
        with pytest.raises(StorageError) as stopped:
            engine.wait_until_compacted()
        # then who asks why it stands still is told what to do.
        assert (
            'needs the package zstandard, which is not installed (pip install "ferrisdb[compression]")'
            in (stopped.value.message)
        )
        assert stopped.value.message.endswith(str(engine.statistics().compaction_error))
    finally:
        engine.close()


def test_checking_without_the_library_does_not_call_a_sound_table_damaged(request):
    env = MemoryEnv()
    engine = Engine.open(env, "db", StorageOptions(compression=Compression.ZSTD))
    engine.commit({b"k%d" % n: b"x" * 500 for n in range(20)})
    store = BackupStore(env, "store")
    make_backup(engine.pin_tables(), store, made_at_s=0.0)
    engine.close()
    request.getfixturevalue("nothing_installed")
    for look in (lambda: check_folder(env, "db"), lambda: verify_backups(store)):
        with pytest.raises(MissingLibrary) as refused:
            look()
        assert refused.value.hint == 'pip install "ferrisdb[compression]"'
    # A copy takes the blocks as they are.
    restore_backup(store, env, "copy")
    assert env.exists("copy/CURRENT")


def test_what_is_not_compressed_needs_no_library(nothing_installed):
    engine = Engine.open(MemoryEnv(), "db")
    engine.commit({b"k": b"v"})
    engine.flush()
    assert engine.read(b"k", 1) == b"v"
    engine.close()


# --- from Python


def test_open_takes_the_name_of_a_compression(tmp_path):
    with ferrisdb.open(tmp_path / "db", compression="zstd") as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    with pytest.raises(InvalidParameterValue, match="no compression 'brotli'"):
        ferrisdb.open(tmp_path / "db", compression="brotli")

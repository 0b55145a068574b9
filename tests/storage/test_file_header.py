"""The first sixteen bytes: ours or not, sound or not, readable or too new."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.errors import CorruptionError, FormatVersionError
from ferrisdb.storage.file_header import (
    FORMAT_VERSION,
    HEADER_BYTES,
    SSTABLE_MAGIC,
    WAL_MAGIC,
    check_header,
    encode_header,
)


def header(magic: bytes, version: int, checksum_kind: int) -> bytes:
    fields = struct.pack("<8sHH", magic, version, checksum_kind)
    return fields + struct.pack("<I", zlib.crc32(fields))


def test_the_bytes_are_as_specified() -> None:
    assert encode_header(WAL_MAGIC) == b"FDB_WAL\0\2\0\1\0" + struct.pack(
        "<I", zlib.crc32(b"FDB_WAL\0\2\0\1\0")
    )
    assert len(encode_header(WAL_MAGIC)) == HEADER_BYTES == 16


def test_what_follows_the_header_does_not_matter() -> None:
    assert check_header(encode_header(WAL_MAGIC) + b"anything", WAL_MAGIC, "000001.wal") == FORMAT_VERSION


def test_an_older_version_is_read() -> None:
    assert check_header(header(WAL_MAGIC, 1, 1), WAL_MAGIC, "000001.wal") == 1


def test_a_newer_version_is_named_together_with_ours() -> None:
    with pytest.raises(FormatVersionError) as caught:
        check_header(header(WAL_MAGIC, 7, 1), WAL_MAGIC, "shop/000001.wal")
    assert caught.value.message == (
        f"shop/000001.wal has format version 7; this FerrisDB reads up to version {FORMAT_VERSION}"
    )


@pytest.mark.parametrize(("version", "checksum_kind"), [(0, 1), (1, 0), (1, 2)])
def test_a_sound_header_of_no_known_kind(version: int, checksum_kind: int) -> None:
    with pytest.raises(FormatVersionError):
        check_header(header(WAL_MAGIC, version, checksum_kind), WAL_MAGIC, "f")


def test_a_file_of_another_kind() -> None:
    with pytest.raises(CorruptionError, match="FDB_SST") as caught:
        check_header(encode_header(SSTABLE_MAGIC), WAL_MAGIC, "f")
    assert (caught.value.file, caught.value.offset) == ("f", 0)


@given(bit=st.integers(0, HEADER_BYTES * 8 - 1))
def test_no_flipped_bit_passes(bit: int) -> None:
    damaged = bytearray(encode_header(WAL_MAGIC))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptionError) as caught:
        check_header(bytes(damaged), WAL_MAGIC, "f")
    assert caught.value.file == "f"


@given(length=st.integers(0, HEADER_BYTES - 1))
def test_a_short_header_says_where_it_ends(length: int) -> None:
    with pytest.raises(CorruptionError) as caught:
        check_header(encode_header(WAL_MAGIC)[:length], WAL_MAGIC, "f")
    assert caught.value.offset == length

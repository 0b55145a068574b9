"""A data block: what it answers, and that damage to it is always noticed."""

from __future__ import annotations

import msgpack
import pytest
import version_model as model
from hypothesis import assume, given
from hypothesis import strategies as st

from ferrisdb.errors import CorruptionError, FormatVersionError
from ferrisdb.storage.block import CODEC_NONE, clip, decode_block, encode_block, frame, unframe

PATH = "db/000001.sst"


def block_of(versions: model.Versions):
    columns = [list(column) for column in zip(*model.entries(versions), strict=True)]
    return decode_block(encode_block(*columns), PATH, 16)


@given(model.versions, model.timestamps)
def test_a_block_answers_as_the_model_does(versions, timestamp):
    assume(versions)
    block = block_of(versions)
    for key in [*versions, b"absent"]:
        assert block.read(key, timestamp) == model.read(versions, key, timestamp)
        assert block.newest_timestamp_of(key) == max(versions.get(key, [0]))
    keys, values = block.visible(timestamp)
    assert list(zip(keys, values, strict=True)) == model.visible(versions, b"", None, timestamp)


def test_a_block_wholly_visible_is_handed_on_as_it_is():
    block = block_of({b"a": {3: b"x"}, b"b": {5: None}})
    assert block.visible(5)[0] is block.keys
    assert block.visible(4) == ([b"a"], [b"x"])


def test_a_block_with_two_versions_of_a_key_is_not():
    block = block_of({b"a": {3: b"x", 2: b"w"}, b"b": {5: None}})
    assert block.visible(9) == ([b"a", b"b"], [b"x", None])


@given(st.sets(model.keys), model.keys, st.none() | model.keys)
def test_clipping_keeps_what_lies_in_the_range(keys, lo, hi):
    ordered = sorted(keys)
    found, values = clip((ordered, list(ordered)), lo, hi)
    assert found == values == [key for key in ordered if lo <= key and (hi is None or key < hi)]


def test_every_flipped_bit_and_every_cut_is_noticed():
    data = encode_block([b"a", b"a", b"b"], [9, 2, 5], [b"x", None, b"value"])
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(CorruptionError) as caught:
                decode_block(bytes(damaged), PATH, 16)
            assert (caught.value.file, caught.value.offset) == (PATH, 16)
        with pytest.raises(CorruptionError):
            decode_block(data[:position], PATH, 16)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\xa1\xff",
        b"\x81\x90\x00",
        msgpack.packb(7),
        msgpack.packb([[], [], [], 0, 0]),
        msgpack.packb([[b"a"], [1], [b"v", b"w"], 1, 1]),
        msgpack.packb([[b"a"], [1], [b"v"], 1]),
        msgpack.packb([[b"a"], [1], {0: b"v"}, 1, 1]),
        msgpack.packb([[b"a"], [1], [b"v"], 1, 1]) + b"\x00",
    ],
)
def test_a_sound_checksum_over_nonsense_is_damage_too(body):
    with pytest.raises(CorruptionError) as caught:
        decode_block(frame(body), PATH, 16)
    assert caught.value.offset == 16


def test_a_codec_of_the_future_is_named():
    body = b"compressed"
    data = bytearray(frame(body))
    # A frame of the future is sound: its checksum covers its codec.
    assert data[len(body)] == CODEC_NONE
    future = frame(body + b"\x01")
    codec_1 = future[: len(body) + 1] + _checksum(future[: len(body) + 1])
    with pytest.raises(FormatVersionError, match="codec 1"):
        unframe(codec_1, PATH, 16, "block")


def _checksum(data: bytes) -> bytes:
    from zlib import crc32

    return crc32(data).to_bytes(4, "little")

"""The bloom filter never denies a key that it holds, and seldom passes one that it does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.bloom import BITS_PER_KEY, BloomBuilder, BloomFilter


def encoded(keys) -> bytes:
    builder = BloomBuilder()
    builder.add(list(keys))
    return builder.build()


@given(st.sets(st.binary(max_size=12)))
def test_no_key_that_was_added_is_denied(keys):
    bloom = BloomFilter(encoded(keys))
    assert all(map(bloom.may_contain, keys))


PATTERNS = {
    "random": lambda n: random.Random(n).randbytes(12),
    "counted": lambda n: b"user:%08d" % n,
    "big-endian numbers": lambda n: n.to_bytes(8, "big"),
    "numbers far apart": lambda n: (n << 12).to_bytes(8, "big"),
    "a common tail": lambda n: b"%08d/profile/name" % n,
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("stride", [1, 2, 10])
def test_of_a_hundred_absent_keys_ninety_nine_are_denied(pattern, stride):
    key_of = PATTERNS[pattern]
    count = 10_000
    bloom = BloomFilter(encoded(key_of(number * stride) for number in range(count)))
    absent = [key_of(number * stride + (1 if stride > 1 else count)) for number in range(count)]

    passed = sum(map(bloom.may_contain, absent))

    assert 0.004 < passed / count < 0.011, "far fewer would be as wrong as far more"


def test_the_filter_has_the_size_it_says():
    data = encoded(b"%d" % number for number in range(10_000))
    assert len(data) * 8 == pytest.approx(10_000 * BITS_PER_KEY, abs=64)


def test_the_bits_are_the_file_formats_and_may_never_change():
    assert encoded([b"ferris", b"crab"]).hex() == "1010000d20408200"


def test_an_empty_filter_denies_everything():
    bloom = BloomFilter(encoded([]))
    assert not any(bloom.may_contain(b"%d" % number) for number in range(100))


@pytest.mark.parametrize("data", [b"", b"1234567", b"123456789"])
def test_half_a_word_is_no_filter(data):
    with pytest.raises(ValueError, match="whole words"):
        BloomFilter(data)

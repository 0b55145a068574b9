"""The bloom filter: a few bits a key that say "certainly not here" without reading a block.

It is blocked: a key sets all of its bits in one 64-bit word, so a question costs one word
and one comparison, where the classic filter of seven hashes jumps to seven places.

    h = crc32(key) * 0x9E3779B1 mod 2**32
    p = h * words
    word  = p >> 32                 the high bits of h choose the word
    mask  = MASKS[p >> 20 & 4095]   the bits behind them choose one of 4096 patterns
    "may be here"  <=>  filter[word] & mask == mask

    word 0               word 1               word 2
    00100100...010       01000011...100       00000000...000

A pattern has up to five bits of 64, drawn from its number by splitmix64 (see `_mask`); the
patterns are part of the file format.

At 14 bits a key 0.75% of absent keys pass, whatever the keys look like. The multiplication
costs a fifth of the time and is what makes that so: a bare crc32 keeps the pattern of its
keys, and between 0.3% and 2.1% of absent ones passed. A classic filter of this size passes
0.12% at three times the cost; here a false positive costs a look into a block, often a cached
one. No key that was added is ever denied.

Limits: above some five million keys in one file h has too few bits for both parts, and more
absent keys pass. Follows Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom
Filters (2007).
"""

from __future__ import annotations

import functools
import sys
from array import array
from typing import Final
from zlib import crc32

BITS_PER_KEY: Final = 14
WORD_BYTES: Final = 8

_MASK_COUNT: Final = 4096
_LOW_BITS: Final = _MASK_COUNT - 1
_SPREAD: Final = 0x9E37_79B1
_HASH: Final = 2**32 - 1
_WORD: Final = 2**64 - 1
_SHIFTS: Final = (0, 6, 12, 18, 24)


class BloomFilter:
    """Over the words of an encoded filter. Immutable; any thread may ask."""

    __slots__ = ("_mask_table", "_words", "word_count")

    def __init__(self, data: bytes) -> None:
        """`data` is what `build` gave: at least one word, whole words. ValueError otherwise."""
        if not data or len(data) % WORD_BYTES:
            raise ValueError(f"a bloom filter of {len(data)} bytes is not made of whole words")
        self._words = array("Q", data)
        if sys.byteorder == "big":
            self._words.byteswap()
        self.word_count = len(self._words)
        self._mask_table = _masks()

    def may_contain(self, key: bytes) -> bool:
        """False: `key` was certainly not added."""
        product = (crc32(key) * _SPREAD & _HASH) * self.word_count
        mask = self._mask_table[product >> 20 & _LOW_BITS]
        return self._words[product >> 32] & mask == mask


class BloomBuilder:
    """Takes keys while their file is written, four bytes of memory each."""

    def __init__(self) -> None:
        self._checksums = array("I")

    def add(self, keys: list[bytes]) -> None:
        """Each key once; a key that comes again costs space but does no harm."""
        self._checksums.extend(map(crc32, keys))

    def build(self) -> bytes:
        """The filter: 64-bit little-endian words, at least one."""
        word_count = words_for(len(self._checksums))
        words = array("Q", bytes(word_count * WORD_BYTES))
        masks = _masks()
        for checksum in self._checksums:
            product = (checksum * _SPREAD & _HASH) * word_count
            words[product >> 32] |= masks[product >> 20 & _LOW_BITS]
        if sys.byteorder == "big":
            words.byteswap()
        return words.tobytes()


def words_for(key_count: int) -> int:
    """How many words `build` gives that many keys."""
    return max(1, -(-key_count * BITS_PER_KEY // (WORD_BYTES * 8)))


def fewest_keys_of(word_count: int) -> int:
    """The fewest keys for which `build` gives that many words; it may have been four more."""
    return (word_count - 1) * WORD_BYTES * 8 // BITS_PER_KEY + 1


@functools.cache
def _masks() -> list[int]:
    return [_mask(number) for number in range(_MASK_COUNT)]


def _mask(number: int) -> int:
    """Five groups of six bits of a well mixed number, each naming one bit of the word."""
    mixed = _splitmix64(number)
    mask = 0
    for shift in _SHIFTS:
        mask |= 1 << (mixed >> shift & 63)
    return mask


def _splitmix64(number: int) -> int:
    """Mixed, because keys in order have numbers in order, and need unlike patterns."""
    x = (number + 1) * 0x9E37_79B9_7F4A_7C15 & _WORD
    x = (x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9 & _WORD
    x = (x ^ x >> 27) * 0x94D0_49BB_1331_11EB & _WORD
    return x ^ x >> 31

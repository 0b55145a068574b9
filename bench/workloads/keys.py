"""Keys and values for the contests over ordered bytes."""

from __future__ import annotations

VALUE = b"v" * 100

_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""Odd, so multiplying by it modulo 2**64 never gives one key twice, and spreads them."""


def key_of(number: int) -> bytes:
    """16 bytes. Numbers in a row give keys in no visible order."""
    return (number * _GOLDEN_RATIO % 2**64).to_bytes(8, "big").hex().encode()

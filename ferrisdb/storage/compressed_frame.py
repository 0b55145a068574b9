"""How long a compressed frame is, told by the frame itself, without inflating it.

A reader knows from the index where each block ends. Who has lost the index must find out:
a body that is stored as it is says so by its msgpack (`inspect_table.py`), and a compressed one
by the chain of its own blocks, each of which begins with its length:

    zstd   28 B5 2F FD | descriptor, window, dictionary, content size | block ... | checksum?
           a block: u24, of which bit 0 says "the last", bits 1 and 2 the kind, the rest its length
    lz4    04 22 4D 18 | flags, block size, content size?, dictionary?, crc | block ... | crc?
           a block: u32, of which bit 31 says "stored as it is", the rest is its length; 0 ends them

Written from RFC 8878 and the LZ4 frame format. This proves nothing about the content: behind
the frame stand our codec and checksum, and they do.
"""

from __future__ import annotations

from typing import Final

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"


def frame_length(data: bytes) -> int | None:
    """The length of the frame that `data` begins with.

    None when it begins with none, or the frame goes on behind `data`.
    """
    if data.startswith(ZSTD_MAGIC):
        end = _zstd_end(data)
    elif data.startswith(LZ4_MAGIC):
        end = _lz4_end(data)
    else:
        return None
    return None if end is None or end > len(data) else end


def begins_frame(data: bytes) -> bool:
    return data.startswith((ZSTD_MAGIC, LZ4_MAGIC))


def _zstd_end(data: bytes) -> int | None:
    if len(data) < 5:
        return None
    descriptor = data[4]
    is_single_segment = bool(descriptor & 0x20)
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    content_size_bytes = (int(is_single_segment), 2, 4, 8)[descriptor >> 6]
    offset = 5 + (not is_single_segment) + dictionary_bytes + content_size_bytes
    is_last = False
    while not is_last:
        if offset + 3 > len(data):
            return None
        head = int.from_bytes(data[offset : offset + 3], "little")
        is_last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
        if kind == 3:
            return None
        # Kind 1 is one byte, repeated: the length is that of the content.
        offset += 3 + (1 if kind == 1 else length)
    return offset + (4 if descriptor & 4 else 0)


def _lz4_end(data: bytes) -> int | None:
    if len(data) < 6:
        return None
    flags = data[4]
    offset = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while True:
        if offset + 4 > len(data):
            return None
        length = int.from_bytes(data[offset : offset + 4], "little") & 0x7FFFFFFF
        offset += 4
        if length == 0:
            return offset + (4 if flags & 4 else 0)
        offset += length + (4 if flags & 0x10 else 0)

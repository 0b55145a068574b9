"""The log as it lies there: every record, sound or not, and where the next sound one is.

Recovery reads a segment to go on from it, so it stops at the first bad record. Whoever wants
to understand, or to know how much is damaged, needs what lies behind it, too:

    [ header ][ record ][ record ][ ?????????? ][ record ][ record ]
      byte 0    16        61        130           178
                                    BadBytes(130, 178, "its checksum ...")

This reader is written from docs/formats.md and shares no code with `wal.py`. Two readers of
one format check each other: a mistake that writer and recovery had in common would be
invisible to a checker that borrowed it.

A bad record's length cannot be believed. So first the place is tried to which the length
points, which is right when a byte of the content was damaged, and then every byte behind
that looks like the beginning of a record.

Limits: a segment is read whole, as recovery does. Nothing here says whether a bad record is a
crash's tear or damage; that takes its neighbours (`check_log.py`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgpack

from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.limits import MAX_COMMIT_BYTES

_HEAD: Final = struct.Struct("<IIQQ")  # length, crc32, timestamp, synced
_SEED: Final = struct.Struct("<QQI")  # segment number, offset, length
_UNCOUNTED_BYTES: Final = 8
_SMALLEST_BYTES: Final = _HEAD.size + 3

# A length of at most MAX_COMMIT_BYTES and not 0, a checksum, two numbers below 2**40, and the
# first byte of a msgpack array of two or three.
_LOOKS_LIKE_RECORD: Final = re.compile(
    rb"(?=(?!\0{4})...[\x00-\x10].{4}.{5}\0{3}.{5}\0{3}[\x92\x93])", re.DOTALL
)

Writes = tuple[tuple[bytes, bytes | None], ...]
Ranges = tuple[tuple[bytes, bytes | None], ...]
"""(lo, hi), hi None for the end."""


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """A sound record. `synced_bytes` is what the writer knew to be on disk when it wrote it."""

    offset: int
    end: int
    checksum: int
    timestamp: int
    synced_bytes: int
    writes: Writes
    deleted_ranges: Ranges = ()

    @property
    def is_mark(self) -> bool:
        return not self.writes and not self.deleted_ranges


@dataclass(frozen=True, slots=True)
class BadBytes:
    """From `offset` to `end` there is no sound record; `problem` is that of the first bytes."""

    offset: int
    end: int
    problem: str


@dataclass(frozen=True, slots=True)
class ReservedBytes:
    """From `offset` to `end`, which is the end of the file, there are zeros. The last segment
    may have them; in any other they are damage."""

    offset: int
    end: int


def read_records(data: bytes, number: int) -> Iterator[SeenRecord | BadBytes | ReservedBytes]:
    """All of a segment behind its header, in the order of the file. Never raises."""
    offset = HEADER_BYTES
    zeros_from = len(data.rstrip(b"\0"))
    while offset < len(data):
        if offset >= zeros_from:
            yield ReservedBytes(offset, len(data))
            return
        seen = _record_at(data, number, offset)
        found = BadBytes(offset, _next_sound(data, number, offset), seen) if isinstance(seen, str) else seen
        yield found
        offset = found.end


def _record_at(data: bytes, number: int, offset: int) -> SeenRecord | str:
    """The record that begins here, or what is wrong with it."""
    left = len(data) - offset
    if left < _SMALLEST_BYTES:
        return f"cut short: {left} bytes are left, and the shortest record has {_SMALLEST_BYTES}"
    length, stored, timestamp, synced = _HEAD.unpack_from(data, offset)
    end = offset + _UNCOUNTED_BYTES + length
    if not _SMALLEST_BYTES - _UNCOUNTED_BYTES <= length <= _HEAD.size + MAX_COMMIT_BYTES:
        return f"the length {length} is none that a record can have"
    if end > len(data):
        return f"cut short: the record has {_UNCOUNTED_BYTES + length} bytes, and {left} are left"
    checked = memoryview(data)[offset + _UNCOUNTED_BYTES : end]
    found = crc32(checked, crc32(_SEED.pack(number, offset, length)))
    if found != stored:
        return f"the checksum is wrong: {stored:08x} is stored, the bytes give {found:08x}"
    commit = _decode(data[offset + _HEAD.size : end])
    if commit is None:
        return "the checksum is right but it is not a list of writes"
    return SeenRecord(offset, end, stored, timestamp, synced, *commit)


def _decode(payload: bytes) -> tuple[Writes, Ranges] | None:
    try:
        keys, values, *more = msgpack.unpackb(payload)
        if len(more) > 1:
            return None
        ranges = tuple((lo, hi) for lo, hi in (more[0] if more else ()))
        los, his = [lo for lo, _ in ranges], [hi for _, hi in ranges]
        is_sound = {bytes}.issuperset(map(type, (*keys, *los)))
        is_sound = is_sound and {bytes, type(None)}.issuperset(map(type, (*values, *his)))
        return (tuple(zip(keys, values, strict=True)), ranges) if is_sound else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def _next_sound(data: bytes, number: int, offset: int) -> int:
    """Where the next sound record behind the bad one at `offset` begins; the end if none does."""
    if offset + _HEAD.size <= len(data):
        end = offset + _UNCOUNTED_BYTES + int.from_bytes(data[offset : offset + 4], "little")
        if end == len(data) or (end < len(data) and not isinstance(_record_at(data, number, end), str)):
            return end
    for match in _LOOKS_LIKE_RECORD.finditer(data, offset + 1):
        start = match.start()
        synced = int.from_bytes(data[start + 16 : start + 24], "little")
        if synced <= start and not isinstance(_record_at(data, number, start), str):
            return start
    return len(data)

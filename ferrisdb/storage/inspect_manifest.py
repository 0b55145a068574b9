"""The manifest as it lies there: every edit, sound or not, and what the sound ones add up to.

`Manifest.load` refuses a damaged manifest, and a database opens by it or not at all. A
checker wants to go on: most edits of a damaged manifest are sound, and the tables that they
name can still be checked. So `add_up` takes what is there and lists what does not fit, where
`Manifest` would call it a broken rule.

Written from docs/formats.md; see `inspect_log.py` for why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from zlib import crc32

import msgpack

from ferrisdb.storage.commit_times import checked_samples
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.inspect_log import BadBytes
from ferrisdb.storage.manifest import ManifestEdit, ManifestState, TableEntry
from ferrisdb.storage.range_tombstones import RangeTombstone

_HEAD: Final = struct.Struct("<II")  # length, crc32
_SEED: Final = struct.Struct("<QQI")  # file number, offset, length


@dataclass(frozen=True, slots=True)
class SeenEdit:
    offset: int
    end: int
    checksum: int
    edit: ManifestEdit


@dataclass(frozen=True)
class Sum:
    """What the edits add up to. `added_at` is where each live table's edit stands; `problems`
    are offsets of edits with what does not fit."""

    state: ManifestState
    added_at: dict[int, int]
    problems: tuple[tuple[int, str], ...]


def read_edits(data: bytes, number: int) -> Iterator[SeenEdit | BadBytes]:
    """All of a manifest behind its header, in the order of the file. Never raises."""
    offset = HEADER_BYTES
    while offset < len(data):
        seen = _edit_at(data, number, offset)
        found = BadBytes(offset, _next_sound(data, number, offset), seen) if isinstance(seen, str) else seen
        yield found
        offset = found.end


def add_up(edits: Iterable[SeenEdit]) -> Sum:
    """The state after these edits, as far as they fit each other."""
    state, alive = ManifestState(), dict[int, TableEntry]()
    added_at: dict[int, int] = {}
    ranges: dict[RangeTombstone, None] = {}
    problems: list[tuple[int, str]] = []
    for seen in edits:
        edit = seen.edit
        for number in edit.removed:
            if alive.pop(number, None) is None:
                problems.append((seen.offset, f"the edit removes table {number}, which was not alive"))
        for entry in edit.added:
            if entry.number in alive:
                problems.append((seen.offset, f"the edit adds table {entry.number}, which was alive already"))
            alive[entry.number] = entry
            added_at[entry.number] = seen.offset
        problems += ((seen.offset, problem) for problem in _add_ranges(ranges, edit))
        for name in ("oldest_log_number", "next_file_number", "last_timestamp"):
            value = getattr(edit, name)
            if value is not None and value < getattr(state, name):
                problems.append((seen.offset, f"{name} goes back from {getattr(state, name)} to {value}"))
            if value is not None:
                state = replace(state, **{name: value})
        if edit.collected_below is not None:
            state = replace(state, collected_below=max(edit.collected_below, state.collected_below or 0))
    newest_first = tuple(sorted(alive.values(), key=lambda entry: entry.largest_timestamp, reverse=True))
    state = replace(state, tables=newest_first, deleted_ranges=tuple(ranges))
    return Sum(state, added_at, tuple(problems))


def _add_ranges(ranges: dict[RangeTombstone, None], edit: ManifestEdit) -> Iterator[str]:
    """Change `ranges` by an edit; what does not fit."""
    for tombstone in edit.deleted_ranges:
        if tombstone.hi is not None and tombstone.hi <= tombstone.lo:
            yield f"a range that was deleted at {tombstone.timestamp} ends before it begins"
        if tombstone in ranges:
            yield f"a range that was deleted at {tombstone.timestamp} is there twice"
        ranges[tombstone] = None
    for tombstone in edit.settled_ranges:
        if tombstone in ranges:
            del ranges[tombstone]
        else:
            yield f"the edit settles a range, deleted at {tombstone.timestamp}, that was not there"


def _edit_at(data: bytes, number: int, offset: int) -> SeenEdit | str:
    start = offset + _HEAD.size
    if start > len(data):
        return f"cut short: {len(data) - offset} bytes are left"
    length, stored = _HEAD.unpack_from(data, offset)
    if length == 0 or start + length > len(data):
        return f"cut short: the edit has {length} bytes, and {len(data) - start} are left"
    body = data[start : start + length]
    found = crc32(body, crc32(_SEED.pack(number, offset, length)))
    if found != stored:
        return f"the checksum is wrong: {stored:08x} is stored, the bytes give {found:08x}"
    edit = _decode(body)
    if edit is None:
        return "the checksum is right but it is not a manifest edit"
    return SeenEdit(offset, start + length, stored, edit)


def _decode(body: bytes) -> ManifestEdit | None:
    try:
        found: dict[str, Any] = msgpack.unpackb(body)
        if not found.keys() <= {field.name for field in fields(ManifestEdit)}:
            return None
        found["added"] = tuple(TableEntry(**entry) for entry in found.get("added", ()))
        found["removed"] = tuple(found.get("removed", ()))
        for name in ("deleted_ranges", "settled_ranges"):
            found[name] = tuple(RangeTombstone(*triple) for triple in found.get(name, ()))
        found["commit_times"] = checked_samples(found.get("commit_times", ()))
        edit = ManifestEdit(**found)
        return edit if _has_sound_types(edit) else None
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return None


def _has_sound_types(edit: ManifestEdit) -> bool:
    numbers = [edit.oldest_log_number, edit.next_file_number, edit.last_timestamp, edit.collected_below]
    numbers += edit.removed
    keys: list[object] = []
    for tombstone in (*edit.deleted_ranges, *edit.settled_ranges):
        numbers.append(tombstone.timestamp)
        keys += [tombstone.lo, tombstone.lo if tombstone.hi is None else tombstone.hi]
    for entry in edit.added:
        numbers += [entry.number, entry.level, entry.file_bytes, entry.entry_count]
        numbers += [entry.smallest_timestamp, entry.largest_timestamp, entry.ingested_at]
        numbers += [entry.tombstone_count, entry.fewest_keys, entry.blocks_checksum]
        keys += [entry.smallest_key, entry.largest_key]
    return {int, type(None)}.issuperset(map(type, numbers)) and {bytes}.issuperset(map(type, keys))


def _next_sound(data: bytes, number: int, offset: int) -> int:
    if offset + _HEAD.size <= len(data):
        end = offset + _HEAD.size + int.from_bytes(data[offset : offset + 4], "little")
        if end == len(data) or (end < len(data) and not isinstance(_edit_at(data, number, end), str)):
            return end
    for later in range(offset + 1, len(data) - _HEAD.size):
        if not isinstance(_edit_at(data, number, later), str):
            return later
    return len(data)

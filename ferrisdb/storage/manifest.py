"""The manifest: which files are alive.

Files come and go; a crash may leave half-written ones behind and removed ones in place. So
the folder's listing says nothing. The manifest does: it is a log of edits, and what they add
up to is the truth. `CURRENT`, one line of text, names the manifest that counts.

    CURRENT             "ferrisdb MANIFEST-000001 8c0a91f3\\n"    crc32 of what stands before it
    MANIFEST-000001     file header, then edits:

    +--------+--------+--------------------+
    | length | crc32  | edit (msgpack map) |      the first is a snapshot of the whole state
    | u32    | u32    | length bytes       |
    +--------+--------+--------------------+
              \\______ covers file number, offset, length, and all to its right

An edit is synced before the next is written and before anything is done that relies on it
(a log segment is removed only after the edit that adds its table). So a bad edit with a
sound one behind it is damage. A bad last edit is a crash's tear: it is dropped. Had it been
whole once, then what relied on it, the removal of a log segment, shows that it is missing,
and recovery says so.

When the manifest has grown past its limit, or its end is torn, a snapshot is written to a
new file, synced, and put in place by renaming a new CURRENT over the old one.

Follows LevelDB's MANIFEST and CURRENT.
"""

from __future__ import annotations

import re
import struct
import threading
from dataclasses import asdict, fields, replace
from typing import Any
from zlib import crc32

import msgpack

from ferrisdb.errors import CorruptionError, Error, NotADatabase, StorageError, invariant
from ferrisdb.immutable import immutable
from ferrisdb.storage.commit_times import CommitTimes, checked_samples, with_samples
from ferrisdb.storage.env import AppendFile, Env, join
from ferrisdb.storage.file_header import (
    FORMAT_VERSION,
    HEADER_BYTES,
    MANIFEST_MAGIC,
    check_header,
    encode_header,
)
from ferrisdb.storage.file_names import CURRENT_NAME, CURRENT_TEMPORARY_NAME, FileNumbers, manifest_name
from ferrisdb.storage.range_tombstones import RangeTombstone, decode_tombstones

_FRAME = struct.Struct("<II")
_CHECKED = struct.Struct("<QQI")  # file number, offset, length
_CURRENT_LINE = re.compile(rb"(ferrisdb MANIFEST-(\d{6,19})) ([0-9a-f]{8})\n")
_OTHERS_CURRENT_LINE = re.compile(rb"MANIFEST-\d+\n?")


@immutable
class TableEntry:
    """A live table: where it stands in the tree, and what must be found in its file."""

    number: int
    level: int
    file_bytes: int
    entry_count: int
    smallest_key: bytes
    largest_key: bytes
    smallest_timestamp: int
    largest_timestamp: int
    ingested_at: int = 0
    """The commit of all rows of a table that was ingested, whose file has zeros in its place."""
    tombstone_count: int | None = None
    """None here and in what follows: not said, in an edit of an older version."""
    fewest_keys: int | None = None
    """It has at least so many different keys, and at most four more."""
    blocks_checksum: int | None = None
    """None also when the table does not say, being of format version 1."""


@immutable
class ManifestState:
    """What all edits add up to."""

    tables: tuple[TableEntry, ...] = ()
    """By level; those of level 0 newest first, of each other one in key order."""
    oldest_log_number: int = 0
    """Segments below this are flushed and may be gone; this one is there."""
    next_file_number: int = 1
    """No live file has this number or a larger one, log segments left aside."""
    last_timestamp: int = 0
    """The last commit that is in a table, or whose deleted ranges are here."""
    deleted_ranges: tuple[RangeTombstone, ...] = ()
    """That are not settled, in the order of their commits."""
    commit_times: CommitTimes = ()
    collected_below: int | None = None
    """A reader below this may miss versions that compaction has dropped. None: not said, by an
    older version."""


@immutable
class ManifestEdit:
    """A change. None and () leave things as they are."""

    added: tuple[TableEntry, ...] = ()
    removed: tuple[int, ...] = ()
    oldest_log_number: int | None = None
    next_file_number: int | None = None
    last_timestamp: int | None = None
    deleted_ranges: tuple[RangeTombstone, ...] = ()
    settled_ranges: tuple[RangeTombstone, ...] = ()
    commit_times: CommitTimes = ()
    """Later than those before."""
    collected_below: int | None = None
    """Of this edit's tables; the largest of all edits counts."""


class Manifest:
    """The live manifest, open for edits. `apply` may be called from any thread."""

    def __init__(self, env: Env, folder: str, number: int, state: ManifestState, limit_bytes: int) -> None:
        self.state = state
        self.number = number
        self._env = env
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._file: AppendFile | None = None
        self._size_bytes = 0
        self._snapshot_bytes = 0
        self._numbers = FileNumbers(state.next_file_number)
        self._apply_lock = threading.Lock()
        self._failure: str | None = None
        """How an edit failed."""
        self._version = FORMAT_VERSION

    @classmethod
    def create(
        cls, env: Env, folder: str, numbers: FileNumbers, state: ManifestState, limit_bytes: int
    ) -> Manifest:
        """The manifest of a new database. From here on the folder is one."""
        manifest = cls(env, folder, 0, state, limit_bytes)
        manifest._numbers = numbers
        manifest._roll_over()
        return manifest

    @classmethod
    def load(cls, env: Env, folder: str, limit_bytes: int, *, tolerate_tail: bool) -> tuple[Manifest, bool]:
        """Read the live manifest; also whether it ends whole. Changes nothing.

        Raises CorruptionError for damage, NotADatabase when CURRENT is that of another
        database system, FormatVersionError.
        """
        number = read_current(env, folder)
        path = join(folder, manifest_name(number))
        try:
            data = env.read_file(path)
        except FileNotFoundError as error:
            raise CorruptionError(
                f"CURRENT names {manifest_name(number)}, which is missing",
                file=join(folder, CURRENT_NAME),
                offset=0,
            ) from error
        state, sound_bytes, version = _replay(data, number, path)
        is_whole = sound_bytes == len(data)
        if not (is_whole or tolerate_tail):
            raise CorruptionError("the last manifest edit is torn", file=path, offset=sound_bytes)
        manifest = cls(env, folder, number, state, limit_bytes)
        manifest._size_bytes = sound_bytes
        manifest._version = version
        return manifest, is_whole

    def open_for_edits(self, numbers: FileNumbers, *, is_whole: bool) -> None:
        """Continue the file that `load` has read, or replace it when its end is torn or its format old."""
        self._numbers = numbers
        if is_whole and self._version == FORMAT_VERSION:
            self._file = self._env.open_append(self._path)
            # A process that was killed may have left its last edit unsynced. We have read it,
            # and are about to remove what it says is not needed.
            self._file.sync()
        else:
            self._roll_over()

    def apply(self, edit: ManifestEdit) -> None:
        """Make the edit durable, then true. After an error every other edit is refused: nobody
        can say what is on the disk, and a flush and a compaction write here in turns."""
        with self._apply_lock:
            invariant(self._file is not None, "an edit goes to an open manifest")
            if self._failure is not None:
                raise StorageError(f"{self._path} takes no edit since one failed: {self._failure}")
            try:
                edit = replace(edit, next_file_number=self._numbers.upcoming)
                self.state = _applied(self.state, edit)
                self._write(edit)
            except BaseException as error:
                self._failure = error.message if isinstance(error, Error) else repr(error)
                raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def size_bytes(self) -> int:
        """Of its file, without an end that is torn."""
        return self._size_bytes

    @property
    def _path(self) -> str:
        return join(self._folder, manifest_name(self.number))

    def _write(self, edit: ManifestEdit) -> None:
        # Measured from the snapshot, or a state that is larger than the limit would be
        # written whole for every edit.
        if self._size_bytes - self._snapshot_bytes > self._limit_bytes:
            self._roll_over()
        else:
            self._append(edit)

    def _append(self, edit: ManifestEdit) -> None:
        frame = _encode(edit, self.number, self._size_bytes)
        if self._file is not None:
            self._file.append(frame)
            self._file.sync()
        self._size_bytes += len(frame)

    def _roll_over(self) -> None:
        """Write the state as a new manifest and make it the live one."""
        old_path, had_old = self._path, self._size_bytes > 0
        self.close()
        self.number = self._numbers.take()
        self.state = replace(self.state, next_file_number=self._numbers.upcoming)
        self._file = self._env.create(self._path)
        self._file.append(encode_header(MANIFEST_MAGIC))
        self._size_bytes = HEADER_BYTES
        self._append(_snapshot(self.state))
        self._snapshot_bytes = self._size_bytes
        _write_current(self._env, self._folder, self.number)
        if had_old:
            self._env.remove(old_path)


def read_current(env: Env, folder: str) -> int:
    """The number of the live manifest."""
    path = join(folder, CURRENT_NAME)
    line = env.read_file(path)
    if _OTHERS_CURRENT_LINE.fullmatch(line):
        raise NotADatabase(f"{folder} is not a FerrisDB database: it looks like one of LevelDB or RocksDB")
    match = _CURRENT_LINE.fullmatch(line)
    if match is None or int(match[3], 16) != crc32(match[1]):
        raise CorruptionError("the file that names the manifest is damaged", file=path, offset=0)
    return int(match[2])


def _write_current(env: Env, folder: str, number: int) -> None:
    text = b"ferrisdb " + manifest_name(number).encode()
    temporary = join(folder, CURRENT_TEMPORARY_NAME)
    file = env.create(temporary)
    file.append(b"%s %08x\n" % (text, crc32(text)))
    file.sync()
    file.close()
    # The new manifest's name must be on disk before CURRENT points to it, and the rename
    # before anything relies on it. A file system may reorder names within a folder.
    env.sync_directory(folder)
    env.rename(temporary, join(folder, CURRENT_NAME))
    env.sync_directory(folder)


def _snapshot(state: ManifestState) -> ManifestEdit:
    return ManifestEdit(
        state.tables,
        (),
        state.oldest_log_number,
        state.next_file_number,
        state.last_timestamp,
        deleted_ranges=state.deleted_ranges,
        commit_times=state.commit_times,
        collected_below=state.collected_below,
    )


def encode_state(state: ManifestState) -> bytes:
    """The whole state, for another file than a manifest; `decode_state` reads it."""
    return _encode(_snapshot(state), 0, 0)[_FRAME.size :]


def decode_state(data: bytes, path: str, offset: int) -> ManifestState:
    """CorruptionError, naming `path` and `offset`, for what `encode_state` did not give."""
    return _applied(ManifestState(), _decode(data, path, offset))


def _applied(state: ManifestState, edit: ManifestEdit) -> ManifestState:
    alive = {entry.number: entry for entry in state.tables}
    for number in edit.removed:
        invariant(alive.pop(number, None) is not None, f"the removed table {number} was alive")
    for entry in edit.added:
        invariant(entry.number not in alive, f"the added table {entry.number} is new")
        alive[entry.number] = entry
    tables = sorted(alive.values(), key=_place_in_tree)
    changes = {
        name: value
        for name in ("oldest_log_number", "next_file_number", "last_timestamp")
        if (value := getattr(edit, name)) is not None
    }
    if edit.collected_below is not None:
        changes["collected_below"] = max(edit.collected_below, state.collected_below or 0)
    ranges = dict.fromkeys((*state.deleted_ranges, *edit.deleted_ranges))
    for settled in edit.settled_ranges:
        invariant(settled in ranges, f"the settled range {settled} was deleted")
        del ranges[settled]
    times = with_samples(state.commit_times, edit.commit_times)
    return replace(state, tables=tuple(tables), deleted_ranges=tuple(ranges), commit_times=times, **changes)


def _place_in_tree(entry: TableEntry) -> tuple[int, int, bytes]:
    """In level 0 timestamps tell the age: a table may have got its number long before its turn."""
    if entry.level == 0:
        return entry.level, -entry.largest_timestamp, b""
    return entry.level, 0, entry.smallest_key


def _encode(edit: ManifestEdit, file_number: int, offset: int) -> bytes:
    values = {name: value for name, value in asdict(edit).items() if value not in (None, ())}
    if edit.added:
        values["added"] = [_only_what_is_said(entry) for entry in values["added"]]
    body: bytes = msgpack.packb(values)
    checksum = crc32(body, crc32(_CHECKED.pack(file_number, offset, len(body))))
    return _FRAME.pack(len(body), checksum) + body


def _only_what_is_said(entry: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in entry.items() if value is not None}
    if not said["ingested_at"]:
        del said["ingested_at"]
    return said


def _replay(data: bytes, number: int, path: str) -> tuple[ManifestState, int, int]:
    """The state, how many bytes of the file are sound, and the file's format version."""
    version = check_header(data, MANIFEST_MAGIC, path)
    state, offset = ManifestState(), HEADER_BYTES
    while offset < len(data):
        body = _body_at(data, number, offset)
        if body is None:
            _refuse_damage(data, number, path, offset)
            break
        state = _applied(state, _decode(body, path, offset))
        offset += _FRAME.size + len(body)
    if offset == HEADER_BYTES:
        raise CorruptionError("the manifest has no snapshot", file=path, offset=offset)
    return state, offset, version


def _body_at(data: bytes, number: int, offset: int) -> bytes | None:
    start = offset + _FRAME.size
    if start > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    if length == 0 or start + length > len(data):
        return None
    body = data[start : start + length]
    return body if crc32(body, crc32(_CHECKED.pack(number, offset, length))) == checksum else None


def _refuse_damage(data: bytes, number: int, path: str, offset: int) -> None:
    """Raise when a sound edit stands behind the bad one at `offset`. A manifest is small."""
    if offset == HEADER_BYTES:
        raise CorruptionError("the manifest's snapshot is damaged", file=path, offset=offset)
    for later in range(offset + 1, len(data) - _FRAME.size):
        if _body_at(data, number, later) is not None:
            raise CorruptionError(
                f"a manifest edit is damaged; the one at byte {later} is sound", file=path, offset=offset
            )


def _decode(body: bytes, path: str, offset: int) -> ManifestEdit:
    try:
        found: dict[str, Any] = msgpack.unpackb(body)
        if not found.keys() <= {field.name for field in fields(ManifestEdit)}:
            raise ValueError("unknown field")
        found["added"] = tuple(TableEntry(**entry) for entry in found.get("added", ()))
        found["removed"] = tuple(found.get("removed", ()))
        for name in ("deleted_ranges", "settled_ranges"):
            found[name] = decode_tombstones(found.get(name, ()))
        found["commit_times"] = checked_samples(found.get("commit_times", ()))
        return ManifestEdit(**found)
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise CorruptionError(
            "the checksum is right but it is not a manifest edit", file=path, offset=offset
        ) from error

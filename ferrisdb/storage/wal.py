"""The write-ahead log: a commit is on disk before anybody hears of it.

A log is a row of segments, `000007.wal` and up, one for each memtable. A segment is a file
header and then records; a record is one whole commit:

    +--------+--------+-----------+--------+-----------------------------+
    | length | crc32  | timestamp | synced | [[keys...], [values...]]    |
    | u32    | u32    | u64       | u64    | msgpack, length - 16 bytes  |
    +--------+--------+-----------+--------+-----------------------------+
              \\______ covers segment number, offset, length, and all to its right

A deleted key has the value nil. The keys are those of one commit, each once, in any order.
A commit that deletes ranges has a third array, of pairs [lo, hi], in its payload.
Timestamps are consecutive, from record to record and from segment to segment.

The rule: a record is whole or it never was. A crash tears only what was not yet synced, and
one write may carry the records of many commits, so after a crash a bad record may well have
sound ones behind it. What tells a crash from damage is `synced`: how many bytes of the
segment were known to be on disk when the record was written.

    [ a ][ b ][ c ][ d ][ e ]        a bad b, and c says "synced up to b": a crash
          |---- one write --|        a bad b, and d says "synced up to d": b was on disk
                                     once, somebody was told so; this is damage

So reading ends at the first bad record of the last segment, unless a later record vouches
for it: that is a CorruptionError, as is any bad record in an earlier segment (which was
synced before the next one began). A record without keys and ranges is a mark: it only vouches for all
before it, and carries the last timestamp. Closing writes one, so that every later loss in
a log that was closed is seen as what it is.

The last segment may end in zeros: space that the leader has written ahead, in the course of a
sync that had to write the file's new length anyway, so that the next commits only overwrite.

    [ header ][ a ][ b ][ c ][ 0 0 0 0 0 0 0 ]     the next record goes over the first zeros
                             ^ size_bytes    ^ reserved end

No record is all zeros, so zeros up to the end of the file are its clean end. They are given
back before the next segment begins, and when the log is closed.

The checksum covers number and offset, which are not stored, so that a stale block of an old
log, or a log that a user stored as a value, is never taken for a record of this place.

Not here: which commits conflict (txn), when a segment may go (manifest), reading past
damage (salvage).
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import msgpack

from ferrisdb.errors import CorruptionError, StorageError
from ferrisdb.storage.env import AppendFile, Env, join
from ferrisdb.storage.file_header import FORMAT_VERSION, HEADER_BYTES, WAL_MAGIC, check_header, encode_header
from ferrisdb.storage.file_names import log_name
from ferrisdb.storage.interrupts import is_interrupt
from ferrisdb.storage.limits import MAX_COMMIT_BYTES
from ferrisdb.storage.range_tombstones import DeletedRange, is_range

_HEAD = struct.Struct("<IIQQ")  # length, crc32, timestamp, synced
_CHECKED = struct.Struct("<QQIQQ")  # segment number, offset, length, timestamp, synced
_UNCOUNTED_BYTES = 8  # length and crc32 are not part of the length
_FIXED_BYTES = _HEAD.size - _UNCOUNTED_BYTES
_SMALLEST_RECORD_BYTES = _HEAD.size + 3  # [[], []]

RESERVE_BYTES = 256 * 1024
"""Zeros that are written at once. From 64 KiB to 4 MiB no difference was measured."""
RESERVE_FROM_BYTES = 64 * 1024
"""Segments shorter than this reserve nothing: small databases stay small."""
RESERVE_STEP_BYTES = 16 * 1024
"""Groups larger than this reserve nothing: writing the zeros would cost more than it saves."""

# One buffer of this size is allocated for each commit; the packer's default is a megabyte.
_PACKER_BYTES = 4096


def encode_writes(writes: Mapping[bytes, bytes | None], deleted_ranges: Sequence[DeletedRange] = ()) -> bytes:
    """The payload of a commit's record."""
    columns: tuple[Sequence[object], ...] = (list(writes), list(writes.values()))
    if deleted_ranges:
        columns = (*columns, deleted_ranges)
    payload: bytes = msgpack.Packer(buf_size=_PACKER_BYTES).pack(columns)
    return payload


def only_zeros(data: bytes, offset: int) -> bool:
    """Whether all from `offset` on is zero: space that was reserved for more records."""
    return data.count(0, offset) == len(data) - offset


class LogWriter:
    """The end of one segment. Written by one thread at a time: the group's leader.

    `sync_acknowledged` may run in another thread beside it.
    """

    def __init__(self, env: Env, file: AppendFile, path: str, number: int, size_bytes: int) -> None:
        self.number = number
        self.path = path
        self.size_bytes = size_bytes
        self.acknowledged_bytes = size_bytes
        """Up to here the commits are visible. Never cut back. Set by the leader."""
        self.has_mark = True
        """Whether the last record is a mark, or there is none to vouch for."""
        self._env = env
        self._file = file
        self._reserved_end = size_bytes
        """Up to here the file has zeros behind the records."""
        self._may_reserve = True
        # Held over a sync. The kernel tells of a page that it could not write only once for each
        # descriptor. Were two syncs under way, one could take the other's error, and the other
        # report success for bytes that are gone.
        self._sync_lock = threading.Lock()
        self._synced_bytes = size_bytes
        self._has_failed_sync = False

    @classmethod
    def create(cls, env: Env, folder: str, number: int) -> LogWriter:
        """A new segment; on disk, name and all, when this returns."""
        path = join(folder, log_name(number))
        file = env.create(path)
        file.append(encode_header(WAL_MAGIC))
        file.sync()
        # Without this a power cut could take the name, and with it every commit in the file.
        env.sync_directory(folder)
        return cls(env, file, path, number, HEADER_BYTES)

    @classmethod
    def reopen(cls, env: Env, folder: str, number: int, size_bytes: int, *, has_mark: bool) -> LogWriter:
        """Go on after the first `size_bytes`, which recovery has found sound."""
        path = join(folder, log_name(number))
        env.truncate(path, size_bytes)
        file = env.open_append(path)
        # The cut must be on disk before anything is written over it. Otherwise a record of
        # the torn tail could come back right behind a new one and be read as a commit. It also
        # makes the recovered commits durable before a reader sees them.
        file.sync()
        log = cls(env, file, path, number, size_bytes)
        log.has_mark = has_mark
        return log

    @property
    def is_synced(self) -> bool:
        return self._synced_bytes == self.size_bytes

    def append(self, first_timestamp: int, payloads: Sequence[bytes]) -> int:
        """Write records of consecutive timestamps in one write; return how many bytes."""
        offset, synced, number = self.size_bytes, self._synced_bytes, self.number
        parts: list[bytes] = []
        for timestamp, payload in enumerate(payloads, first_timestamp):
            length = _FIXED_BYTES + len(payload)
            checksum = crc32(payload, crc32(_CHECKED.pack(number, offset, length, timestamp, synced)))
            parts += (_HEAD.pack(length, checksum, timestamp, synced), payload)
            offset += _UNCOUNTED_BYTES + length
        self._file.append(b"".join(parts))
        written, self.size_bytes = offset - self.size_bytes, offset
        self.has_mark = False
        return written

    def append_mark(self, last_timestamp: int) -> None:
        """Vouch for all that is synced. The mark itself need not be."""
        self.append(last_timestamp, [encode_writes({})])
        self.has_mark = True

    def cut_back(self, size_bytes: int) -> None:
        """Undo all behind `size_bytes`, of which nobody has been told; all before is synced then."""
        with self._sync_lock:
            self._truncate(size_bytes)
            # On disk before anything is written over it, for the reason given in `reopen`.
            self._sync_file()
            self.size_bytes = self._synced_bytes = size_bytes

    def sync(self) -> None:
        """All that was appended is on disk when this returns."""
        self._reserve_if_due()
        self._sync_to(self.size_bytes)

    def sync_acknowledged(self) -> bool:
        """Sync what has become visible; whether there was any need. From any thread."""
        # Not all that is appended: a leader that is interrupted cuts off what nobody was told of,
        # and other bytes will stand in its place, which this sync has not seen.
        return self._sync_to(self.acknowledged_bytes)

    def seal(self) -> None:
        """Sync all and give back what is reserved: from now on another segment is the last."""
        with self._sync_lock:
            is_cut = self._give_back()
            # The cut, too: an earlier segment that ends in zeros is taken for damaged.
            if is_cut or not self.is_synced:
                self._sync_file()
                self._synced_bytes = self.size_bytes

    def finish(self, last_timestamp: int) -> None:
        """Give back what is reserved, and vouch for all, which must be synced."""
        self._give_back()
        if not self.has_mark:
            self.append_mark(last_timestamp)

    def close(self) -> None:
        self._file.close()

    def _sync_to(self, size_bytes: int) -> bool:
        with self._sync_lock:
            if self._synced_bytes >= size_bytes:
                return False
            self._sync_file()
            self._synced_bytes = size_bytes
            return True

    def _sync_file(self) -> None:
        """Under the lock. After one that failed, every other fails."""
        if self._has_failed_sync:
            raise StorageError(f"cannot sync {self.path}: an earlier sync failed")
        self._has_failed_sync = True  # Until the opposite is known.
        try:
            self._file.sync()
            self._has_failed_sync = False
        except BaseException as error:
            self._has_failed_sync = not is_interrupt(error)
            raise

    def _reserve_if_due(self) -> None:
        """Write zeros behind the records, so that the next ones only overwrite.

        A sync of a file that has grown must also write its new length. This comes just before
        a sync that has to do so anyway. Space is not needed for the commit that is in progress:
        where there is none, the log grows record by record.
        """
        if self._reserved_end > self.size_bytes or not self._may_reserve:
            return
        is_long = self.size_bytes >= RESERVE_FROM_BYTES
        is_in_small_steps = self.size_bytes - self._synced_bytes <= RESERVE_STEP_BYTES
        if not (is_long and is_in_small_steps):
            return
        self._reserved_end = self.size_bytes + RESERVE_BYTES
        try:
            self._file.reserve(RESERVE_BYTES)
        except StorageError:
            self._may_reserve = False
            self._give_back()

    def _give_back(self) -> bool:
        if self._reserved_end <= self.size_bytes:
            return False
        self._truncate(self.size_bytes)
        return True

    def _truncate(self, size_bytes: int) -> None:
        self._file.truncate(size_bytes)
        self._reserved_end = size_bytes


class LogRecord(NamedTuple):
    timestamp: int
    keys: list[bytes]
    values: list[bytes | None]
    offset: int
    deleted_ranges: tuple[DeletedRange, ...] = ()


class _Frame(NamedTuple):
    timestamp: int
    synced_bytes: int
    payload_start: int
    end: int


class SegmentReader:
    """The commits of one segment, in order. Iterate once; then `sound_bytes` is set."""

    def __init__(
        self,
        data: bytes,
        number: int,
        path: str,
        *,
        last_timestamp: int,
        may_be_torn: bool,
        is_last: bool = True,
        starts_at: int = 0,
    ) -> None:
        """`last_timestamp` is that of the commit before this segment.

        `may_be_torn` says that a tear at the end is a crash's doing and not damage: the last
        segment, in a recovery that tolerates it. `is_last`, that it may end in zeros.

        `starts_at` is where in the file `data` begins: 0, or where a record does, behind what
        was read before. `last_timestamp` is then that of the record in front of it.
        """
        self.last_timestamp = last_timestamp
        self.sound_bytes = 0
        """How much of the segment is good: what may be kept and written on. 0: not even the
        file header is, so the segment has to be made anew."""
        self.has_mark = True
        self.version = FORMAT_VERSION
        """Of its format. One whose header is torn will be made anew, in ours."""
        self._data = data
        self._number = number
        self._path = path
        self._may_be_torn = may_be_torn
        self._is_last = is_last
        self._starts_at = starts_at

    def __iter__(self) -> Iterator[LogRecord]:
        """Raises CorruptionError for damage, FormatVersionError for a newer format."""
        if self._starts_at == 0 and not self._has_header():
            return
        offset = 0 if self._starts_at else HEADER_BYTES
        while offset < len(self._data):
            frame = self._frame_at(offset)
            if frame is None:
                if not (self._is_last and only_zeros(self._data, offset)):
                    self._refuse_damage(offset)
                break
            keys, values, deleted_ranges = self._decode(frame, offset)
            self.has_mark = not keys and not deleted_ranges
            self._check_timestamp(frame.timestamp, is_mark=self.has_mark, offset=offset)
            if not self.has_mark:
                self.last_timestamp = frame.timestamp
                yield LogRecord(frame.timestamp, keys, values, self._starts_at + offset, deleted_ranges)
            offset = frame.end
        self.sound_bytes = self._starts_at + offset

    def _has_header(self) -> bool:
        try:
            self.version = check_header(self._data, WAL_MAGIC, self._path)
        except CorruptionError:
            # The header is synced before the first record is written.
            if not self._may_be_torn or self._vouching_offset(0) is not None:
                raise
            return False
        return True

    def _frame_at(self, offset: int) -> _Frame | None:
        """The record that starts here; None when its length or checksum is wrong."""
        data = self._data
        if offset + _SMALLEST_RECORD_BYTES > len(data):
            return None
        length, checksum, timestamp, synced = _HEAD.unpack_from(data, offset)
        end = offset + _UNCOUNTED_BYTES + length
        if length <= _FIXED_BYTES or length > _FIXED_BYTES + MAX_COMMIT_BYTES or end > len(data):
            return None
        payload_start = offset + _HEAD.size
        prefix = _CHECKED.pack(self._number, self._starts_at + offset, length, timestamp, synced)
        if crc32(memoryview(data)[payload_start:end], crc32(prefix)) != checksum:
            return None
        return _Frame(timestamp, synced, payload_start, end)

    def _decode(
        self, frame: _Frame, offset: int
    ) -> tuple[list[bytes], list[bytes | None], tuple[DeletedRange, ...]]:
        try:
            keys, values, *more = msgpack.unpackb(memoryview(self._data)[frame.payload_start : frame.end])
            deleted_ranges = tuple((lo, hi) for lo, hi in (more[0] if more else ()))
            sound = (
                len(more) <= 1
                and all(map(is_range, deleted_ranges))
                and len(keys) == len(values)
                and {bytes}.issuperset(map(type, keys))
                and {bytes, type(None)}.issuperset(map(type, values))
            )
        except (ValueError, TypeError, msgpack.UnpackException):
            sound = False
        if not sound:
            raise self._corruption("the record's checksum is right but it is not a list of writes", offset)
        return keys, values, deleted_ranges

    def _check_timestamp(self, timestamp: int, *, is_mark: bool, offset: int) -> None:
        expected = self.last_timestamp if is_mark else self.last_timestamp + 1
        if timestamp != expected:
            raise self._corruption(
                f"the record is of commit {timestamp} where {expected} was due: commits are missing", offset
            )

    def _refuse_damage(self, offset: int) -> None:
        """Return when the bad record at `offset` may be a crash's tear; raise when not."""
        if not self._may_be_torn:
            raise self._corruption("the log record is torn or damaged", offset)
        later = self._vouching_offset(offset)
        if later is not None:
            raise self._corruption(
                "the log record is damaged: it had been synced when the one at byte "
                f"{self._starts_at + later} was written",
                offset,
            )

    def _vouching_offset(self, offset: int) -> int | None:
        """Where a sound record behind `offset` says that `offset` had been synced; else None.

        The bad record's length cannot be believed, so a record may start at any byte. Few
        bytes look like the start of one: the timestamp is one of the next few million.
        """
        data = self._data
        highest_timestamp = self.last_timestamp + len(data) // _SMALLEST_RECORD_BYTES + 1
        upper_halves = {struct.pack("<I", t >> 32) for t in (self.last_timestamp, highest_timestamp)}
        looks_like_record = re.compile(
            rb"(?=(?!\0{4})...[\x00-\x10].{8}(?:" + b"|".join(map(re.escape, upper_halves)) + rb"))",
            re.DOTALL,
        )
        for match in looks_like_record.finditer(data, offset + 1):
            start = match.start()
            if start + _SMALLEST_RECORD_BYTES > len(data):
                return None
            _, _, timestamp, synced = _HEAD.unpack_from(data, start)
            if not self.last_timestamp <= timestamp <= highest_timestamp:
                continue
            if not offset < synced - self._starts_at <= start:
                continue
            if self._frame_at(start) is not None:
                return start
        return None

    def _corruption(self, message: str, offset: int) -> CorruptionError:
        return CorruptionError(
            message,
            file=self._path,
            offset=self._starts_at + offset,
            hint="restore the folder from a backup, or save what is left with `ferrisdb salvage`",
        )

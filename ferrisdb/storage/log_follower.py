"""Following a log that another process writes: what has come since the last look.

    000007.wal  [ 7 ][ 8 ][ 9 ]                 read before
    000009.wal  [10 ][11 ][12 ][13 ] 0 0 0      12 was the last: 13 is new, then the end
                           ^ still the record that was read here?

A look lists the folder first and reads the segments then. A segment is begun only when all
of the one before it is written, so whoever sees the name of the new one finds the old one
whole. The other way about, commits could come to the old segment after it was read.

Where no sound record begins, the log ends for now: at a record that is only half written, at
zeros that are space for more, at the end of the file. That holds for every segment, for
commits that are missing in the middle are noticed anyway: timestamps are consecutive.

What was read is synced before anybody is told of it. The writer shows a commit only when it
is synced, and we may have read it before that; a power cut would then take back what our
reader has seen. A file that is open for reading can be synced on Linux and macOS. Where it
cannot (Windows; a file system mounted read-only), a reader may see the last commits a moment
before they are safe.

A writer that is interrupted (Ctrl-C) between writing and syncing cuts its record off again
and reuses its timestamp. So each look compares the head of the last record, and where that
has changed, the log is read anew from the start.

Limits: a reader that looked in that moment has seen a commit which never was. It is the only
way to see one; the log does not say which of its last records the writer has synced.
"""

from __future__ import annotations

from typing import Final

from ferrisdb.errors import CorruptionError
from ferrisdb.storage.env import Env, ReadFile, join
from ferrisdb.storage.file_names import FileKind, log_name, parse_name
from ferrisdb.storage.memtable_kinds import Memtable, new_memtable
from ferrisdb.storage.options import MemtableKind
from ferrisdb.storage.range_tombstones import RangeTombstone
from ferrisdb.storage.wal import LogRecord, SegmentReader

_HEAD_BYTES: Final = 24
"""Of a record: length, checksum, timestamp, synced. Two records that differ, differ here."""


class LogChanged(Exception):
    """What was read of the log is no longer in it."""


class FollowedSegment:
    """One segment as far as it was read, with its commits in a memtable."""

    def __init__(self, env: Env, folder: str, number: int, memtable: Memtable) -> None:
        self.number = number
        self.memtable = memtable
        self.last_timestamp = 0
        """Of the last commit read here or in front of it."""
        self.deleted_ranges: list[RangeTombstone] = []
        self.is_spoiled = False
        self._env = env
        self._path = join(folder, log_name(number))
        self._end = 0
        """In the file, of what was read. 0: not even the header was there."""
        self._last_offset = 0
        self._last_head = b""

    def follow(self, timestamp_before: int) -> None:
        """Read on. `timestamp_before` is the last commit in front of this segment.

        Raises FileNotFoundError; LogChanged; StorageError; CorruptionError for damage, and
        perhaps when the writer was just at work there: a second look tells.
        """
        file = self._env.open_read(self._path)
        try:
            self._follow(file, timestamp_before)
        finally:
            file.close()

    def _follow(self, file: ReadFile, timestamp_before: int) -> None:
        if self._last_head and file.read_at(self._last_offset, _HEAD_BYTES) != self._last_head:
            raise LogChanged
        if not self._last_head:
            self.last_timestamp = timestamp_before
        if not any(file.read_at(self._end, _HEAD_BYTES)):
            return
        reader = SegmentReader(
            file.read_at(self._end, file.size() - self._end),
            self.number,
            self._path,
            last_timestamp=self.last_timestamp,
            may_be_torn=True,
            starts_at=self._end,
        )
        records = list(reader)
        if records:
            last_head = file.read_at(records[-1].offset, _HEAD_BYTES)
            # Behind the reading, or it would not cover what was read; before the memtable, so
            # that nobody is told of a commit that a power cut could take back.
            file.sync()
            self._add(records)
            self._last_offset, self._last_head = records[-1].offset, last_head
        self._end, self.last_timestamp = reader.sound_bytes, reader.last_timestamp
        self.is_spoiled = False

    def _add(self, records: list[LogRecord]) -> None:
        # Until `_follow` ends. An interrupt in between leaves commits in the memtable that would
        # be added again.
        self.is_spoiled = True
        for record in records:
            self.memtable.add(record.timestamp, dict(zip(record.keys, record.values, strict=True)))
            self.deleted_ranges += (
                RangeTombstone(lo, hi, record.timestamp) for lo, hi in record.deleted_ranges
            )


class LogFollower:
    """All live segments. Used by one thread at a time."""

    def __init__(self, env: Env, folder: str, memtable: MemtableKind) -> None:
        self.segments: list[FollowedSegment] = []
        """Oldest first."""
        self._env = env
        self._folder = folder
        self._memtable = memtable

    @property
    def last_timestamp(self) -> int:
        return self.segments[-1].last_timestamp

    def follow(self, oldest_number: int, timestamp_before: int) -> None:
        """Read on in all segments from `oldest_number`, whose first commit is the one after
        `timestamp_before`. Raises as `FollowedSegment.follow`."""
        numbers = self._live_numbers(oldest_number)
        if any(segment.is_spoiled for segment in self.segments):
            self.segments = []
        known = {segment.number: segment for segment in self.segments}
        followed: list[FollowedSegment] = []
        try:
            for number in numbers:
                segment = known.get(number) or self._begin(number)
                segment.follow(timestamp_before)
                timestamp_before = segment.last_timestamp
                followed.append(segment)
        except LogChanged:
            self.segments = []
            raise
        self.segments = followed

    def _begin(self, number: int) -> FollowedSegment:
        return FollowedSegment(self._env, self._folder, number, new_memtable(self._memtable))

    def _live_numbers(self, oldest_number: int) -> list[int]:
        found = (parse_name(name) for name in self._env.list_directory(self._folder))
        numbers = sorted(
            parsed[1]
            for parsed in found
            if parsed is not None and parsed[0] is FileKind.LOG and parsed[1] >= oldest_number
        )
        if not numbers or numbers[0] != oldest_number:
            path = join(self._folder, log_name(oldest_number))
            raise CorruptionError("a log segment is missing", file=path, offset=0)
        return numbers

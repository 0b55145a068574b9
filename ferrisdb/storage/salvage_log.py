"""What is left of a damaged log: every sound record, and which commits are gone.

    [ 7 ][ 8 ][ ????????? ][ 11 ][ mark 11 ]        commits 9 and 10 are lost
    [ 7 ][ 8 ][ ????????? ][ mark 8 ]               a mark was damaged, nothing is lost
    [ 7 ][ 8 ][ ????????? ]                         from commit 9 on, nobody knows

A record's checksum covers the segment's number, the offset and the length, so whatever passes
for a record at a place was written there. Timestamps are consecutive, so a gap counts what is
gone. Which keys a lost record had cannot be told: it may have been any.

The end of a log that a crash has torn looks like the third line, too. It is reported as a loss
that may be none.

Limits: all sound records are in memory together, as in a recovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage.check_findings import problem_of
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import WAL_MAGIC, check_header
from ferrisdb.storage.file_names import log_name
from ferrisdb.storage.inspect_log import BadBytes, SeenRecord, read_records
from ferrisdb.storage.range_tombstones import RangeTombstone
from ferrisdb.storage.salvage_report import Damage


@dataclass
class SalvagedLog:
    records: list[SeenRecord] = field(default_factory=list)
    """Of commits, in the order of their timestamps; marks are left out."""
    damages: list[Damage] = field(default_factory=list)
    is_closed: bool = False
    """Whether it ends with a mark: then nothing was behind it."""

    def lacks(self, timestamp: int) -> bool:
        """Whether this commit is due, and not there, and no damaged bytes are either."""
        return any(each.first_commit == timestamp and each.offset == each.end for each in self.damages)


def salvage_log(env: Env, folder: str, numbers: Sequence[int], last_timestamp: int | None) -> SalvagedLog:
    """Read these segments, oldest first. Never fails for damage.

    `last_timestamp` is that of the commit before the first segment, None when nobody knows.
    """
    reader = _LogSalvage(env, folder, last_timestamp)
    for number in numbers:
        reader.read(number)
    return reader.finish()


class _LogSalvage:
    def __init__(self, env: Env, folder: str, last_timestamp: int | None) -> None:
        self._env = env
        self._folder = folder
        self._last_timestamp = last_timestamp
        self._found = SalvagedLog()
        self._pending: list[Damage] = []
        """Bad places since the last sound record: the next one tells what was there."""

    def read(self, number: int) -> None:
        path = join(self._folder, log_name(number))
        self._found.is_closed = False
        try:
            data = self._env.read_file(path)
        except FileNotFoundError:
            self._bad(path, 0, 0, "the log segment is missing")
            return
        except Error as error:
            self._bad(path, 0, 0, error.message)
            return
        try:
            check_header(data, WAL_MAGIC, path)
        except CorruptionError as error:
            self._bad(path, 0, min(len(data), 16), problem_of(error))
        except Error as error:
            # Of a newer format: what its records mean cannot be known.
            self._bad(path, 0, len(data), error.message)
            return
        for seen in read_records(data, number):
            if isinstance(seen, SeenRecord):
                self._sound(path, seen)
            elif isinstance(seen, BadBytes):
                self._bad(path, seen.offset, seen.end, f"the log record is damaged: {seen.problem}")

    def finish(self) -> SalvagedLog:
        first = None if self._last_timestamp is None else self._last_timestamp + 1
        # Nothing sound stands behind these, so nobody knows how many commits were there.
        for damage in self._pending:
            self._found.damages.append(replace(damage, first_commit=first))
        self._pending.clear()
        return self._found

    def _bad(self, path: str, offset: int, end: int, problem: str) -> None:
        self._pending.append(Damage(path, offset, end, problem, is_loss=True))
        self._found.is_closed = False

    def _sound(self, path: str, record: SeenRecord) -> None:
        self._found.is_closed = record.is_mark
        last, newest = self._last_timestamp, record.timestamp
        if last is not None and newest < last + (not record.is_mark):
            problem = f"the record is of commit {newest}, which does not follow {last}"
            self._pending.append(Damage(path, record.offset, record.end, problem, is_loss=True))
            return
        first_missing = None if last is None else last + 1
        last_missing = newest if record.is_mark else newest - 1
        is_gap = first_missing is None or first_missing <= last_missing
        if first_missing is not None and is_gap and not self._pending:
            problem = "commits are missing before this record"
            self._pending.append(Damage(path, record.offset, record.offset, problem, is_loss=True))
        for damage in self._pending:
            self._found.damages.append(
                replace(damage, first_commit=first_missing, last_commit=last_missing)
                if is_gap
                else replace(damage, is_loss=False)
            )
        self._pending.clear()
        self._last_timestamp = newest
        if not record.is_mark:
            self._found.records.append(record)


def deleted_ranges_of(records: Iterable[SeenRecord]) -> list[RangeTombstone]:
    """What these commits have deleted by ranges."""
    return [
        RangeTombstone(lo, hi, record.timestamp) for record in records for lo, hi in record.deleted_ranges
    ]

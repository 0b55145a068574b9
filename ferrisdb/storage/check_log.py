"""Checking the log: is every record sound, and is no commit missing?

    000003.wal   [ 7 ][ 8 ][ 9 ]         synced before 000005.wal began: any bad record is damage
    000005.wal   [10 ][11 ][ ? ][13 ]    the last: a bad record is a crash's tear, unless a later
                                         one says that it had been on disk (see wal.py)

The commits follow the manifest's last commit and each other without a gap. Behind a damaged
record the count begins anew: that commits are missing there has been said already.

What is found behind a bad record of the last segment is held back until a record vouches for
the bad one. If none does, the log ended at the tear, and what lies behind it never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage.check_findings import Findings, problem_of
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import WAL_MAGIC, check_header
from ferrisdb.storage.file_names import log_name
from ferrisdb.storage.inspect_log import BadBytes, ReservedBytes, SeenRecord, read_records
from ferrisdb.storage.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES


class LogCheck:
    """Checks the segments of a folder. Without `begin`, as when the manifest is damaged, the log
    may start with any commit in any segment."""

    def __init__(self, env: Env, folder: str, findings: Findings, progress: Callable[[int], None]) -> None:
        self._env = env
        self._folder = folder
        self._findings = findings
        self._progress = progress
        self._oldest: int | None = None
        self._last_timestamp: int | None = None

    def begin(self, oldest: int, last_timestamp: int) -> None:
        """Segment `oldest` is there, and its first commit is the one after `last_timestamp`."""
        self._oldest = oldest
        self._last_timestamp = last_timestamp

    def check(self, numbers: Sequence[int]) -> int:
        """Check these segments, oldest first; how many commits they have."""
        if self._oldest is not None and self._oldest not in numbers:
            self._missing(log_name(self._oldest))
        commits = 0
        for number in numbers:
            data = self._read(log_name(number))
            if data is None:
                continue
            path = join(self._folder, log_name(number))
            segment = _SegmentCheck(path, self._last_timestamp, self._findings, is_last=number == numbers[-1])
            segment.check(data, number)
            self._last_timestamp = segment.last_timestamp
            commits += segment.commits
            self._progress(len(data))
        return commits

    def _read(self, name: str) -> bytes | None:
        try:
            return self._env.read_file(join(self._folder, name))
        except FileNotFoundError:
            self._missing(name)
        except Error as error:
            self._findings.add_error(error, join(self._folder, name))
            self._last_timestamp = None
        return None

    def _missing(self, name: str) -> None:
        self._findings.add(join(self._folder, name), 0, "the log segment is missing")
        self._last_timestamp = None


class _SegmentCheck:
    def __init__(self, path: str, last_timestamp: int | None, findings: Findings, *, is_last: bool) -> None:
        self.last_timestamp = last_timestamp
        self.commits = 0
        self._path = path
        self._findings = findings
        self._is_last = is_last
        self._synced_bytes = 0
        self._tear: int | None = None
        """Where the first bad record begins that nobody has vouched for yet."""
        self._held: list[tuple[int, str]] = []

    def check(self, data: bytes, number: int) -> None:
        try:
            check_header(data, WAL_MAGIC, self._path)
        except CorruptionError as error:
            self._found(error.offset, problem_of(error), tear=0)
        except Error as error:
            # Of a newer format: nothing in the file can be judged.
            self._findings.add_error(error, self._path)
            self.last_timestamp = None
            return
        for seen in read_records(data, number):
            if isinstance(seen, BadBytes):
                self._bad(seen)
            elif isinstance(seen, ReservedBytes):
                self._reserved(seen)
            else:
                self._sound(seen)
        if self._tear is not None:
            self._findings.note(f"{self._path}: the log ends torn at byte {self._tear}: a crash did that")

    def _bad(self, bad: BadBytes) -> None:
        self._found(bad.offset, f"the log record is damaged: {bad.problem}", tear=bad.offset)
        self.last_timestamp = None

    def _reserved(self, zeros: ReservedBytes) -> None:
        if not self._is_last:
            problem = f"{zeros.end - zeros.offset} zeros, which only the last segment may end in"
            self._bad(BadBytes(zeros.offset, zeros.end, problem))

    def _sound(self, record: SeenRecord) -> None:
        if self._tear is not None and record.synced_bytes > self._tear:
            self._tear = None
            for offset, problem in self._held:
                self._findings.add(self._path, offset, problem)
            self._held.clear()
        self._check_timestamp(record)
        if record.synced_bytes > record.offset or record.synced_bytes < self._synced_bytes:
            self._found(
                record.offset, f"the record says that {record.synced_bytes} bytes were synced before it"
            )
        self._synced_bytes = record.synced_bytes
        keys = [key for key, _ in record.writes]
        if len(set(keys)) < len(keys):
            self._found(record.offset, "the record writes a key twice")
        if any(
            len(key) > MAX_KEY_BYTES or len(value or b"") > MAX_VALUE_BYTES for key, value in record.writes
        ):
            self._found(record.offset, "the record has a key or value that is longer than any may be")
        if any(hi is not None and hi <= lo for lo, hi in record.deleted_ranges):
            self._found(record.offset, "the record deletes a range that ends before it begins")
        self.commits += not record.is_mark and self._tear is None

    def _check_timestamp(self, record: SeenRecord) -> None:
        if self.last_timestamp is not None:
            expected = self.last_timestamp + (not record.is_mark)
            if record.timestamp != expected:
                problem = f"the record is of commit {record.timestamp} where {expected} was due"
                self._found(record.offset, problem)
        self.last_timestamp = record.timestamp

    def _found(self, offset: int, problem: str, *, tear: int | None = None) -> None:
        """`tear` is given for what a crash may have done to the end of the log."""
        if tear is not None and self._is_last and self._tear is None:
            self._tear = tear
        if self._tear is None:
            self._findings.add(self._path, offset, problem)
        else:
            self._held.append((offset, problem))

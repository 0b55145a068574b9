"""A database's folder, looked at and not opened: nothing is locked, made, cut or removed.

Opening a database for writing repairs what a crash left behind, and takes the folder for one
process. Looking does neither, so it works on a read-only disk and beside a process that has
the database open. What it then sees is not one moment: a file read now and a file read a
little later may be of two states. Three things can be met, and none of them is damage:

    the last log segment ends in the middle of a record     it is being written
    a file is gone that the manifest named                  it was flushed or merged meanwhile
    a table that the manifest does not name                 it is being written

So whoever looks says so when somebody else has the folder (`holder_pid`), and looks again
when the folder's `fingerprint` has changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ferrisdb.errors import CorruptionError, NotADatabase
from ferrisdb.storage.block import Block
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import WAL_MAGIC, check_header
from ferrisdb.storage.file_names import (
    CURRENT_NAME,
    LOCK_NAME,
    FileKind,
    log_name,
    manifest_name,
    parse_name,
    table_name,
)
from ferrisdb.storage.inspect_log import SeenRecord, read_records
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.manifest import Manifest, ManifestState, TableEntry
from ferrisdb.storage.range_tombstones import RangeTombstone, RangeTombstones


@dataclass(frozen=True)
class FoundInLog:
    """A version, and where the record that wrote it begins."""

    timestamp: int
    value: bytes | None
    offset: int


@dataclass(frozen=True)
class FoundInTable:
    """What one table says of one key. `versions` are (timestamp, value), newest first."""

    entry: TableEntry
    is_in_range: bool
    filter_says_maybe: bool
    versions: tuple[tuple[int, bytes | None], ...]
    blocks: tuple[int, ...]
    """The blocks that were read for it."""


@dataclass(frozen=True)
class SeenFolder:
    env: Env
    folder: str
    manifest_number: int
    state: ManifestState
    names: tuple[str, ...]

    @property
    def log_numbers(self) -> list[int]:
        """Of the segments that count, oldest first."""
        return live_logs(self.names, self.state.oldest_log_number)

    @property
    def leftovers(self) -> list[str]:
        """Numbered files that do not count: opening the database removes them."""
        tables = {entry.number for entry in self.state.tables}
        return find_leftovers(self.names, self.manifest_number, self.state.oldest_log_number, tables)

    def records(self, number: int) -> Iterator[SeenRecord]:
        """The sound records of a segment up to the first bad one, as recovery would take them."""
        path = join(self.folder, log_name(number))
        data = read_whole(self.env, path)
        check_header(data, WAL_MAGIC, path)
        for found in read_records(data, number):
            if not isinstance(found, SeenRecord):
                return
            yield found

    def versions_in_log(self, number: int, key: bytes) -> list[FoundInLog]:
        """Newest first."""
        found = [
            FoundInLog(record.timestamp, value, record.offset)
            for record in self.records(number)
            for written, value in record.writes
            if written == key
        ]
        return found[::-1]

    def versions_in_table(self, entry: TableEntry, key: bytes) -> FoundInTable:
        """All versions of `key` in one table, and how they were found."""
        table = TableFile(self.env, join(self.folder, table_name(entry.number)), entry.ingested_at)
        try:
            footer = table.footer()
            says_maybe = table.filter(footer).filter.may_contain(key)
            is_in_range = entry.smallest_key <= key <= entry.largest_key
            versions: list[tuple[int, bytes | None]] = []
            numbers: list[int] = []
            if says_maybe and is_in_range:
                for number, block in _blocks_between(table, key, key + b"\0"):
                    numbers.append(number)
                    rows = zip(block.keys, block.timestamps, block.values, strict=True)
                    versions += [(at, value) for row_key, at, value in rows if row_key == key]
        finally:
            table.close()
        return FoundInTable(entry, is_in_range, says_maybe, tuple(versions), tuple(numbers))

    def range_tombstones(self) -> RangeTombstones:
        """Of manifest and log: those that are not settled."""
        in_log = [
            RangeTombstone(lo, hi, record.timestamp)
            for number in self.log_numbers
            for record in self.records(number)
            for lo, hi in record.deleted_ranges
        ]
        return RangeTombstones((*self.state.deleted_ranges, *in_log))

    def newest_rows(self, lo: bytes, hi: bytes) -> list[tuple[bytes, bytes]]:
        """What a reader of now would see of lo <= key < hi, in key order.

        Raises CorruptionError where it meets damage.
        """
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        deleted = self.range_tombstones().as_of(MAX_TIMESTAMP)
        for key, timestamp, value in self._versions_between(lo, hi):
            if timestamp < deleted.floor(key):
                continue
            if key not in newest or newest[key][0] < timestamp:
                newest[key] = timestamp, value
        return [(key, value) for key, (_, value) in sorted(newest.items()) if value is not None]

    def _versions_between(self, lo: bytes, hi: bytes) -> Iterator[tuple[bytes, int, bytes | None]]:
        for entry in self.state.tables:
            if entry.largest_key < lo or entry.smallest_key >= hi:
                continue
            table = TableFile(self.env, join(self.folder, table_name(entry.number)), entry.ingested_at)
            try:
                for _, block in _blocks_between(table, lo, hi):
                    for row in zip(block.keys, block.timestamps, block.values, strict=True):
                        if lo <= row[0] < hi:
                            yield row
            finally:
                table.close()
        for number in self.log_numbers:
            for record in self.records(number):
                for key, value in record.writes:
                    if lo <= key < hi:
                        yield key, record.timestamp, value


def look_at(env: Env, folder: str) -> SeenFolder:
    """The folder as its manifest says it is.

    Raises NotADatabase when there is none, CorruptionError when CURRENT or the manifest is
    damaged, FormatVersionError, StorageError.
    """
    require_database(env, folder)
    try:
        manifest, _ = Manifest.load(env, folder, 1, tolerate_tail=True)
    except FileNotFoundError as error:
        path = join(folder, CURRENT_NAME)
        raise CorruptionError("the file that names the manifest is missing", file=path, offset=0) from error
    return SeenFolder(env, folder, manifest.number, manifest.state, tuple(env.list_directory(folder)))


def require_database(env: Env, folder: str) -> None:
    """Raise NotADatabase for what is not even the ruin of one."""
    if not env.exists(folder):
        raise NotADatabase(f"there is no database at {folder}", hint="looking never makes one")
    if not env.is_directory(folder):
        raise NotADatabase(f"{folder} is a file, and a FerrisDB database is a folder")
    names = env.list_directory(folder)
    if CURRENT_NAME not in names and not any(parse_name(name) for name in names):
        raise NotADatabase(f"{folder} is not a FerrisDB database: it has neither CURRENT nor numbered files")


def holder_pid(env: Env, folder: str) -> int | None:
    """The process that the lock file names. It may have died: only taking the lock would tell."""
    try:
        text = env.read_file(join(folder, LOCK_NAME)).strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def fingerprint(env: Env, folder: str) -> object:
    """Equal at two moments when no file was made, removed or named by the manifest between them."""
    names = tuple(env.list_directory(folder))
    live = [name for name in names if (kind := parse_name(name)) and kind[0] is FileKind.MANIFEST]
    sizes = []
    for name in live:
        try:
            file = env.open_read(join(folder, name))
        except FileNotFoundError:
            continue
        try:
            sizes.append(file.size())
        finally:
            file.close()
    return names, sizes


def live_logs(names: tuple[str, ...], oldest: int) -> list[int]:
    parsed = (parse_name(name) for name in names)
    return sorted(found[1] for found in parsed if found and found[0] is FileKind.LOG and found[1] >= oldest)


def find_leftovers(names: tuple[str, ...], manifest: int, oldest_log: int, tables: set[int]) -> list[str]:
    def counts(kind: FileKind, number: int) -> bool:
        if kind is FileKind.LOG:
            return number >= oldest_log
        if kind is FileKind.UNFINISHED_TABLE:
            return False
        return number in tables if kind is FileKind.TABLE else number == manifest

    return [name for name in names if (parsed := parse_name(name)) and not counts(*parsed)]


def read_whole(env: Env, path: str) -> bytes:
    """A file that should be there. Raises CorruptionError when it is not."""
    try:
        return env.read_file(path)
    except FileNotFoundError as error:
        raise CorruptionError("the file is missing", file=path, offset=0) from error


def file_named(names: tuple[str, ...], wanted: str) -> str | None:
    """The file of the folder that `wanted` means: its name, or its number alone."""
    if wanted in names:
        return wanted
    if not wanted.isdecimal() or len(wanted) > 19:
        return None
    number = int(wanted)
    candidates = (table_name(number), log_name(number), manifest_name(number))
    return next((name for name in candidates if name in names), None)


def _blocks_between(table: TableFile, lo: bytes, hi: bytes) -> Iterator[tuple[int, Block]]:
    """The blocks, with their numbers, that may hold a key with lo <= key < hi."""
    index = table.index(table.footer())
    sections = index.sections
    for number in index.blocks_between(lo, hi):
        yield number, table.block(sections[number])

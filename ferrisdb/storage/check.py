"""Checking a database's files: everything that can be wrong without anybody noticing yet.

Reading checks what it touches. This reads all, and also what no reader ever compares:

    CURRENT      names a manifest that is there
    manifest     every checksum; edits that fit each other; every file it names is there
    log          every checksum; commits follow each other without a gap       check_log.py
    tables       every checksum; every order; index, filter and properties     check_table.py
                 are true of the blocks; the manifest is true of the table
    ages         of each key, deeper levels have only older versions           check_ages.py

A finding does not end the check. What depends on a damaged part is skipped, so that one
damaged byte is one finding, and all else is still checked: without CURRENT the newest
manifest is taken, without any manifest each table is checked by itself, without an index the
blocks are found by their own structure.

Not damage, and only noted: what a crash leaves behind and the next opening removes. That is
a torn end of the last log segment or of the manifest, and files that no manifest names.

Nothing is locked, so another process may change the folder meanwhile. When something was
found and the folder has changed, the finding proves nothing and the check begins again.

Above this layer, and not checked here: whether rows and index entries agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ferrisdb.errors import CorruptionError, Error, Unavailable
from ferrisdb.storage.check_ages import check_ages
from ferrisdb.storage.check_findings import Finding, Findings
from ferrisdb.storage.check_log import LogCheck
from ferrisdb.storage.check_table import check_table
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import HEADER_BYTES, MANIFEST_MAGIC, check_header
from ferrisdb.storage.file_names import (
    CURRENT_NAME,
    CURRENT_TEMPORARY_NAME,
    LOCK_NAME,
    UNFINISHED_NAME,
    FileKind,
    manifest_name,
    parse_name,
    table_name,
)
from ferrisdb.storage.inspect_folder import (
    find_leftovers,
    fingerprint,
    live_logs,
    read_whole,
    require_database,
)
from ferrisdb.storage.inspect_log import BadBytes
from ferrisdb.storage.inspect_manifest import SeenEdit, Sum, add_up, read_edits
from ferrisdb.storage.level import LAST_LEVEL
from ferrisdb.storage.manifest import TableEntry, read_current

MOST_TRIES: Final = 5

Progress = Callable[[int], None]


@dataclass(frozen=True)
class CheckReport:
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    tables: int
    blocks: int
    versions: int
    log_segments: int
    commits: int
    """In the log."""


def check_folder(env: Env, folder: str, progress: Progress = lambda read_bytes: None) -> CheckReport:
    """Check all files; `progress` is told of bytes as they are read. Changes nothing.

    Raises NotADatabase when there is nothing to check, MissingLibrary when blocks are compressed
    and cannot be read here, Unavailable when another process changes the folder faster than it
    can be read.
    """
    require_database(env, folder)
    for _ in range(MOST_TRIES):
        before = fingerprint(env, folder)
        report = _FolderCheck(env, folder, progress).run()
        if not report.findings or fingerprint(env, folder) == before:
            return report
    raise Unavailable(
        f"{folder} changed {MOST_TRIES} times while it was checked",
        hint="close the database that another process has open, or check a backup",
    )


@dataclass
class _FolderCheck:
    env: Env
    folder: str
    progress: Progress
    findings: Findings = field(default_factory=Findings)
    manifest_number: int | None = None
    is_manifest_whole: bool = False

    def run(self) -> CheckReport:
        names = tuple(self.env.list_directory(self.folder))
        total = self._check_manifest(names)
        state = total.state
        entries: dict[int, TableEntry | None] = {entry.number: entry for entry in state.tables}
        if not self.is_manifest_whole:
            # It may not say of all that is alive, so each table is worth a look.
            entries |= {number: None for number in _tables_in(names) if number not in entries}
        self._check_tree(total)
        blocks = versions = 0
        for number, entry in sorted(entries.items()):
            path = join(self.folder, table_name(number))
            counted = check_table(self.env, path, entry, self.findings, self.progress)
            blocks, versions = blocks + counted.blocks, versions + counted.versions
        if self.manifest_number is not None and not self.findings.found:
            manifest_path = join(self.folder, manifest_name(self.manifest_number))
            check_ages(self.env, self.folder, total, manifest_path, self.findings)
        logs = live_logs(names, state.oldest_log_number)
        log = LogCheck(self.env, self.folder, self.findings, self.progress)
        if self.is_manifest_whole:
            log.begin(state.oldest_log_number, state.last_timestamp)
        commits = log.check(logs)
        self._note_leftovers(names, total, set(entries))
        return CheckReport(
            tuple(self.findings.found),
            tuple(self.findings.notes),
            len(entries),
            blocks,
            versions,
            len(logs),
            commits,
        )

    def _check_manifest(self, names: tuple[str, ...]) -> Sum:
        """What the manifest says; of an unreadable one, nothing."""
        current = join(self.folder, CURRENT_NAME)
        manifests = [
            found[1] for name in names if (found := parse_name(name)) and found[0] is FileKind.MANIFEST
        ]
        try:
            number = read_current(self.env, self.folder)
        except FileNotFoundError:
            self.findings.add(current, 0, "the file that names the manifest is missing")
            number = max(manifests, default=0)
        except CorruptionError as error:
            self.findings.add_error(error, current)
            number = max(manifests, default=0)
        if number not in manifests:
            if number:
                self.findings.add(current, 0, f"it names {manifest_name(number)}, which is missing")
            return add_up(())
        self.manifest_number = number
        return self._check_edits(number)

    def _check_edits(self, number: int) -> Sum:
        path = join(self.folder, manifest_name(number))
        data = read_whole(self.env, path)
        self.progress(len(data))
        found_before = len(self.findings.found)
        try:
            check_header(data, MANIFEST_MAGIC, path)
        except Error as error:
            self.findings.add_error(error, path)
        edits: list[SeenEdit] = []
        for seen in read_edits(data, number):
            if isinstance(seen, SeenEdit):
                edits.append(seen)
            elif seen.end == len(data) and edits:
                self.findings.note(f"{path}: the last edit, at byte {seen.offset}, is torn: a crash did that")
            else:
                self._add_bad_edit(path, seen)
        if len(data) <= HEADER_BYTES:
            self.findings.add(path, HEADER_BYTES, "the manifest has no snapshot")
        total = add_up(edits)
        # The edits behind a damaged one need not fit those before it.
        if len(self.findings.found) == found_before:
            for offset, problem in total.problems:
                self.findings.add(path, offset, problem)
        self.is_manifest_whole = len(self.findings.found) == found_before
        return total

    def _add_bad_edit(self, path: str, bad: BadBytes) -> None:
        what = "the manifest's snapshot" if bad.offset == HEADER_BYTES else "a manifest edit"
        self.findings.add(path, bad.offset, f"{what} is damaged: {bad.problem}")

    def _check_tree(self, total: Sum) -> None:
        """What must be true of the tables among each other."""
        if self.manifest_number is None or not self.is_manifest_whole:
            return
        path = join(self.folder, manifest_name(self.manifest_number))
        state = total.state
        for entry in state.tables:
            at = total.added_at[entry.number]
            if not 0 <= entry.level <= LAST_LEVEL:
                self.findings.add(path, at, f"table {entry.number} is of level {entry.level}, which is none")
            if entry.number >= state.next_file_number:
                problem = f"table {entry.number} is not below the next file number {state.next_file_number}"
                self.findings.add(path, at, problem)
            if not _is_of_its_ingest(entry):
                problem = f"table {entry.number} was ingested at {entry.ingested_at}, and has other commits"
                self.findings.add(path, at, problem)
            elif entry.largest_timestamp > state.last_timestamp:
                newest = f"table {entry.number} has commit {entry.largest_timestamp}"
                self.findings.add(path, at, f"{newest}, and the last is {state.last_timestamp}")
        for tombstone in state.deleted_ranges:
            if not 0 < tombstone.timestamp <= state.last_timestamp:
                problem = f"a range was deleted at {tombstone.timestamp}, and the last commit is "
                self.findings.add(path, HEADER_BYTES, problem + str(state.last_timestamp))
        level_zero = (entry for entry in state.tables if entry.level == 0)
        by_age = pairwise(sorted(level_zero, key=lambda e: (e.largest_timestamp, e.smallest_key)))
        for older, newer in (pair for pair in by_age if not _are_apart(*pair)):
            problem = f"tables {older.number} and {newer.number} of level 0 overlap in time"
            self.findings.add(path, total.added_at[newer.number], problem)
        for level in {entry.level for entry in state.tables} - {0}:
            row = sorted((e for e in state.tables if e.level == level), key=lambda e: e.smallest_key)
            for left, right in pairwise(row):
                if left.largest_key >= right.smallest_key:
                    problem = f"tables {left.number} and {right.number} of level {level} overlap"
                    self.findings.add(path, total.added_at[right.number], problem)

    def _note_leftovers(self, names: tuple[str, ...], total: Sum, tables: set[int]) -> None:
        oldest = total.state.oldest_log_number
        leftovers = set(find_leftovers(names, self.manifest_number or 0, oldest, tables))
        for name in names:
            if name in leftovers or name in (CURRENT_TEMPORARY_NAME, UNFINISHED_NAME):
                self.findings.note(
                    f"{join(self.folder, name)}: the manifest does not name it; opening removes it"
                )
            elif parse_name(name) is None and name not in (CURRENT_NAME, LOCK_NAME):
                self.findings.note(f"{join(self.folder, name)}: not a file of FerrisDB")


def _is_of_its_ingest(entry: TableEntry) -> bool:
    commits = {entry.smallest_timestamp, entry.largest_timestamp}
    return entry.ingested_at == 0 or commits == {entry.ingested_at}


def _are_apart(older: TableEntry, newer: TableEntry) -> bool:
    """Whether two tables of level 0 may stand one behind the other."""
    if older.ingested_at and older.ingested_at == newer.ingested_at:
        return older.largest_key < newer.smallest_key
    return older.largest_timestamp < newer.smallest_timestamp


def _tables_in(names: tuple[str, ...]) -> list[int]:
    return [found[1] for name in names if (found := parse_name(name)) and found[0] is FileKind.TABLE]

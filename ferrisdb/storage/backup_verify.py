"""Verifying backups: every byte of every table is read, and what is wrong is named.

    backup-000002    its own checksum; its tables fit its manifest's state
    each table       there; every checksum and every order in it, as `ferrisdb check` does it;
                     its blocks have the checksum by which it is named

A table that several backups share is read once. All bytes of a description and of a table are
under a checksum, so a change of any of them is found. What is not: bytes of LOCK, which say
nothing; a file that is not of a backup at all; and a description that was removed as a whole,
which looks like a backup that was deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrisdb.errors import Error, UndefinedObject
from ferrisdb.storage.backup import Progress, ignore_progress
from ferrisdb.storage.backup_store import BackupStore, Description, StoredTable, description_name
from ferrisdb.storage.check_findings import Finding, Findings
from ferrisdb.storage.check_table import check_table
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.manifest import TableEntry


@dataclass(frozen=True)
class VerifyReport:
    findings: tuple[Finding, ...]
    backups: tuple[int, ...]
    """Those that were looked at."""
    damaged: tuple[int, ...]
    """Those of them that cannot be restored."""
    tables: int
    table_bytes: int


def verify_backups(
    store: BackupStore, number: int | None = None, progress: Progress = ignore_progress
) -> VerifyReport:
    """Read backup `number`, or all. Changes nothing.

    Raises NotADatabase, UndefinedObject when there is no such backup or none at all,
    MissingLibrary when blocks are compressed and cannot be read here, StorageError.
    """
    store.require()
    # Whoever verifies the wrong folder each night must not be told that all is well.
    chosen = store.chosen(number)
    numbers = store.numbers() if number is None else [chosen]
    return _Verifying(store, progress).run(numbers)


class _Verifying:
    def __init__(self, store: BackupStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._findings = Findings()

    def run(self, numbers: list[int]) -> VerifyReport:
        descriptions: list[Description] = []
        damaged: set[int] = set()
        for number in numbers:
            try:
                descriptions.append(self._store.read(number))
            except UndefinedObject:
                continue  # deleted since it was listed
            except Error as error:
                self._findings.add_error(error, self._store.path_of(description_name(number)))
                damaged.add(number)
        tables: dict[str, tuple[StoredTable, TableEntry]] = {}
        for description in descriptions:
            for table, entry in zip(description.tables, description.state.tables, strict=True):
                tables.setdefault(table.name, (table, entry))
        total_bytes = sum(table.file_bytes for table, _ in tables.values())
        bad_names = {
            name for name, (table, entry) in tables.items() if not self._is_sound(table, entry, total_bytes)
        }
        for description in descriptions:
            if any(table.name in bad_names for table in description.tables):
                damaged.add(description.backup.number)
        return VerifyReport(
            tuple(self._findings.found),
            tuple(numbers),
            tuple(sorted(damaged)),
            len(tables),
            total_bytes,
        )

    def _is_sound(self, table: StoredTable, entry: TableEntry, total_bytes: int) -> bool:
        found_before = len(self._findings.found)
        path = self._store.path_of(table.name)
        unread_bytes = table.file_bytes

        def advance(read_bytes: int) -> None:
            nonlocal unread_bytes
            unread_bytes -= read_bytes
            self._progress(read_bytes, total_bytes)

        counted = check_table(self._store.env, path, entry, self._findings, advance)
        # The check tells of blocks only; the rest is small.
        self._progress(max(unread_bytes, 0), total_bytes)
        is_sound = len(self._findings.found) == found_before
        if is_sound and counted.blocks_checksum != table.checksum:
            self._findings.add(path, HEADER_BYTES, "the blocks are not those that were backed up")
            return False
        return is_sound

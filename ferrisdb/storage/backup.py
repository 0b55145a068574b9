"""Making a backup: what the store lacks is copied, and one description makes it true.

    pinned tables   4  9  12        the database goes on meanwhile
    store           4  9            from the backup before
                           12 <---- the only one that is copied

Memtables are flushed before, so a backup has every commit that had returned when it was asked
for. Tables are copied through temporary names and checked on the way (`table_copy`): damage in
the database ends the backup with an error that says where, and never gets into the store.
`backup_store` draws the store, and says what a crash leaves.

An error, as that of a full disk, removes what this backup had copied: the store is as it was,
and the room is free again. After a crash the copied tables stay, and the next backup finds
them done.

A table that the store has already is not read again, only its length is compared. Bytes that
rot there later are found by `verify_backups`. The cure is to delete the damaged file by hand:
as long as the database has the table, the next backup copies it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from ferrisdb.errors import InvalidParameterValue, StorageError
from ferrisdb.storage.backup_store import (
    TEMPORARY_SUFFIX,
    Backup,
    BackupStore,
    Description,
    StoredTable,
    description_name,
)
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.pinned_tables import PinnedTables, table_gone
from ferrisdb.storage.table_copy import content_checksum, copy_table

Progress: TypeAlias = Callable[[int, int], None]
"""Told of bytes as they are done, and how many there are in all."""


def ignore_progress(done_bytes: int, total_bytes: int) -> None:
    """The `Progress` of who does not want to know."""


def make_backup(
    pinned: PinnedTables,
    store: BackupStore,
    *,
    made_at_s: float,
    keep_last: int | None = None,
    progress: Progress = ignore_progress,
) -> Backup:
    """Add a backup of the pinned tables to `store`, which is made where it is absent.

    `keep_last` then deletes all but so many of the newest sound backups, this one included.

    Raises NotADatabase when something else is there, DatabaseLocked when another process writes
    to the store; CorruptionError with file and offset for a damaged table of the database;
    StorageError, DiskFull. Then the store has no new backup, and all the old ones.
    """
    if keep_last is not None:
        require_keepable(keep_last)
    with store.locked(create=True):
        made = _Making(pinned, store, progress).make(made_at_s)
        if keep_last is not None:
            _delete_older(store, keep_last)
        return made


class _Making:
    def __init__(self, pinned: PinnedTables, store: BackupStore, progress: Progress) -> None:
        self._pinned = pinned
        self._store = store
        self._env = store.env
        self._progress = progress
        self._made: list[str] = []
        """Names in the store that are not there for any backup yet."""

    def make(self, made_at_s: float) -> Backup:
        state = self._pinned.state
        tables = self._identify(state.tables)
        self._store.clean(keep={table.name for table in tables})
        missing = [
            (entry, table) for entry, table in zip(state.tables, tables, strict=True) if not self._has(table)
        ]
        missing_bytes = sum(table.file_bytes for _, table in missing)
        backup = Backup(
            number=max(self._store.numbers(), default=0) + 1,
            made_at_s=made_at_s,
            last_timestamp=state.last_timestamp,
            table_count=len(tables),
            table_bytes=sum(table.file_bytes for table in tables),
            copied_count=len(missing),
            copied_bytes=missing_bytes,
        )
        try:
            for entry, table in missing:
                self._copy(entry, table, missing_bytes)
            # Before the description, which relies on every one of these names.
            self._env.sync_directory(self._store.folder)
            self._made.append(description_name(backup.number) + TEMPORARY_SUFFIX)
            self._store.add(Description(backup, tables, state))
        except BaseException:
            self._take_back(backup.number)
            raise
        return backup

    def _identify(self, entries: Sequence[TableEntry]) -> tuple[StoredTable, ...]:
        checksums = self._pinned.checksums()
        tables = []
        for entry in entries:
            checksum = checksums[entry.number]
            if checksum is None:
                checksum = content_checksum(self._pinned.env, self._pinned.path_of(entry))
            tables.append(StoredTable(entry.number, entry.file_bytes, checksum))
        return tuple(tables)

    def _has(self, table: StoredTable) -> bool:
        try:
            with contextlib.closing(self._env.open_read(self._store.path_of(table.name))) as file:
                return file.size() == table.file_bytes
        except FileNotFoundError:
            return False

    def _copy(self, entry: TableEntry, table: StoredTable, total_bytes: int) -> None:
        source = self._pinned.path_of(entry)
        temporary = table.name + TEMPORARY_SUFFIX
        self._made.append(temporary)
        try:
            copy_table(
                self._pinned.env,
                source,
                self._env,
                self._store.path_of(temporary),
                entry=entry,
                checksum=table.checksum,
                progress=lambda copied_bytes: self._progress(copied_bytes, total_bytes),
            )
        except FileNotFoundError as error:
            raise table_gone(source) from error
        self._made.append(table.name)
        self._env.rename(self._store.path_of(temporary), self._store.path_of(table.name))

    def _take_back(self, number: int) -> None:
        # The error that is on its way says more than one of tidying up; what stays, the next
        # backup removes.
        with contextlib.suppress(StorageError):
            if number in self._store.numbers():
                # Its name is there, but nobody can say whether on disk. `delete` says so to the
                # disk before a table goes.
                self._store.delete([number])
            for name in self._made:
                if self._env.exists(self._store.path_of(name)):
                    self._env.remove(self._store.path_of(name))


def delete_backups(store: BackupStore, numbers: Collection[int]) -> None:
    """Remove these backups, and the tables that no other one needs.

    Raises UndefinedObject, with nothing changed, when one of them is not there; NotADatabase,
    DatabaseLocked, StorageError.
    """
    with store.locked():
        for number in numbers:
            store.chosen(number)
        store.delete(set(numbers))


def keep_last_backups(store: BackupStore, count: int) -> list[int]:
    """Delete all but the `count` newest sound backups; the numbers of those that went."""
    require_keepable(count)
    with store.locked():
        return _delete_older(store, count)


def require_keepable(count: int) -> None:
    if count < 1:
        raise InvalidParameterValue(f"{count} backups cannot be kept; it must be at least 1")


def _delete_older(store: BackupStore, keep: int) -> list[int]:
    # One that is damaged is no backup to count on, and no one's to throw away unasked.
    sound, _ = store.read_all()
    numbers = [description.backup.number for description in sound[:-keep]]
    if numbers:
        store.delete(numbers)
    return numbers

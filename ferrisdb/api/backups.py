"""Backups in the hands of a Python program.

    db.backup("shop.backups")                           full the first time, then incremental
    ferrisdb.backups("shop.backups")                    what is there, oldest first
    ferrisdb.verify_backup("shop.backups")              reads every byte
    ferrisdb.restore("shop.backups", "shop2.ferris")    the newest, or backup=N
    ferrisdb.delete_backup("shop.backups", 3)

A store is a folder with any number of backups of a database; `ferrisdb/storage/backup_store.py`
draws it. docs/backup.md shows the same from the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike

from ferrisdb.api.choices import checked_path, path_outside
from ferrisdb.storage.backup import Progress, delete_backups, ignore_progress, make_backup, require_keepable
from ferrisdb.storage.backup_store import Backup, BackupStore
from ferrisdb.storage.backup_verify import VerifyReport, verify_backups
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.pinned_tables import PinnedTables
from ferrisdb.storage.restore import restore_backup

__all__ = ["Backup", "backup", "backups", "delete_backup", "restore", "verify_backup"]


def backup(
    pin_tables: Callable[[], PinnedTables],
    directory: str | PathLike[str],
    keep_last: int | None,
    progress: Progress | None,
) -> Backup:
    """See `Database.backup`."""
    store = _store(directory)
    if keep_last is not None:
        require_keepable(keep_last)
    return make_backup(
        pin_tables(),
        store,
        made_at_s=time.time(),
        keep_last=keep_last,
        progress=progress or ignore_progress,
    )


def backups(directory: str | PathLike[str]) -> list[Backup]:
    """The backups in the store `directory`, oldest first.

    Raises NotADatabase when it is no store; CorruptionError when a description is damaged: then
    the others can still be restored by their numbers.
    """
    store = _store(directory)
    store.require()
    sound, damaged = store.read_all()
    if damaged:
        raise damaged[0]
    return [description.backup for description in sound]


def verify_backup(
    directory: str | PathLike[str], backup: int | None = None, *, progress: Progress | None = None
) -> VerifyReport:
    """Read every byte of one backup, or of all. `findings` of the report is empty when all is well;
    each finding has `file`, `offset` and `problem`.

    Raises NotADatabase, UndefinedObject when there is no such backup or none at all, MissingLibrary
    when blocks are compressed and cannot be read here, StorageError.
    """
    return verify_backups(_store(directory), backup, progress or ignore_progress)


def restore(
    directory: str | PathLike[str],
    path: str | PathLike[str],
    *,
    backup: int | None = None,
    progress: Progress | None = None,
) -> Backup:
    """Make a database of a backup, the newest by default, in the folder `path`, absent or empty.

    Every byte is checked on the way. Raises FolderNotEmpty, or InvalidParameterValue where it
    would lie in the store, with nothing changed; NotADatabase, UndefinedObject when there is no
    such backup; CorruptionError with file and offset; StorageError, DiskFull.
    """
    store = _store(directory)
    # A store with a foreign folder in it is none any more.
    target = path_outside(path, store.folder, "the backup store")
    return restore_backup(
        store,
        OsEnv(),
        target,
        number=backup,
        progress=progress or ignore_progress,
    )


def delete_backup(directory: str | PathLike[str], *numbers: int) -> None:
    """Delete backups, and the tables that no other one needs.

    Raises UndefinedObject, with nothing deleted, when one is not there; NotADatabase,
    DatabaseLocked, StorageError.
    """
    delete_backups(_store(directory), numbers)


def _store(directory: str | PathLike[str]) -> BackupStore:
    return BackupStore(OsEnv(), checked_path(directory))

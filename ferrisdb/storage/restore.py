"""Restoring a backup: its tables are copied into a new folder, and checked on the way.

    store    backup-000002 -> 000009-4813-8c0a91f3.sst      000012-977-00c1d2e3.sst
                                   | copied, crc32 compared        |
    folder   UNFINISHED, then   000009.sst                    000012.sst, log, manifest, CURRENT

The result is a database of its own: it equals the one that was backed up as it was then, and
shares nothing with the store. The manifest's state goes over as it is, except for the log,
which is empty: a backup has all its commits in tables. What a crash or an error leaves is said
in `new_folder`.
"""

from __future__ import annotations

from ferrisdb.errors import CorruptionError
from ferrisdb.storage.backup import Progress, ignore_progress
from ferrisdb.storage.backup_store import Backup, BackupStore
from ferrisdb.storage.env import Env
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.new_folder import make_database, require_vacant
from ferrisdb.storage.table_copy import copy_table


def restore_backup(
    store: BackupStore,
    env: Env,
    folder: str,
    *,
    number: int | None = None,
    progress: Progress = ignore_progress,
) -> Backup:
    """Make a database of backup `number`, or of the newest, in `folder`, absent or empty.

    Raises FolderNotEmpty with nothing changed; NotADatabase and UndefinedObject when there is no
    such backup; CorruptionError with file and offset when it is damaged; DatabaseLocked,
    FormatVersionError, StorageError, DiskFull. Then nothing stays behind.
    """
    require_vacant(env, folder)
    store.require()
    description = store.read(store.chosen(number))
    tables = {table.number: table for table in description.tables}
    total_bytes = description.backup.table_bytes

    def place(entry: TableEntry, path: str) -> None:
        table = tables[entry.number]
        source = store.path_of(table.name)
        try:
            copy_table(
                store.env,
                source,
                env,
                path,
                entry=entry,
                checksum=table.checksum,
                progress=lambda copied_bytes: progress(copied_bytes, total_bytes),
            )
        except FileNotFoundError as error:
            # If the whole backup went meanwhile, that is what there is to say.
            store.read(description.backup.number)
            raise CorruptionError("a table of the backup is missing", file=source, offset=0) from error

    try:
        make_database(env, folder, description.state, place)
    except CorruptionError as error:
        error.hint = error.hint or "verify the store to see which backups are sound, and restore one of those"
        raise
    return description.backup

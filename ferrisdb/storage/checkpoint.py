"""A checkpoint: a second database with the same contents, at the price of some file names.

    shop.ferris/000012.sst ---+
                              +--- one file on the disk, two names
    copy.ferris/000012.sst ---+

Tables never change, so both databases may have them. Each removes its own name when it no
longer needs the table, and the file goes with the last. All that is written is a log, a
manifest and CURRENT (`new_folder`). Memtables are flushed before, so the checkpoint has
every commit that had returned when it was asked for; commits go on meanwhile.

Where the file system has no hard links, or the target is on another one, tables are copied.

A checkpoint shares its bytes with the database: a disk that turns one of them damages both. A
backup (`backup`) does not.
"""

from __future__ import annotations

from ferrisdb.storage.env import Env
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.new_folder import make_database
from ferrisdb.storage.pinned_tables import PinnedTables, table_gone
from ferrisdb.storage.table_copy import content_checksum, copy_table


def write_checkpoint(pinned: PinnedTables, env: Env, folder: str) -> None:
    """Make a database of the pinned tables in `folder` of `env`, absent or empty; durable then.

    Raises FolderNotEmpty with nothing changed; DatabaseLocked, StorageError, DiskFull, and
    CorruptionError where a damaged table would have to be copied: nothing stays behind.
    """
    checksums = pinned.checksums()

    def place(entry: TableEntry, path: str) -> None:
        source = pinned.path_of(entry)
        try:
            # Another machine's files, as those of a database in memory, cannot be linked here.
            if env is pinned.env and env.link(source, path):
                return
            checksum = checksums[entry.number]
            copy_table(
                pinned.env,
                source,
                env,
                path,
                entry=entry,
                checksum=content_checksum(pinned.env, source) if checksum is None else checksum,
                progress=lambda copied_bytes: None,
            )
        except FileNotFoundError as error:
            raise table_gone(source) from error

    make_database(env, folder, pinned.state, place)

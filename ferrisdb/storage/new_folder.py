"""A new database folder made of tables that are there already: checkpoint and restore.

    1  LOCK, UNFINISHED     synced: from here on it is no folder in which a database may be made
    2  the tables           linked or copied, each synced
    3  a log, a manifest    the log empty, the manifest one snapshot; names synced
    4  CURRENT              THE step: before it this is nothing, after it a database
    5  UNFINISHED goes

A crash before 4 leaves UNFINISHED without CURRENT: opening refuses such a folder, and so does
the next copy, which says that it may be removed. Without the mark, a crash before the first
table would leave what an empty folder looks like, and opening it would make an empty
database: a backup that lost everything, without an error. A crash after 4 leaves UNFINISHED
beside CURRENT, and opening removes it.

An error, as that of a full disk, removes what was made so far, but not the folder itself:
the same call may be tried again.

Two processes do not make a copy in one folder: LOCK is held meanwhile, as for a database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from ferrisdb.errors import FolderNotEmpty, StorageError
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import (
    CURRENT_NAME,
    CURRENT_TEMPORARY_NAME,
    LOCK_NAME,
    UNFINISHED_NAME,
    FileNumbers,
    parse_name,
    table_name,
)
from ferrisdb.storage.manifest import Manifest, ManifestState, TableEntry
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.recovery import make_durable_directory, parent_of
from ferrisdb.storage.wal import LogWriter

_MARK_TEXT = b"A copy of a database is being made here, or was, and is not finished.\n"


def make_database(
    env: Env, folder: str, state: ManifestState, place_table: Callable[[TableEntry, str], None]
) -> None:
    """Make a database of `state` in `folder`, which is absent or empty; durable when this returns.

    `place_table(entry, path)` puts a table's file, synced, at `path`. The log is empty: the last
    commit is the state's.

    Raises FolderNotEmpty with nothing changed; DatabaseLocked when somebody else is at it;
    StorageError, DiskFull, and what `place_table` raises, when all that was made is removed.
    """
    require_vacant(env, folder)
    if env.exists(folder):
        # Whoever made it need not have synced its name.
        env.sync_directory(parent_of(folder))
    else:
        make_durable_directory(env, folder)
    lock = env.lock(join(folder, LOCK_NAME))
    try:
        require_vacant(env, folder)
        _fill(env, folder, state, place_table)
    finally:
        lock.release()


def require_vacant(env: Env, folder: str) -> None:
    """Raise FolderNotEmpty unless the folder is absent or empty."""
    if not env.exists(folder):
        return
    if not env.is_directory(folder):
        raise FolderNotEmpty(f"{folder} is a file, and a database is a folder")
    names = [name for name in env.list_directory(folder) if name != LOCK_NAME]
    if UNFINISHED_NAME in names and CURRENT_NAME not in names:
        raise FolderNotEmpty(
            f"{folder} holds a copy of a database that was begun and not finished",
            hint="if nobody is at work on it, remove that folder and try again",
        )
    if names:
        raise FolderNotEmpty(
            f"{folder} is not empty: it has {names[0]!r}",
            hint="name a folder that is empty or not there yet",
        )


def _fill(
    env: Env, folder: str, state: ManifestState, place_table: Callable[[TableEntry, str], None]
) -> None:
    try:
        mark_unfinished(env, folder)
        for entry in state.tables:
            place_table(entry, join(folder, table_name(entry.number)))
        _finish(env, folder, state)
    except BaseException:
        # The error that is on its way says more than one of tidying up.
        with contextlib.suppress(StorageError):
            _empty(env, folder)
        raise


def mark_unfinished(env: Env, folder: str) -> None:
    """From now on, also after a power cut, it is no folder in which a database may be made."""
    with contextlib.closing(env.create(join(folder, UNFINISHED_NAME))) as mark:
        mark.append(_MARK_TEXT)
        mark.sync()
    env.sync_directory(folder)


def _finish(env: Env, folder: str, state: ManifestState) -> None:
    numbers = FileNumbers(state.next_file_number)
    # The log first, as in a new database: it syncs the names of the tables with its own.
    log = LogWriter.create(env, folder, numbers.take())
    log.close()
    state = replace(state, oldest_log_number=log.number)
    Manifest.create(env, folder, numbers, state, StorageOptions().manifest_bytes).close()
    env.remove(join(folder, UNFINISHED_NAME))
    env.sync_directory(folder)


def _empty(env: Env, folder: str) -> None:
    names = env.list_directory(folder)
    if CURRENT_NAME in names:
        # First, and on disk before its tables go: else a power cut could leave a database
        # without tables.
        env.remove(join(folder, CURRENT_NAME))
        env.sync_directory(folder)
    for name in names:
        if parse_name(name) is not None or name == CURRENT_TEMPORARY_NAME:
            env.remove(join(folder, name))
    env.sync_directory(folder)
    if UNFINISHED_NAME in names:
        env.remove(join(folder, UNFINISHED_NAME))

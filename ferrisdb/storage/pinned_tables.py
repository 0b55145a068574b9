"""Pinned tables: one moment of a database, whose files stay while it is copied.

    manifest    ... edit 17 | edit 18: table 12 in, 7 and 9 out | ...
    sources          { 7 9 10 }          ->          { 10 12 }        a moment later

Whoever copies a database while it lives needs two things of one moment: the manifest's
state, which says what the tables mean, and the `Sources`, for a table's file stays as long as
somebody holds those (`obsolete_tables`). Each is one immutable object, but they change one
after the other: the manifest first, then what readers see. So both are taken, and compared:
they fit when they have the same tables. Table numbers are never used again, so nothing else
can look the same. If they do not fit, a flush or a compaction is between its two steps, and
is waited for.

A table that only moved to another level is in both. Then the manifest counts: every state of
it is a whole tree by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ferrisdb.errors import StorageError
from ferrisdb.immutable import immutable
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.manifest import Manifest, ManifestState, TableEntry
from ferrisdb.storage.sources import LiveSources, Sources

_LOOK_AGAIN_S: Final = 0.1


@immutable
class PinnedTables:
    """Hold it for as long as the files are needed."""

    env: Env
    folder: str
    state: ManifestState
    sources: Sources

    def path_of(self, entry: TableEntry) -> str:
        return join(self.folder, table_name(entry.number))

    def checksums(self) -> dict[int, int | None]:
        """Of the blocks, by the table's number; None where the table does not say."""
        return {table.number: table.properties.blocks_checksum for table in self.sources.tables}


def pin_tables(
    env: Env,
    folder: str,
    manifest: Manifest,
    sources: LiveSources,
    check_usable: Callable[[], None],
) -> PinnedTables:
    """Manifest and files of one moment, now or a little later.

    `check_usable` raises when the manifest will never again fit what readers see.
    """
    while True:
        with sources.changed:
            pinned = PinnedTables(env, folder, manifest.state, sources.now)
            if _fits(pinned):
                return pinned
            check_usable()
            # Not without end: who refuses writes need not notify.
            sources.changed.wait(_LOOK_AGAIN_S)


def _fits(pinned: PinnedTables) -> bool:
    return {entry.number for entry in pinned.state.tables} == {
        table.number for table in pinned.sources.tables
    }


def table_gone(path: str) -> StorageError:
    """Closing a database takes away what only its readers, and who copies, still held."""
    return StorageError(
        f"{path} is gone: the database was closed while it was copied", hint="make the copy again"
    )

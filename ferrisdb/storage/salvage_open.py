"""Opening a database whose log is damaged in the middle: `RecoveryMode.SALVAGE`.

    before      000003.wal  [ 7 ][ 8 ][ ????? ][ 11 ]         refused by every other mode
    1  the sound records go into a table of level 0           000006.sst, synced
    2  the damaged segments are copied                        000003.wal.damaged, synced
    3  a new, empty segment                                   000007.wal, synced
    4  one manifest edit: the table, the log begins at 7      THE step
    after       recovery as ever; it removes the old segments, as the manifest needs them no more

A log says its commits one after the other without a gap, so what is left of this one cannot
stay a log. Tables do not mind. A crash before step 4 changes nothing but files that nobody
names, and the next opening begins anew; the copies are made before the originals may go.

Only the log is mended. A damaged manifest or table is still an error: `ferrisdb salvage`
reads around those. So is a torn last edit of the manifest where the commit is missing that is due
in the log: no crash tore it, and opening would remove the tables that only it had named.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.errors import CorruptionError
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import FileKind, FileNumbers, log_name, manifest_name, parse_name, table_name
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.inspect_log import SeenRecord
from ferrisdb.storage.manifest import Manifest, ManifestEdit, ManifestState, TableEntry
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.salvage_log import SalvagedLog, deleted_ranges_of, salvage_log
from ferrisdb.storage.salvage_report import RecoveryReport
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.storage.wal import LogWriter, SegmentReader

DAMAGED_SUFFIX = ".damaged"


def mend_log(env: Env, folder: str, options: StorageOptions) -> RecoveryReport | None:
    """Bring a damaged log into a state that recovery takes. None, and nothing done, when it is sound.

    A crash's tear at its end is sound. The folder is locked by the caller.

    Raises CorruptionError for a damaged manifest, FormatVersionError, StorageError, DiskFull.
    """
    manifest, is_whole = Manifest.load(env, folder, options.manifest_bytes, tolerate_tail=True)
    state = manifest.state
    present = _log_numbers(env, folder)
    live = sorted({n for n in present if n >= state.oldest_log_number} | {state.oldest_log_number})
    if _is_sound(env, folder, live, state):
        return None
    log = salvage_log(env, folder, live, state.last_timestamp)
    if not is_whole and log.lacks(state.last_timestamp + 1):
        # Its tables may be here. Recovery would remove them, as the manifest does not name them.
        raise CorruptionError(
            "the last manifest edit is damaged, and what it said is missed by the log",
            file=join(folder, manifest_name(manifest.number)),
            offset=manifest.size_bytes,
            hint="save what is left with `ferrisdb salvage`",
        )
    upcoming = max(state.next_file_number, *(n + 1 for n in _all_numbers(env, folder)))
    numbers = FileNumbers(upcoming)
    manifest.open_for_edits(numbers, is_whole=is_whole)
    try:
        added = _write_table(env, folder, numbers.take(), log.records, options)
        kept_aside = _keep_aside(env, folder, log)
        new_log = LogWriter.create(env, folder, numbers.take())
        new_log.close()
        # Every name in the folder must be on disk before the edit that relies on it.
        env.sync_directory(folder)
        last = log.records[-1].timestamp if log.records else state.last_timestamp
        manifest.apply(
            ManifestEdit(
                added=added,
                oldest_log_number=new_log.number,
                last_timestamp=last,
                deleted_ranges=tuple(deleted_ranges_of(log.records)),
            )
        )
    finally:
        manifest.close()
    return RecoveryReport(tuple(log.damages), len(log.records), kept_aside)


def _is_sound(env: Env, folder: str, numbers: Sequence[int], state: ManifestState) -> bool:
    """Whether recovery would take this log."""
    last_timestamp = state.last_timestamp
    for number in numbers:
        path = join(folder, log_name(number))
        try:
            data = env.read_file(path)
            is_last = number == numbers[-1]
            reader = SegmentReader(
                data, number, path, last_timestamp=last_timestamp, may_be_torn=is_last, is_last=is_last
            )
            for _ in reader:
                pass
        except (FileNotFoundError, CorruptionError):
            return False
        last_timestamp = reader.last_timestamp
    return True


def _write_table(
    env: Env, folder: str, number: int, records: Sequence[SeenRecord], options: StorageOptions
) -> tuple[TableEntry, ...]:
    rows = [(key, record.timestamp, value) for record in records for key, value in record.writes]
    if not rows:
        return ()
    rows.sort(key=lambda row: (row[0], -row[1]))
    path = join(folder, table_name(number))
    write_sstable(env, path, rows, block_bytes=options.block_bytes, compression=options.compression)
    table = SSTableReader.open(env, path, number, BlockCache(0))
    try:
        return (describe_table(table, number, level=0),)
    finally:
        table.close()


def _keep_aside(env: Env, folder: str, log: SalvagedLog) -> tuple[str, ...]:
    """Copy the damaged segments. A rename would take them from the next opening, after a crash here."""
    copies = []
    for path in sorted({damage.file for damage in log.damages}):
        if not env.exists(path):
            continue
        file = env.create(path + DAMAGED_SUFFIX)
        try:
            file.append(env.read_file(path))
            file.sync()
        finally:
            file.close()
        copies.append(path + DAMAGED_SUFFIX)
    return tuple(copies)


def _log_numbers(env: Env, folder: str) -> list[int]:
    found = (parse_name(name) for name in env.list_directory(folder))
    return [number for kind, number in filter(None, found) if kind is FileKind.LOG]


def _all_numbers(env: Env, folder: str) -> list[int]:
    return [found[1] for name in env.list_directory(folder) if (found := parse_name(name))]

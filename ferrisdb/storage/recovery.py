"""Opening a folder: is it ours, what is in it, and what did the last crash leave behind.

    folder absent or empty        a new database: first log segment, manifest, CURRENT
    CURRENT there                 1  manifest       which tables and log segments count
                                  2  tables         all there? read when they are first used
                                  3  log segments   replayed, each into a memtable of its own
                                  4  only now       torn ends are cut, orphans removed
    anything else                 NotADatabase, and nothing is touched

Steps 1 to 3 change nothing, so a folder that is refused is left as it was found. The last
segment's memtable becomes the active one again, and commits go on in the same segment:
opening and closing a database many times leaves no trail of small tables. Only a segment or a
manifest of an older format version is not written on: a new one is begun. In mode `salvage` a
damaged log is mended first, by `salvage_open`.

So opening takes the time of reading the manifest and the log, however many tables there are.
Whether a table's file is sound, and the one that the manifest names, its first reader finds
out. A table whose entry does not say all that must be known without its file (an older
version's) is opened at once.

A crash during recovery is no special case: step 4 repeats.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from dataclasses import dataclass, fields
from itertools import chain, pairwise

from ferrisdb.errors import CorruptionError, NotADatabase
from ferrisdb.immutable import immutable
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.env import Env, FileLock, join
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.events import RecoveryFinished
from ferrisdb.storage.file_header import FORMAT_VERSION, HEADER_BYTES
from ferrisdb.storage.file_names import (
    CURRENT_NAME,
    CURRENT_TEMPORARY_NAME,
    LOCK_NAME,
    UNFINISHED_NAME,
    FileKind,
    FileNumbers,
    log_name,
    parse_name,
    table_name,
)
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.level import EMPTY_LEVELS, LEVEL_COUNT, Level
from ferrisdb.storage.manifest import Manifest, ManifestState, TableEntry, read_current
from ferrisdb.storage.memtable_kinds import Memtable, new_memtable
from ferrisdb.storage.options import RecoveryMode, StorageOptions
from ferrisdb.storage.range_tombstones import RangeTombstone, RangeTombstones
from ferrisdb.storage.salvage_report import RecoveryReport
from ferrisdb.storage.sources import LiveSources, SealedMemtable, Sources
from ferrisdb.storage.sstable_format import TableProperties
from ferrisdb.storage.sstable_reader import SSTableReader, not_the_one
from ferrisdb.storage.wal import LogWriter, SegmentReader


@dataclass
class Recovered:
    """Everything an engine starts from."""

    manifest: Manifest
    numbers: FileNumbers
    log: LogWriter
    sources: LiveSources
    last_timestamp: int
    report: RecoveryReport | None = None
    """What was wrong with the log, when it had to be mended."""


@immutable
class _Segment:
    number: int
    memtable: Memtable
    sound_bytes: int
    has_mark: bool
    version: int
    last_timestamp: int
    deleted_ranges: tuple[RangeTombstone, ...] = ()
    commit_count: int = 0
    cut_bytes: int = 0
    """Behind what is sound."""


def lock_folder(env: Env, folder: str) -> FileLock:
    """Take the folder for this process, creating it when absent.

    Raises NotADatabase, with nothing touched, when something else stands there;
    DatabaseLocked when another process has it.
    """
    if not env.exists(folder):
        make_durable_directory(env, folder)
    elif not is_database(env, folder):
        # A crash may have left it here with its name not yet on disk.
        env.sync_directory(parent_of(folder))
    return env.lock(join(folder, LOCK_NAME))


def make_durable_directory(env: Env, folder: str) -> None:
    """Make the folder and its missing parents, from the top, each name synced in its turn.

    Were only the last name synced, a power cut could take a parent, and with it all that had
    ever been committed. The first parent that is there is synced too: it may be one that an
    earlier attempt had made when it crashed.
    """
    parent = parent_of(folder)
    if env.exists(parent):
        if parent != parent_of(parent):
            env.sync_directory(parent_of(parent))
    else:
        make_durable_directory(env, parent)
    env.make_directory(folder)
    env.sync_directory(parent)


def parent_of(folder: str) -> str:
    return posixpath.dirname(folder.rstrip("/")) or ("/" if folder.startswith("/") else ".")


def open_folder(
    env: Env, folder: str, options: StorageOptions, cache: BlockCache, events: EventHub
) -> Recovered:
    """Create or recover the database in a folder that this process has locked."""
    # Asked again under the lock: another process may have created the database meanwhile.
    if is_database(env, folder):
        report = None
        if options.recovery_mode is RecoveryMode.SALVAGE:
            # Late: what is for damage only must not cost every start.
            from ferrisdb.storage.salvage_open import mend_log  # noqa: PLC0415

            report = mend_log(env, folder, options)
        recovered = _recover(env, folder, options, cache, events)
        recovered.report = report
        return recovered
    return _create(env, folder, options, events)


def is_database(env: Env, folder: str) -> bool:
    """Whether there is one. False when one can be made here; NotADatabase otherwise."""
    if not env.is_directory(folder):
        raise NotADatabase(f"{folder} is a file, and a FerrisDB database is a folder")
    names = env.list_directory(folder)
    if CURRENT_NAME in names:
        read_current(env, folder)
        return True
    if UNFINISHED_NAME in names:
        raise NotADatabase(
            f"{folder} is no database yet: a checkpoint, a restore or a salvage was begun there and did "
            "not finish",
            hint="wait if it still runs; else remove the folder, and do it again",
        )
    for name in names:
        if parse_name(name) is None and name not in (LOCK_NAME, CURRENT_TEMPORARY_NAME):
            raise NotADatabase(
                f"{folder} is not a FerrisDB database, and not empty: it has {name!r}",
                hint="name a folder that is empty or not there yet",
            )
    if any(_holds_data(env, folder, name) for name in names):
        raise CorruptionError(
            "the file that names the manifest is missing", file=join(folder, CURRENT_NAME), offset=0
        )
    return False


def _holds_data(env: Env, folder: str, name: str) -> bool:
    """Whether the file is more than what a crash while a database is created leaves behind.

    That leaves a log without commits; its header may be torn, with anything behind it.
    """
    parsed = parse_name(name)
    if parsed is None or parsed[0] is FileKind.MANIFEST:
        return False
    kind, number = parsed
    if kind is not FileKind.LOG:
        return True
    path = join(folder, name)
    reader = SegmentReader(env.read_file(path), number, path, last_timestamp=0, may_be_torn=True)
    try:
        return any(True for _ in reader)
    except CorruptionError:
        return True


def _create(env: Env, folder: str, options: StorageOptions, events: EventHub) -> Recovered:
    start_s = env.monotonic_s()
    numbers = FileNumbers(1)
    # The log first: CURRENT makes the folder a database, and a database has a log.
    log = LogWriter.create(env, folder, numbers.take())
    state = ManifestState(oldest_log_number=log.number, collected_below=0)
    manifest = Manifest.create(env, folder, numbers, state, options.manifest_bytes)
    _remove_orphans(env, folder, manifest)
    sources = LiveSources(Sources(new_memtable(options.memtable), (), (), EMPTY_LEVELS), events)
    events.emit(_finished(sources, start_s, is_new=True))
    return Recovered(manifest, numbers, log, sources, 0)


def _recover(
    env: Env, folder: str, options: StorageOptions, cache: BlockCache, events: EventHub
) -> Recovered:
    start_s = env.monotonic_s()
    tolerate_tail = options.recovery_mode is not RecoveryMode.STRICT
    manifest, is_whole = Manifest.load(env, folder, options.manifest_bytes, tolerate_tail=tolerate_tail)
    tables: list[SSTableReader] = []
    try:
        names = set(env.list_directory(folder))
        for entry in manifest.state.tables:
            tables.append(_table_of(env, folder, entry, cache, names))
        segments, last_timestamp = _replay_segments(env, folder, manifest.state, options)
        last = segments[-1]
        replayed = tuple(segments)
        # What was found may be there only in the cache of a machine whose process was killed:
        # names here, the log and the manifest when they are opened below. New commits rely on
        # all of it.
        env.sync_directory(folder)
        log = _continue_log(env, folder, last)
        if log.size_bytes == HEADER_BYTES and _ends_with_ingest(manifest.state):
            # As behind an ingest (`Engine.show_ingested`), if the process did not live to close.
            log.has_mark = False
        # A compaction may have left fewer files than there were, with smaller numbers.
        upcoming = max(_highest_number(env, folder) + 1, manifest.state.next_file_number)
        numbers = FileNumbers(upcoming)
        manifest.open_for_edits(numbers, is_whole=is_whole)
        if last.version < FORMAT_VERSION:
            log, last = _begin_segment(env, folder, log, numbers.take(), last)
            segments.append(last)
        _remove_orphans(env, folder, manifest)
    except BaseException:
        for table in tables:
            table.close()
        raise
    # Also one without commits. It may have a mark of the last commit before it, and were it to stay
    # live while an ingest makes the next one, which is in no log, that mark would look like damage.
    sealed = tuple(
        SealedMemtable(segment.memtable, segment.number, following.number, segment.last_timestamp)
        for segment, following in reversed(list(pairwise(segments)))
    )
    level_zero, levels = arranged(manifest.state, tables)
    in_log = chain.from_iterable(segment.deleted_ranges for segment in segments)
    tombstones = RangeTombstones((*manifest.state.deleted_ranges, *in_log))
    flushed = manifest.state.last_timestamp
    sources = LiveSources(Sources(last.memtable, sealed, level_zero, levels, tombstones, flushed), events)
    events.emit(_finished(sources, start_s, replayed))
    return Recovered(manifest, numbers, log, sources, last_timestamp)


def _finished(
    sources: LiveSources, start_s: float, replayed: tuple[_Segment, ...] = (), *, is_new: bool = False
) -> RecoveryFinished:
    now_s = sources.events.now_s()
    return RecoveryFinished(
        now_s,
        is_new=is_new,
        tables=sources.live_tables(),
        segments=len(replayed),
        commits=sum(segment.commit_count for segment in replayed),
        cut_bytes=sum(segment.cut_bytes for segment in replayed),
        duration_s=now_s - start_s,
    )


def arranged(
    state: ManifestState, tables: list[SSTableReader]
) -> tuple[tuple[SSTableReader, ...], tuple[Level, ...]]:
    """The tables, which come as in `state`: level 0, and the levels below it."""
    levels: list[list[SSTableReader]] = [[] for _ in range(LEVEL_COUNT)]
    for entry, table in zip(state.tables, tables, strict=True):
        levels[entry.level].append(table)
    return tuple(levels[0]), tuple(map(Level, levels[1:]))


def _table_of(
    env: Env, folder: str, entry: TableEntry, cache: BlockCache, names: Collection[str]
) -> SSTableReader:
    """The table of `entry`, not read yet where that can wait. `names` is what the folder holds."""
    properties = _promised_properties(entry)
    if properties is None or entry.fewest_keys is None:
        return open_table(env, folder, entry, cache)
    path = _checked_path(folder, entry)
    if table_name(entry.number) not in names:
        raise CorruptionError("a table is missing", file=path, offset=0)
    return SSTableReader.promised(
        env,
        path,
        entry.number,
        cache,
        properties=properties,
        fewest_keys=entry.fewest_keys,
        ingested_at=entry.ingested_at,
    )


def _promised_properties(entry: TableEntry) -> TableProperties | None:
    """None when the entry does not say all of them, or says what they cannot be."""
    if type(entry.fewest_keys) is not int or entry.blocks_checksum is None:
        return None
    said = {field.name: getattr(entry, field.name) for field in fields(TableProperties)}
    try:
        return TableProperties.from_fields(list(TableProperties(**said).to_fields()))
    except ValueError:
        return None


def _checked_path(folder: str, entry: TableEntry) -> str:
    path = join(folder, table_name(entry.number))
    if not 0 <= entry.level < LEVEL_COUNT:
        raise CorruptionError(f"the manifest puts it into level {entry.level}", file=path, offset=0)
    return path


def open_table(env: Env, folder: str, entry: TableEntry, cache: BlockCache) -> SSTableReader:
    """The table of `entry`. Raises CorruptionError when it is missing, damaged, or another one."""
    path = _checked_path(folder, entry)
    try:
        table = SSTableReader.open(env, path, entry.number, cache, entry.ingested_at)
    except FileNotFoundError as error:
        raise CorruptionError("a table is missing", file=path, offset=0) from error
    if not _is_as_said(describe_table(table, entry.number, entry.level), entry):
        table.close()
        raise not_the_one(path)
    return table


def _is_as_said(found: TableEntry, entry: TableEntry) -> bool:
    """Whether all that the entry says is so; an older version's does not say all."""
    said = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return all(value is None or getattr(found, name) == value for name, value in said.items())


def _replay_segments(
    env: Env, folder: str, state: ManifestState, options: StorageOptions
) -> tuple[list[_Segment], int]:
    """The live segments, oldest first, and the last commit's timestamp."""
    found = (parse_name(name) for name in env.list_directory(folder))
    numbers = sorted(
        parsed[1]
        for parsed in found
        if parsed is not None and parsed[0] is FileKind.LOG and parsed[1] >= state.oldest_log_number
    )
    if not numbers or numbers[0] != state.oldest_log_number:
        path = join(folder, log_name(state.oldest_log_number))
        raise CorruptionError("a log segment is missing", file=path, offset=0)
    tolerates_tail = options.recovery_mode is not RecoveryMode.STRICT
    last_timestamp = state.last_timestamp
    segments: list[_Segment] = []
    for number in numbers:
        path = join(folder, log_name(number))
        data = env.read_file(path)
        reader = SegmentReader(
            data,
            number,
            path,
            last_timestamp=last_timestamp,
            may_be_torn=tolerates_tail and number == numbers[-1],
            is_last=number == numbers[-1],
        )
        memtable = new_memtable(options.memtable)
        commit_count = 0
        deleted_ranges: list[RangeTombstone] = []
        for record in reader:
            memtable.add(record.timestamp, dict(zip(record.keys, record.values, strict=True)))
            deleted_ranges += (RangeTombstone(lo, hi, record.timestamp) for lo, hi in record.deleted_ranges)
            commit_count += 1
        last_timestamp = reader.last_timestamp
        segments.append(
            _Segment(
                number,
                memtable,
                reader.sound_bytes,
                reader.has_mark,
                reader.version,
                last_timestamp,
                tuple(deleted_ranges),
                commit_count,
                len(data) - reader.sound_bytes,
            )
        )
    return segments, last_timestamp


def _ends_with_ingest(state: ManifestState) -> bool:
    """Whether the last commit is in no log record."""
    return any(entry.ingested_at == state.last_timestamp for entry in state.tables)


def _continue_log(env: Env, folder: str, segment: _Segment) -> LogWriter:
    if segment.sound_bytes == 0:
        return LogWriter.create(env, folder, segment.number)
    return LogWriter.reopen(env, folder, segment.number, segment.sound_bytes, has_mark=segment.has_mark)


def _begin_segment(
    env: Env, folder: str, old_log: LogWriter, number: int, old: _Segment
) -> tuple[LogWriter, _Segment]:
    """Leave a segment of an older format version as it is: our records are not for it."""
    old_log.close()
    log = LogWriter.create(env, folder, number)
    return log, _Segment(
        number, old.memtable.empty_twin(), log.size_bytes, log.has_mark, FORMAT_VERSION, old.last_timestamp
    )


def _highest_number(env: Env, folder: str) -> int:
    parsed = (parse_name(name) for name in env.list_directory(folder))
    return max(found[1] for found in parsed if found is not None)


def _remove_orphans(env: Env, folder: str, manifest: Manifest) -> None:
    """Remove what a crash left: files whose edit never came, or whose removal was lost."""
    state = manifest.state
    live_tables = {entry.number for entry in state.tables}
    for name in env.list_directory(folder):
        parsed = parse_name(name)
        if parsed is None:
            is_orphan = name in (CURRENT_TEMPORARY_NAME, UNFINISHED_NAME)
        elif parsed[0] is FileKind.LOG:
            is_orphan = parsed[1] < state.oldest_log_number
        elif parsed[0] is FileKind.TABLE:
            is_orphan = parsed[1] not in live_tables
        elif parsed[0] is FileKind.UNFINISHED_TABLE:
            is_orphan = True
        else:
            is_orphan = parsed[1] != manifest.number
        if is_orphan:
            env.remove(join(folder, name))

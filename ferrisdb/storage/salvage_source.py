"""Which files of a damaged folder count, and what is left of each.

    CURRENT names a manifest that is whole      what it names, and the log from its oldest segment
    CURRENT is gone or damaged                  the newest manifest, when it is whole
    no manifest is whole                        every table and every log segment of the folder

The last is a makeshift. A compaction's inputs stay for a moment behind its outputs, and for as
long as somebody reads them. A tombstone that the outputs have dropped is still in an input,
but an older input, left alone, brings back the row that it deleted. So a manifest that is whole
is believed, even where it has lost its torn last edit, as a crash leaves it. Only when
something it needs is missing, the lost edit may have been the reason, and it is not: a file, or
the commit that is due in the log, which may be one whose tables only that edit named (an ingest).

The files are read here once, to know what is damaged; `salvage` reads the sound parts again. So
memory holds the log, and of each table where its blocks are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage.check_findings import problem_of
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import MANIFEST_MAGIC, check_header
from ferrisdb.storage.file_names import (
    CURRENT_NAME,
    FileKind,
    log_name,
    manifest_name,
    parse_name,
    table_name,
)
from ferrisdb.storage.inspect_log import BadBytes
from ferrisdb.storage.inspect_manifest import SeenEdit, add_up, read_edits
from ferrisdb.storage.manifest import ManifestState, TableEntry, read_current
from ferrisdb.storage.range_tombstones import RangeTombstone
from ferrisdb.storage.salvage_log import SalvagedLog, salvage_log
from ferrisdb.storage.salvage_report import Damage
from ferrisdb.storage.salvage_table import TableSurvey, survey_table

Progress = Callable[[int], None]


@dataclass
class Source:
    """All that is left of a database."""

    tables: list[TableSurvey]
    log: SalvagedLog
    damages: list[Damage]
    notes: list[str]
    used_manifest: bool
    deleted_ranges: tuple[RangeTombstone, ...]
    """Of the manifest. What it says was deleted was deleted, also where its end is missing."""


@dataclass
class _SeenManifest:
    state: ManifestState
    damages: list[Damage]
    is_whole: bool
    is_torn: bool


def read_source(env: Env, folder: str, progress: Progress) -> Source:
    """Look through every file that counts. Never fails for damage; changes nothing."""
    names = env.list_directory(folder)
    found = [parsed for name in names if (parsed := parse_name(name)) is not None]
    numbers = {kind: sorted(n for k, n in found if k is kind) for kind in FileKind}
    seen, notes = _read_manifest(env, folder, numbers[FileKind.MANIFEST]), list[str]()
    state = seen.state
    is_complete = state.oldest_log_number in numbers[FileKind.LOG] and {
        entry.number for entry in state.tables
    }.issubset(numbers[FileKind.TABLE])
    live_logs = sorted(
        {n for n in numbers[FileKind.LOG] if n >= state.oldest_log_number} | {state.oldest_log_number}
    )
    has_lost_edit = seen.is_torn and (
        not is_complete
        or salvage_log(env, folder, live_logs, state.last_timestamp).lacks(state.last_timestamp + 1)
    )
    used_manifest = seen.is_whole and not has_lost_edit
    if used_manifest:
        entries: dict[int, TableEntry | None] = {entry.number: entry for entry in state.tables}
        logs = live_logs
    else:
        known = {entry.number: entry for entry in state.tables}
        entries = {number: known.get(number) for number in numbers[FileKind.TABLE]}
        logs = numbers[FileKind.LOG]
        notes.append(
            "no manifest is whole, so all files count: a row may be back that was deleted, if a "
            "file was left over from before"
        )
        notes += [
            f"{join(folder, table_name(number))}: a part of the manifest names it, and it is not there"
            for number in known
            if number not in entries
        ]
    tables = []
    for number, entry in sorted(entries.items()):
        tables.append(survey_table(env, join(folder, table_name(number)), entry))
        progress(0 if entry is None else entry.file_bytes)
    notes += [
        f"{table.path}: it was ingested, and no manifest says with which commit; its rows count as the oldest"
        for table in tables
        if table.sections and table.largest_timestamp == 0
    ]
    log = salvage_log(env, folder, logs, state.last_timestamp if used_manifest else None)
    damages = [*seen.damages, *(damage for table in tables for damage in table.damages), *log.damages]
    if not used_manifest:
        damages += _gap_before_log(folder, logs, log, tables)
    if not log.is_closed:
        notes.append(
            "the log does not end as a database that was closed leaves it: its last commits may be missing"
        )
    return Source(tables, log, damages, notes, used_manifest, state.deleted_ranges)


def _gap_before_log(
    folder: str, logs: list[int], log: SalvagedLog, tables: list[TableSurvey]
) -> list[Damage]:
    """Without a manifest only the tables tell where the log should begin."""
    newest = max((table.largest_timestamp for table in tables), default=0)
    if not logs:
        return [Damage(folder, 0, 0, "there is no log segment", is_loss=True, first_commit=newest + 1)]
    if not log.records or log.records[0].timestamp <= newest + 1:
        return []
    path = join(folder, log_name(logs[0]))
    last = log.records[0].timestamp - 1
    problem = "commits are missing before the log"
    return [Damage(path, 0, 0, problem, is_loss=True, first_commit=newest + 1, last_commit=last)]


def _read_manifest(env: Env, folder: str, numbers: list[int]) -> _SeenManifest:
    current = join(folder, CURRENT_NAME)
    damages: list[Damage] = []
    candidates = numbers[::-1]
    try:
        candidates = [read_current(env, folder)]
    except FileNotFoundError:
        damages.append(Damage(current, 0, 0, "the file that names the manifest is missing", is_loss=False))
    except Error as error:
        damages.append(Damage(current, 0, 0, _problem(error), is_loss=False))
    for number in candidates:
        seen = _read_edits(env, folder, number)
        seen.damages[:0] = damages
        damages = seen.damages
        if seen.is_whole:
            return seen
    return _SeenManifest(ManifestState(), damages, is_whole=False, is_torn=False)


def _read_edits(env: Env, folder: str, number: int) -> _SeenManifest:
    path = join(folder, manifest_name(number))
    damages: list[Damage] = []
    try:
        data = env.read_file(path)
    except FileNotFoundError:
        damages.append(Damage(path, 0, 0, "the manifest is missing", is_loss=False))
        return _SeenManifest(ManifestState(), damages, is_whole=False, is_torn=False)
    except Error as error:
        damages.append(Damage(path, 0, 0, error.message, is_loss=False))
        return _SeenManifest(ManifestState(), damages, is_whole=False, is_torn=False)
    is_known = True
    try:
        check_header(data, MANIFEST_MAGIC, path)
    except CorruptionError as error:
        # The edits have checksums of their own, which cover the file's number.
        damages.append(Damage(path, 0, min(len(data), 16), problem_of(error), is_loss=False))
    except Error as error:
        damages.append(Damage(path, 0, len(data), error.message, is_loss=False))
        is_known = False
    edits: list[SeenEdit] = []
    bad: list[BadBytes] = []
    for seen in read_edits(data, number) if is_known else ():
        if isinstance(seen, SeenEdit):
            edits.append(seen)
        else:
            bad.append(seen)
            damages.append(Damage(path, seen.offset, seen.end, seen.problem, is_loss=False))
    total = add_up(edits)
    begins_well = bool(edits) and edits[0].offset == 16
    is_torn = bool(bad) and begins_well and len(bad) == 1 and bad[0].end == len(data)
    is_whole = begins_well and (not bad or is_torn) and not total.problems
    return _SeenManifest(total.state, damages, is_whole, is_torn)


def _problem(error: Error) -> str:
    return problem_of(error) if isinstance(error, CorruptionError) else error.message

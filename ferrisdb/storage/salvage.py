"""Salvage: everything that can still be read, in a new database, and a list of what cannot.

    source, locked, never changed                       target, new
    tables   [ sound ][ ????? ][ sound ]  --+
    log      [ 7 ][ 8 ][ ??? ][ 11 ]      --+-- of each key the version --> commits of some
                                               with the newest timestamp    megabytes, tables

Every version has the timestamp of its commit, so nothing else is needed to tell the newest,
whatever the files and levels were. Old versions stay behind, and timestamps begin anew.

What is lost may have been newer than what is saved: then the target has an old value, or a
row that had been deleted. The report counts the keys of which that may be so.

A salvage that does not come to its end must not leave something that looks like a result:
the target becomes a database when all is on the disk (`salvage_target`).

Everything that a version's visibility rests on must be honoured here: it is its timestamp, and
the ranges that were deleted. A test fails when records or the manifest come to hold more.

Limits: memory is the log and, of each table, the places of its blocks. A commit of which a part
was in a lost block and a part was not is saved in part, and nobody can tell.
"""

from __future__ import annotations

import heapq
import posixpath
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from ferrisdb.errors import DatabaseLocked, InvalidParameterValue, StorageError
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import Env, FileLock, join
from ferrisdb.storage.file_names import LOCK_NAME, UNFINISHED_NAME
from ferrisdb.storage.inspect_folder import require_database
from ferrisdb.storage.interrupts import is_interrupt
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.range_tombstones import RangeTombstones
from ferrisdb.storage.salvage_log import deleted_ranges_of
from ferrisdb.storage.salvage_report import Damage, SalvageReport
from ferrisdb.storage.salvage_source import Progress, Source, read_source
from ferrisdb.storage.salvage_table import TableSurvey, read_rows
from ferrisdb.storage.salvage_target import begin_target, finish_target

BATCH_BYTES: Final = 4 * 1024 * 1024

Row = tuple[bytes, int, bytes | None]


def salvage(
    env: Env, source: str, target: str, progress: Progress = lambda read_bytes: None
) -> SalvageReport:
    """Save what can be read of the database in `source` into a new one in `target`.

    `source` is locked meanwhile and not changed. `target` must not be there, or be empty.

    Raises NotADatabase when `source` is not even a ruin, DatabaseLocked when a process has it
    open, InvalidParameterValue for the target, MissingLibrary when blocks are compressed and
    cannot be read here, StorageError. After an error the target is no database.
    """
    require_database(env, source)
    _check_target(env, source, target)
    lock, note = _lock(env, source)
    try:
        found = read_source(env, source, progress)
        suspicion = _Suspicion(found.damages)
        saved, suspects = _write(env, target, _newest(env, found), suspicion)
    finally:
        if lock is not None:
            lock.release()
    return SalvageReport(
        damages=tuple(found.damages),
        notes=(*note, *found.notes),
        used_manifest=found.used_manifest,
        tables=len(found.tables),
        versions=sum(table.versions for table in found.tables)
        + sum(len(record.writes) for record in found.log.records),
        commits=len(found.log.records),
        saved_keys=saved,
        suspect_keys=suspects if found.used_manifest else saved,
    )


def _check_target(env: Env, source: str, target: str) -> None:
    inner, outer = posixpath.normpath(target), posixpath.normpath(source)
    if inner == outer or inner.startswith(outer + "/"):
        raise InvalidParameterValue("the target lies in the damaged database, which stays as it is")
    if not env.exists(target):
        return
    is_folder = env.is_directory(target)
    if is_folder and UNFINISHED_NAME in env.list_directory(target):
        raise InvalidParameterValue(
            f"{target} is not an empty folder: a copy or a salvage was begun there and did not finish",
            hint="if nobody is at work on it, remove that folder and try again",
        )
    if not is_folder or env.list_directory(target):
        raise InvalidParameterValue(
            f"{target} is there, and not an empty folder", hint="name a folder that is not there yet"
        )


def _lock(env: Env, source: str) -> tuple[FileLock | None, tuple[str, ...]]:
    if not env.exists(join(source, LOCK_NAME)):
        return None, ()  # who has it open has made one
    try:
        return env.lock(join(source, LOCK_NAME)), ()
    except DatabaseLocked:
        raise
    except StorageError as error:
        return None, (f"the folder could not be locked, so it may have changed meanwhile: {error.message}",)


def _newest(env: Env, found: Source) -> Iterator[Row]:
    """Of each key the newest version, in key order; tombstones too, and one for each key whose
    versions are all in a range that was deleted later."""
    streams: list[Iterator[Row]] = []
    for tables in _disjoint(found.tables):
        streams.append(chain.from_iterable(read_rows(env, table) for table in tables))
    versions = [
        (key, record.timestamp, value) for record in found.log.records for key, value in record.writes
    ]
    streams.append(iter(sorted(versions, key=_place)))
    tombstones = RangeTombstones((*found.deleted_ranges, *deleted_ranges_of(found.log.records)))
    last_key = None
    for row in heapq.merge(*streams, key=_place):
        key, timestamp, _ = row
        if key != last_key:
            last_key = key
            deleted_at = tombstones.floor(key, MAX_TIMESTAMP)
            yield row if timestamp >= deleted_at else (key, deleted_at, None)


def _place(row: Row) -> tuple[bytes, int]:
    return row[0], -row[1]


def _disjoint(tables: Iterable[TableSurvey]) -> list[list[TableSurvey]]:
    """The tables in rows of which each is in key order, so that a row needs one open file."""
    rows: list[tuple[bytes, int, list[TableSurvey]]] = []
    for table in sorted((table for table in tables if table.sections), key=lambda table: table.smallest_key):
        if rows and rows[0][0] < table.smallest_key:
            _, number, row = heapq.heappop(rows)
        else:
            number, row = len(rows), []
        row.append(table)
        heapq.heappush(rows, (table.largest_key, number, row))
    return [row for _, _, row in rows]


def _write(env: Env, target: str, rows: Iterator[Row], suspicion: _Suspicion) -> tuple[int, int]:
    """How many keys were written, and of how many there may have been newer versions."""
    engine = Engine.open(begin_target(env, target), target, StorageOptions(durability=Durability.OFF))
    saved = suspects = batch_bytes = 0
    batch: dict[bytes, bytes | None] = {}
    try:
        for key, timestamp, value in rows:
            if value is None:
                continue
            saved += 1
            suspects += suspicion.covers(key, timestamp)
            batch[key] = value
            batch_bytes += len(key) + len(value)
            if batch_bytes >= BATCH_BYTES:
                engine.commit(batch)
                batch, batch_bytes = {}, 0
        engine.commit(batch)
        engine.flush()
        engine.wait_until_compacted()
    except StorageError as error:
        # The engine speaks of commits whose outcome is unknown: here they are nobody's.
        if error.__cause__ is not None and is_interrupt(error.__cause__):
            raise error.__cause__ from None
        raise
    finally:
        engine.close()
    finish_target(env, target)
    return saved, suspects


class _Suspicion:
    """Which versions may have had a newer one in what is lost.

    Ranges that overlap are taken together, with the newest of their commits: with many losses
    a key too many is suspected, and none too few.
    """

    def __init__(self, damages: Iterable[Damage]) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes | None] = []
        self._newest: list[int | None] = []
        losses = (damage for damage in damages if damage.is_loss)
        for loss in sorted(losses, key=lambda loss: loss.smallest_key or b""):
            start, end, newest = loss.smallest_key or b"", loss.largest_key, loss.last_commit
            if self._starts and (self._ends[-1] is None or start <= self._ends[-1]):
                self._ends[-1] = None if end is None or self._ends[-1] is None else max(end, self._ends[-1])
                known = self._newest[-1]
                self._newest[-1] = None if newest is None or known is None else max(newest, known)
            else:
                self._starts.append(start)
                self._ends.append(end)
                self._newest.append(newest)

    def covers(self, key: bytes, timestamp: int) -> bool:
        number = bisect_right(self._starts, key) - 1
        if number < 0:
            return False
        end, newest = self._ends[number], self._newest[number]
        return (end is None or key <= end) and (newest is None or newest > timestamp)

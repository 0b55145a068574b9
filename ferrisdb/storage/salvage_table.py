"""What is left of a damaged table: its sound blocks, and the key ranges of the others.

    index sound            it says where each block lies and what separates it from its
                           neighbours: a damaged block is left out, its range is known
    index or footer gone   blocks lie one behind the other from byte 16 on, and each says where
                           it ends (`TableFile.walk_blocks`): they are found one by one
    header, filter, or     nothing is lost: the blocks have it all
    properties gone

A frame's checksum does not cover its place. A user may have stored a whole table as a value,
and a frame in there is sound, and not ours. So a block counts only when it is tied to a place
that is known: by the index; by an unbroken row of sound blocks from the beginning of the
file; or, behind a damaged one, by a row that ends exactly where the index begins. No value can
do that, as the rest of its own block stands behind it. What is tied to nothing is lost.

The number of versions, from the manifest or the properties, is the proof at the end: when all
have been found, nothing is lost whatever is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

from ferrisdb.errors import CorruptionError, Error, MissingLibrary, StorageError
from ferrisdb.storage.block import Block
from ferrisdb.storage.check_findings import problem_of
from ferrisdb.storage.env import Env
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.limits import MAX_TIMESTAMP
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.salvage_report import Damage
from ferrisdb.storage.sstable_format import Footer, Section, TableProperties
from ferrisdb.storage.sstable_index import TableIndex
from ferrisdb.storage.version import Rows

T = TypeVar("T")


@dataclass
class TableSurvey:
    """One table, looked through. `sections` are its sound blocks, in key order."""

    path: str
    sections: list[Section] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    versions: int = 0
    smallest_key: bytes = b""
    largest_key: bytes = b""
    largest_timestamp: int = 0
    ingested_at: int = 0
    """What the manifest says; 0 where it does not, or there is none."""

    @property
    def losses(self) -> list[Damage]:
        return [damage for damage in self.damages if damage.is_loss]


def survey_table(env: Env, path: str, entry: TableEntry | None) -> TableSurvey:
    """Read all of the table. Never fails for damage; `entry` is what the manifest says of it.

    Raises MissingLibrary for a block that cannot be decompressed here.
    """
    try:
        table = TableFile(env, path, 0 if entry is None else entry.ingested_at)
    except Error as error:
        survey = TableSurvey(path)
        survey.damages.append(_whole_table(path, 0, _problem(error), entry))
        return survey
    try:
        survey = _Survey(table, path, entry).run()
        survey.ingested_at = table.ingested_at
        return survey
    finally:
        table.close()


def read_rows(env: Env, survey: TableSurvey) -> Iterator[tuple[bytes, int, bytes | None]]:
    """The versions of the sound blocks, keys ascending, timestamps of one key descending."""
    table = TableFile(env, survey.path, survey.ingested_at)
    try:
        for section in survey.sections:
            block = table.block(section)
            yield from zip(block.keys, block.timestamps, block.values, strict=True)
    finally:
        table.close()


class _Survey:
    def __init__(self, table: TableFile, path: str, entry: TableEntry | None) -> None:
        self._table = table
        self._path = path
        self._entry = entry
        self._survey = TableSurvey(path)
        self._properties: TableProperties | None = None
        self._gaps: list[_Gap] = []
        self._last_row: tuple[bytes, int] | None = None

    def run(self) -> TableSurvey:
        table, size_bytes = self._table, self._table.size_bytes
        self._try(table.header, 0, HEADER_BYTES)
        footer = self._try(table.footer, max(0, size_bytes - 60), size_bytes)
        index: TableIndex | None = None
        if footer is not None:
            index = self._part(table.index, footer, footer.index)
            self._part(table.filter, footer, footer.filter)
            self._properties = self._part(table.properties, footer, footer.properties)
        if index is not None:
            self._read_indexed(index)
        else:
            self._read_walking(footer)
        self._settle_gaps()
        return self._survey

    # --- where the blocks are

    def _read_indexed(self, index: TableIndex) -> None:
        # At the ends of the table its smallest and largest key bound a gap (`_Gap.narrow`).
        bounds = list(pairwise((None, *index.separators, None)))
        for number, section in enumerate(index.sections):
            block, problem = self._block(section)
            if block is not None and not index.has_place_for(number, block.keys[0], block.keys[-1]):
                block, problem = None, "the block is not the one in the index"
            if block is None:
                self._gaps.append(_Gap(section.offset, section.end, problem, *bounds[number]))
            else:
                self._keep(section, block)

    def _read_walking(self, footer: Footer | None) -> None:
        blocks_end = None if footer is None else footer.index.offset
        sections = self._walked(self._table.size_bytes if blocks_end is None else blocks_end)
        end = sections[-1].end if sections else HEADER_BYTES
        if blocks_end is None:
            index = self._table.index_at(end)
            if index is not None:
                self._read_indexed(index)
                return
        bad = [number for number, section in enumerate(sections) if not self._is_sound(section)]
        first_bad = bad[0] if bad else len(sections)
        # Behind a bad one only what goes on without a break to where the index begins.
        is_tied = end == blocks_end
        next_sound = bad[-1] + 1 if bad and is_tied else len(sections)
        self._keep_all(sections[:first_bad])
        if bad or not is_tied:
            start = sections[first_bad].offset if bad else end
            stop = self._table.size_bytes if blocks_end is None else blocks_end
            if next_sound < len(sections):
                stop = sections[next_sound].offset
            self._gaps.append(_Gap(start, max(start, stop), "no sound block is to be found here"))
        self._keep_all(sections[next_sound:])

    def _walked(self, end: int) -> list[Section]:
        sections: list[Section] = []
        try:
            for section in self._table.walk_blocks():
                if section.end > end:
                    break
                sections.append(section)
        except StorageError:
            return sections  # the disk refuses to read on
        return sections

    def _is_sound(self, section: Section) -> bool:
        try:
            return self._table.facts(section).is_sound
        except Error:
            return False

    def _keep_all(self, sections: Sequence[Section]) -> None:
        for section in sections:
            block, problem = self._block(section)
            if block is None:
                self._gaps.append(_Gap(section.offset, section.end, problem))
            else:
                self._keep(section, block)

    def _block(self, section: Section) -> tuple[Block | None, str]:
        try:
            block = self._table.block(section)
        except MissingLibrary:
            raise
        except Error as error:
            return None, _problem(error)
        if not _has_sound_types(block):
            return None, "the block holds what is neither a key, a timestamp nor a value"
        if not _is_ordered((block.keys, block.timestamps, block.values), self._last_row):
            return None, "the block's rows are not in order"
        return block, ""

    def _keep(self, section: Section, block: Block) -> None:
        survey = self._survey
        if not survey.sections:
            survey.smallest_key = block.keys[0]
        for gap in self._gaps:
            gap.close(self._last_row, block.keys[0])
        survey.sections.append(section)
        survey.versions += len(block.keys)
        survey.largest_key = block.keys[-1]
        survey.largest_timestamp = max(survey.largest_timestamp, *block.timestamps)
        self._last_row = block.keys[-1], block.timestamps[-1]

    # --- what is gone

    def _settle_gaps(self) -> None:
        """Now that all is read: whether anything is missing, and between which keys."""
        survey, known = self._survey, self._entry or self._properties
        missing = None if known is None else known.entry_count - survey.versions
        if not self._is_named_table():
            problem = "the table is not the one that the manifest names"
            survey.damages.append(_whole_table(self._path, self._table.size_bytes, problem, self._entry))
        if missing == 0:
            survey.damages += [gap.damage(self._path, is_loss=False) for gap in self._gaps]
            return
        for gap in self._gaps:
            gap.close(self._last_row, None)
            if known is not None:
                gap.narrow(known.smallest_key, known.largest_key)
        for gap in self._gaps:
            damage = gap.damage(self._path, is_loss=True)
            only = missing if len(self._gaps) == 1 and missing and missing > 0 else None
            newest = None if known is None else known.largest_timestamp
            survey.damages.append(replace(damage, versions=only, last_commit=newest))

    def _is_named_table(self) -> bool:
        entry, found = self._entry, self._properties
        return (
            entry is None
            or found is None
            or (
                entry.entry_count == found.entry_count
                and (entry.smallest_key, entry.largest_key) == (found.smallest_key, found.largest_key)
            )
        )

    def _part(self, read: Callable[[Footer], T], footer: Footer, section: Section) -> T | None:
        return self._try(lambda: read(footer), section.offset, section.end)

    def _try(self, read: Callable[[], T], offset: int, end: int) -> T | None:
        """What `read` gives; None for a damaged part, by itself no loss."""
        try:
            return read()
        except Error as error:
            self._survey.damages.append(Damage(self._path, offset, end, _problem(error), is_loss=False))
            return None


@dataclass
class _Gap:
    """A place where blocks are gone. None: which keys they had is not known (yet)."""

    offset: int
    end: int
    problem: str
    smallest_key: bytes | None = None
    largest_key: bytes | None = None
    _is_closed: bool = False

    def close(self, last_row: tuple[bytes, int] | None, next_key: bytes | None) -> None:
        """The sound rows around it are known. A key's versions may run on into it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.smallest_key is None and last_row is not None:
            self.smallest_key = last_row[0]
        if self.largest_key is None:
            self.largest_key = next_key

    def narrow(self, smallest_key: bytes, largest_key: bytes) -> None:
        if self.smallest_key is None:
            self.smallest_key = smallest_key
        if self.largest_key is None:
            self.largest_key = largest_key

    def damage(self, path: str, *, is_loss: bool) -> Damage:
        return Damage(
            path,
            self.offset,
            self.end,
            self.problem,
            is_loss,
            smallest_key=self.smallest_key,
            largest_key=self.largest_key,
        )


def _whole_table(path: str, end: int, problem: str, entry: TableEntry | None) -> Damage:
    if entry is None:
        return Damage(path, 0, end, problem, is_loss=True)
    return Damage(
        path,
        0,
        end,
        problem,
        is_loss=True,
        smallest_key=entry.smallest_key,
        largest_key=entry.largest_key,
        first_commit=entry.smallest_timestamp,
        last_commit=entry.largest_timestamp,
        versions=entry.entry_count,
    )


def _problem(error: Error) -> str:
    return problem_of(error) if isinstance(error, CorruptionError) else error.message


def _has_sound_types(block: Block) -> bool:
    return (
        set(map(type, block.keys)) == {bytes}
        and {bytes, type(None)}.issuperset(map(type, block.values))
        and set(map(type, block.timestamps)) == {int}
        and min(block.timestamps) >= 0
        and max(block.timestamps) <= MAX_TIMESTAMP
    )


def _is_ordered(rows: Rows, last_row: tuple[bytes, int] | None) -> bool:
    keys, timestamps, _ = rows
    places: Sequence[tuple[bytes, int]] = list(zip(keys, timestamps, strict=True))
    if last_row is not None:
        places = [last_row, *places]
    return all(a[0] < b[0] or (a[0] == b[0] and a[1] > b[1]) for a, b in pairwise(places))

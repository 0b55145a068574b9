"""What a disk holds, what of it is safe, and what a crash may leave: the model of `CrashFS`.

    file      data      [ header rec rec | rec rec ]        all that was written
              stable    [ header rec rec ]                  what a sync has saved
    folder    seen      { CURRENT, 000002.sst }             names as programs see them
              durable   { CURRENT.tmp }                     names as they are on the disk
              unsynced  [ + 000002.sst,  CURRENT.tmp -> CURRENT ]

A crash applies some of the unsynced changes to the durable names, and gives each file some
of its unsynced bytes: which, is its `Loss`. Stable bytes and durable names always stay.
"""

from __future__ import annotations

import enum
import posixpath
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

SECTOR_BYTES: Final = 512


class DataFate(enum.Enum):
    """What becomes of bytes that were written and not synced. Synced bytes always stay."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"
    """What is new ends at the boundary of a sector. What it was written over stands behind it."""
    CUT = "cut"
    """As torn, at any byte."""
    ZEROED = "zeroed"
    """The file is as long as it was, but its new part reads as zeros."""
    GARBAGE = "garbage"
    """As long as it was, but what the disk held there before shines through."""
    SCATTERED = "scattered"
    """Each sector for itself: written, as it was (zeros where it is new) or garbage; and cut at a
    sector's boundary."""


class NameFate(enum.Enum):
    """What becomes of names created, renamed and removed in a folder that was not synced."""

    KEPT = "kept"
    LOST = "lost"
    LATEST = "latest"
    """Only the last change: the file system wrote it first."""
    SCATTERED = "scattered"
    """Each change for itself."""


class Loss(enum.Enum):
    """The ways in which a crash loses what was not synced."""

    NOTHING = (DataFate.KEPT, NameFate.KEPT)
    EVERYTHING = (DataFate.LOST, NameFate.LOST)
    DATA = (DataFate.LOST, NameFate.KEPT)
    """Among others a rename that is on the disk before the data of what was renamed."""
    NAMES = (DataFate.KEPT, NameFate.LOST)
    EARLIER_NAMES = (DataFate.KEPT, NameFate.LATEST)
    """Among others a rename that is on the disk before the file that the renamed one names."""
    TORN = (DataFate.TORN, NameFate.KEPT)
    CUT = (DataFate.CUT, NameFate.KEPT)
    ZEROED = (DataFate.ZEROED, NameFate.KEPT)
    GARBAGE = (DataFate.GARBAGE, NameFate.KEPT)
    SCATTERED = (DataFate.SCATTERED, NameFate.SCATTERED)


class File:
    """A file without its name: its bytes, and what of them is safe.

    `data[:stable_bytes]` is on the disk and unchanged since. `before_change` is all that is on
    the disk where the file was cut or written over since, which a crash can undo.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.stable_bytes = len(data)
        self.before_change: bytes | None = None

    def write(self, offset: int, data: bytes) -> None:
        self._change_from(offset)
        self.data[offset : offset + len(data)] = data

    def truncate(self, size_bytes: int) -> None:
        self._change_from(size_bytes)
        del self.data[size_bytes:]
        self.data.extend(bytes(size_bytes - len(self.data)))

    def _change_from(self, offset: int) -> None:
        if offset < self.stable_bytes:
            if self.before_change is None:
                self.before_change = bytes(self.data[: self.stable_bytes])
            self.stable_bytes = offset

    def sync(self) -> None:
        self.stable_bytes = len(self.data)
        self.before_change = None

    def after_crash(self, fate: DataFate, chance: random.Random) -> bytes:
        stable = bytes(self.data[: self.stable_bytes])
        on_disk = stable if self.before_change is None else self.before_change
        match fate:
            case DataFate.KEPT:
                return bytes(self.data)
            case DataFate.LOST:
                return on_disk
            case DataFate.TORN:
                end = chance.choice(self._sector_ends())
                return bytes(self.data[:end]) + on_disk[end:]
            case DataFate.CUT:
                end = chance.randint(self.stable_bytes, len(self.data))
                return bytes(self.data[:end]) + on_disk[end:]
            case DataFate.ZEROED:
                return stable.ljust(len(self.data), b"\0")
            case DataFate.GARBAGE:
                return stable + chance.randbytes(len(self.data) - len(stable))
            case DataFate.SCATTERED:
                return stable + self._scattered(on_disk, chance)

    def _sector_ends(self) -> list[int]:
        """Where the file may end when whole sectors of its unsynced part are missing."""
        first_boundary = (self.stable_bytes // SECTOR_BYTES + 1) * SECTOR_BYTES
        size_bytes = len(self.data)
        return [self.stable_bytes, *range(first_boundary, size_bytes, SECTOR_BYTES), size_bytes]

    def _scattered(self, on_disk: bytes, chance: random.Random) -> bytes:
        ends = self._sector_ends()
        ends = ends[: chance.randint(1, len(ends))]
        pieces = []
        for start, end in pairwise(ends):
            written = bytes(self.data[start:end])
            old = on_disk[start:end].ljust(end - start, b"\0")
            pieces.append(chance.choice([written, written, old, chance.randbytes(end - start)]))
        return b"".join(pieces)


class Folder:
    """A folder has a name and nothing else: what is in it are names with its path in front."""


Names: TypeAlias = dict[str, File | Folder]


@dataclass
class NameChange:
    """One atomic change of names that is not synced. `folder` is the one whose sync saves it."""

    folder: str
    gone: str | None
    come: str | None
    what: File | Folder

    def apply(self, names: Names) -> None:
        if self.gone is not None:
            names.pop(self.gone, None)
        if self.come is not None:
            names[self.come] = self.what


@dataclass
class Disk:
    """Names as the programs see them, names as they are on the disk, and the way between."""

    seen: Names = field(default_factory=dict)
    durable: Names = field(default_factory=dict)
    unsynced: list[NameChange] = field(default_factory=list)

    def change(self, change: NameChange) -> None:
        change.apply(self.seen)
        self.unsynced.append(change)

    def sync_folder(self, folder: str) -> None:
        waiting = []
        for change in self.unsynced:
            if change.folder == folder:
                change.apply(self.durable)
            else:
                waiting.append(change)
        self.unsynced = waiting

    def after_crash(self, loss: Loss, chance: random.Random) -> Disk:
        data_fate, name_fate = loss.value
        names = dict(self.durable)
        for change in self.unsynced:
            if _survives(change, self.unsynced[-1], name_fate, chance):
                change.apply(names)
        # A file with two names is one file, and has one fate.
        survivors: dict[int, File] = {}
        left: Names = {}
        for path, what in names.items():
            if _is_reachable(path, names):
                if isinstance(what, File) and id(what) not in survivors:
                    survivors[id(what)] = File(what.after_crash(data_fate, chance))
                left[path] = survivors[id(what)] if isinstance(what, File) else what
        return Disk(seen=left, durable=dict(left))


def _survives(change: NameChange, latest: NameChange, fate: NameFate, chance: random.Random) -> bool:
    match fate:
        case NameFate.KEPT:
            return True
        case NameFate.LOST:
            return False
        case NameFate.LATEST:
            return change is latest
        case NameFate.SCATTERED:
            return chance.random() < 0.5


def parent_of(path: str) -> str:
    return posixpath.dirname(path) or "."


def is_root(path: str) -> bool:
    return path in (".", "/")


def _is_reachable(path: str, names: Names) -> bool:
    """A file whose folder's name was lost is lost with it."""
    folder = parent_of(path)
    return is_root(folder) or (isinstance(names.get(folder), Folder) and _is_reachable(folder, names))

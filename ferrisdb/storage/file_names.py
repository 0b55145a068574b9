"""What the files in a database's folder are called.

    LOCK               held by the owning process
    CURRENT            names the live manifest
    MANIFEST-000001    which files are alive
    000007.wal         a segment of the write-ahead log
    000009.sst         a table
    000011.sst.8c0a91f3  a table that a compaction or an ingest is writing
    CURRENT.tmp        on its way to become CURRENT
    UNFINISHED         a checkpoint, a restore or a salvage is being made here

All numbers come from one counter, so a number is one file, whatever its kind.
"""

from __future__ import annotations

import enum
import re
import threading

LOCK_NAME = "LOCK"
CURRENT_NAME = "CURRENT"
CURRENT_TEMPORARY_NAME = "CURRENT.tmp"
UNFINISHED_NAME = "UNFINISHED"


class FileKind(enum.Enum):
    LOG = "wal"
    TABLE = "sst"
    UNFINISHED_TABLE = "unfinished sst"
    MANIFEST = "MANIFEST"


_NUMBERED = re.compile(
    r"(?:MANIFEST-(?P<manifest>\d{6,19})|(?P<number>\d{6,19})\.(?P<kind>wal|sst)(?P<mark>\.[0-9a-f]{8})?)",
    re.ASCII,
)


def log_name(number: int) -> str:
    return f"{number:06}.wal"


def table_name(number: int) -> str:
    return f"{number:06}.sst"


def unfinished_table_name(number: int, mark: str) -> str:
    """`mark` is eight hexadecimal digits, drawn anew for each compaction and ingest; `number` counts
    the tables of a compaction, from 1, and is the table's own of an ingest.

    A child that outlives its parent for a moment must not write to a file that the next
    process to open the folder thinks is its own, and that would use the same numbers. Nor must a
    thread that is still ingesting when its database has been closed.
    """
    return f"{table_name(number)}.{mark}"


def manifest_name(number: int) -> str:
    return f"MANIFEST-{number:06}"


def parse_name(name: str) -> tuple[FileKind, int] | None:
    """Kind and number of one of the numbered files; None for any other name."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    if match["manifest"]:
        return FileKind.MANIFEST, int(match["manifest"])
    if match["mark"]:
        # A log is never written under another name.
        is_table = match["kind"] == FileKind.TABLE.value
        return (FileKind.UNFINISHED_TABLE, int(match["number"])) if is_table else None
    return FileKind(match["kind"]), int(match["number"])


class FileNumbers:
    """The counter. Thread-safe."""

    def __init__(self, upcoming: int) -> None:
        self.upcoming = upcoming
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            number = self.upcoming
            self.upcoming += 1
            return number

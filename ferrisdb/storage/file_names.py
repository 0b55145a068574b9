"""What the files in a database's folder are called.

    LOCK               held by the owning process
    CURRENT            names the live manifest
    MANIFEST-000001    which files are alive
    000007.wal         a segment of the write-ahead log
    000009.sst         a table
    CURRENT.tmp        on its way to become CURRENT

All numbers come from one counter, so a number is one file, whatever its kind.
"""

from __future__ import annotations

import enum
import re
import threading

LOCK_NAME = "LOCK"
CURRENT_NAME = "CURRENT"
CURRENT_TEMPORARY_NAME = "CURRENT.tmp"


class FileKind(enum.Enum):
    LOG = "wal"
    TABLE = "sst"
    MANIFEST = "MANIFEST"


_NUMBERED = re.compile(
    r"(?:MANIFEST-(?P<manifest>\d{6,19})|(?P<number>\d{6,19})\.(?P<kind>wal|sst))", re.ASCII
)


def log_name(number: int) -> str:
    return f"{number:06}.wal"


def table_name(number: int) -> str:
    return f"{number:06}.sst"


def manifest_name(number: int) -> str:
    return f"MANIFEST-{number:06}"


def parse_name(name: str) -> tuple[FileKind, int] | None:
    """Kind and number of one of the numbered files; None for any other name."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    if match["manifest"]:
        return FileKind.MANIFEST, int(match["manifest"])
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

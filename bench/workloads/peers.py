"""sqlite3, set up as its own documentation advises for the work at hand."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY_TIMEOUT_S = 60.0


def open_sqlite(folder: Path, synchronous: str) -> sqlite3.Connection:
    """A connection in autocommit. `synchronous` is FULL (fsync at each commit) or OFF."""
    connection = sqlite3.connect(
        folder / "peer.sqlite", isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection

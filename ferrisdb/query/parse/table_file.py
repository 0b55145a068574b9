"""The file of parse tables: msgpack, data and never code.

    [ key, crc32 of tables, tables ]      tables: msgpack of `table_builder.TableData`, as bytes

The key is a hash of the grammar's text, which is where the keywords stand too, and of the
form of the tables. A file with another key is of another grammar, and does not count; nor
does one whose checksum is wrong.

Like `table_builder`, this module imports nothing of FerrisDB: the build of a wheel uses it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

FORM = 2
"""Counts up when the shape of `table_builder.TableData` changes."""

FILE_NAME = "sql_tables.msgpack"


def table_key(grammar: str) -> str:
    return hashlib.sha256(f"{FORM}\n{grammar}".encode()).hexdigest()


def read(path: Path, key: str) -> dict[str, Any] | None:
    """The tables in a file; None when there is none, or it is of another grammar or damaged."""
    try:
        stored_key, checksum, packed = msgpack.unpackb(path.read_bytes())
        if stored_key != key or checksum != zlib.crc32(packed):
            return None
    except (OSError, ValueError, TypeError, msgpack.UnpackException):
        return None
    tables: dict[str, Any] = msgpack.unpackb(packed)
    return tables


def write(path: Path, data: Mapping[str, Any], key: str) -> None:
    """Write the file under a temporary name, then put it in its place.

    Another process therefore reads the old file or the new one, never half of one. Raises
    OSError where the folder can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            packed = msgpack.packb(data)
            file.write(msgpack.packb([key, zlib.crc32(packed), packed]))
        Path(temporary).chmod(0o644)  # mkstemp's 0600 would lock out the other users of a wheel
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise

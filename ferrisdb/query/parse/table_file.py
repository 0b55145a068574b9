"""The file of parse tables: msgpack, data and never code.

    [ form, grammar, crc32 of tables, tables ]     tables: msgpack of `TableData`, as bytes

The tables belong to a grammar when its text, in which the keywords stand too, is the text
in the file; else they do not count, and neither do they when the checksum is wrong. (The
whole text costs 13 kB, and hashing it would mean to import hashlib: 4 ms of each start.)

Like `table_builder`, this module imports nothing of FerrisDB: the build of a wheel uses it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

FORM = 1
"""Counts up when the shape of `table_builder.TableData` changes."""

FILE_NAME = "sql_tables.msgpack"


def short_key(grammar: str) -> str:
    """Tells the files of different grammars apart by name. Their content decides."""
    return f"{zlib.crc32(grammar.encode()):08x}-{FORM}"


def read(path: Path, grammar: str) -> dict[str, Any] | None:
    """The tables in a file; None when there is none, or it is of another grammar or damaged."""
    try:
        form, of_grammar, checksum, packed = msgpack.unpackb(path.read_bytes())
        if form != FORM or of_grammar != grammar or checksum != zlib.crc32(packed):
            return None
    except (OSError, ValueError, TypeError, msgpack.UnpackException):
        return None
    tables: dict[str, Any] = msgpack.unpackb(packed)
    return tables


def write(path: Path, data: Mapping[str, Any], grammar: str) -> None:
    """Write the file under a temporary name, then put it in its place.

    Another process therefore reads the old file or the new one, never half of one. Raises
    OSError where the folder can't be written.
    """
    import tempfile  # noqa: PLC0415 - it takes 5 ms, and most processes only read

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            packed = msgpack.packb(data)
            file.write(msgpack.packb([FORM, grammar, zlib.crc32(packed), packed]))
        Path(temporary).chmod(0o644)  # mkstemp's 0600 would lock out the other users of a wheel
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise

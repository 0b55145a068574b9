"""The first sixteen bytes of every FerrisDB file: what it is, and who can read it.

    +-----------------+---------+-----------+--------------------+
    | magic           | version | checksum  | crc32 of the       |
    | 8 bytes         | u16     | kind, u16 | 12 bytes before it |
    +-----------------+---------+-----------+--------------------+
     0                 8         10          12                  16       little-endian

The magic keeps a log from being read as a table. The version lets an old FerrisDB say "too
new for me" where it would otherwise report damage. So the order of the checks matters: magic
(is it ours at all), then the header's own checksum (can its fields be believed), then the
version. The checksum of the header is crc32 in every version for ever; the checksum kind
says how the rest of the file is protected.
"""

from __future__ import annotations

import struct
import zlib

from ferrisdb.errors import CorruptionError, FormatVersionError

WAL_MAGIC = b"FDB_WAL\0"
SSTABLE_MAGIC = b"FDB_SST\0"
MANIFEST_MAGIC = b"FDB_MAN\0"
BACKUP_MAGIC = b"FDB_BAK\0"

FORMAT_VERSION = 2
"""What new files are written in. Older ones are read for ever (docs/formats.md)."""

CHECKSUM_CRC32 = 1

_FIELDS = struct.Struct("<8sHH")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size


def encode_header(magic: bytes) -> bytes:
    """The header of a new file of this version."""
    fields = _FIELDS.pack(magic, FORMAT_VERSION, CHECKSUM_CRC32)
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def check_header(data: bytes, magic: bytes, path: str) -> int:
    """The format version of a file that starts with `data`, or what is wrong with it.

    Raises CorruptionError for a short header, a wrong magic or a wrong checksum, and
    FormatVersionError for a sound header of a version or checksum kind not known here.
    """
    if len(data) < HEADER_BYTES:
        raise CorruptionError(
            f"the file header is cut short: {len(data)} of {HEADER_BYTES} bytes", file=path, offset=len(data)
        )
    found_magic, version, checksum_kind = _FIELDS.unpack_from(data)
    if found_magic != magic:
        raise CorruptionError(
            f"the file begins with {found_magic!r}, not with {magic!r}", file=path, offset=0
        )
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    if checksum != zlib.crc32(data[: _FIELDS.size]):
        raise CorruptionError("the file header's checksum is wrong", file=path, offset=_FIELDS.size)
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{path} has format version {version}; this FerrisDB reads up to version {FORMAT_VERSION}",
            hint="open it with the newer FerrisDB that wrote it",
        )
    if version < 1 or checksum_kind != CHECKSUM_CRC32:
        raise FormatVersionError(
            f"{path} has format version {version} with checksum kind {checksum_kind}; this FerrisDB "
            f"reads versions 1 to {FORMAT_VERSION} with checksum kind {CHECKSUM_CRC32}"
        )
    return int(version)

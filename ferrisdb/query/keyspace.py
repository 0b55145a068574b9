"""Where the SQL layer keeps what: every key of it begins with 0xFF.

    FF 'c' 'v'                                   the catalog's version, 16 random bytes
    FF 'c' 'i'                                   the next table id
    FF 'c' 'n' name                              a table's definition, or an index's table
    FF 't' table 00        key                   a row of a table, by primary key or row id
    FF 't' table index     key                   an entry of an index

`table` and `index` are ids, from 1; index 0 is the table itself. An id is written so that
its bytes are ordered as its numbers, and short for small ones, as it stands in every key:
below 248 one byte, else 247 + n and then n bytes, big-endian. So a row of a small database
has 4 bytes before its primary key, where two fixed u32 would take 10.

The key of a row or an entry follows as encoding.key_codec writes it; an index that is not
unique has the row's key after its own columns.
"""

from __future__ import annotations

from ferrisdb.errors import invariant

SQL = b"\xff"
CATALOG_VERSION = SQL + b"cv"
NEXT_TABLE_ID = SQL + b"ci"
CATALOG_NAMES = SQL + b"cn"
_TABLES = SQL + b"t"

_ONE_BYTE_IDS = 248
_MAX_ID = 2**32 - 1
_ROWS = b"\x00"


def name_key(name: str) -> bytes:
    """Where the catalog keeps what a name of a table or an index means."""
    return CATALOG_NAMES + name.encode()


def names_range() -> tuple[bytes, bytes]:
    """All `name_key`s."""
    return CATALOG_NAMES, SQL + b"co"


def row_prefix(table_id: int) -> bytes:
    """Before the primary key of each row."""
    return _TABLES + ordered_id(table_id) + _ROWS


def index_prefix(table_id: int, index_id: int) -> bytes:
    """Before the key of each entry of an index."""
    invariant(index_id > 0, "index ids begin at 1")
    return _TABLES + ordered_id(table_id) + ordered_id(index_id)


def row_range(table_id: int) -> tuple[bytes, bytes]:
    """(lo, hi) of all rows."""
    return row_prefix(table_id), _TABLES + ordered_id(table_id) + b"\x01"


def index_range(table_id: int, index_id: int) -> tuple[bytes, bytes]:
    """(lo, hi) of all entries of an index."""
    return index_prefix(table_id, index_id), _TABLES + ordered_id(table_id) + ordered_id(index_id + 1)


def table_range(table_id: int) -> tuple[bytes, bytes]:
    """(lo, hi) of all that a table has: its rows and the entries of all its indexes."""
    return _TABLES + ordered_id(table_id), _TABLES + ordered_id(table_id + 1)


def ordered_id(number: int) -> bytes:
    """An id from 1 as one byte or a few, in the order of the numbers; none begins another."""
    invariant(0 < number <= _MAX_ID + 1, "an id is between 1 and 2^32 - 1")
    if number < _ONE_BYTE_IDS:
        return bytes([number])
    length = (number.bit_length() + 7) // 8
    return bytes([_ONE_BYTE_IDS - 1 + length]) + number.to_bytes(length)

"""Ranges of keys in SQL's words, for errors that explain themselves.

    account(3)                       the row with primary key 3
    account(row 3)                   of a table without a primary key: its hidden row id
    account                          all of its rows
    account from (3) to (7)          some of them; also from (3) before (7), up to (7), after (3)
    by_owner('Ada')                  an entry of an index, or all entries with this value
    the definition of account        what DDL writes
    b'greeting'                      a key that is not SQL's

What the catalog does not know any more stays as it is: bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ferrisdb.conflict import KeyRange
from ferrisdb.query.encoding.key_codec import KeyCodec, prefix_range
from ferrisdb.query.keyspace import (
    CATALOG_NAMES,
    CATALOG_VERSION,
    NEXT_TABLE_ID,
    SQL,
    index_prefix,
    row_prefix,
    table_range,
)
from ferrisdb.query.schema import Table
from ferrisdb.query.types import Kind, SqlType, Value
from ferrisdb.query.values import format_value

_ROW_ID_BYTES = 8
_MAX_CHARACTERS = 60
"""Of one value."""
_BARE = frozenset({Kind.INTEGER, Kind.DOUBLE, Kind.NUMERIC, Kind.BOOLEAN})


class KeyWords:
    """What ranges of keys mean, where these are all tables."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def __call__(self, what: KeyRange) -> str:
        """The words for it."""
        if not what.lo.startswith(SQL):
            return str(what)
        if what.is_key:
            if what.lo in (CATALOG_VERSION, NEXT_TABLE_ID):
                return "the catalog"
            if what.lo.startswith(CATALOG_NAMES):
                return "the definition of " + what.lo.removeprefix(CATALOG_NAMES).decode(errors="replace")
        elif what.lo == CATALOG_NAMES:
            return "the definitions of all tables"
        for table in self._tables:
            if (what.lo, what.hi) == table_range(table.id):
                return f"all of {table.name}"
            for entries in _entries_of(table):
                if what.lo.startswith(entries.prefix):
                    return entries.words(what) or str(what)
        return str(what)


class _Entries:
    """The rows of a table, or the entries of an index."""

    def __init__(self, name: str, prefix: bytes, types: Sequence[SqlType]) -> None:
        """`types` are those of the columns of a key; none where it is a hidden row id."""
        self.prefix = prefix
        self._name = name
        self._end = prefix_range(prefix)[1]
        self._types = types
        self._codec = KeyCodec(types, prefix) if types else None

    def words(self, what: KeyRange) -> str:
        """Empty when the range goes beyond these, or a bound does not decode."""
        lo, hi = what.lo, what.hi
        if hi is None or hi > self._end:
            return ""
        if what.is_key or hi == prefix_range(lo)[1]:
            # Of an entry that has the row's key behind its columns the columns are enough.
            return self._name if lo == self.prefix else self._called(lo)
        begins = "" if lo == self.prefix else self._bound(lo, "from", "after")
        ends = "" if hi == self._end else self._bound(hi, "before", "to" if begins else "up to")
        if begins is None or ends is None:
            return f"part of {self._name}"
        return " ".join(filter(None, (self._name, begins, ends)))

    def _called(self, key: bytes) -> str:
        inside = self._inside(key)
        return f"{self._name}({inside})" if inside else ""

    def _bound(self, bound: bytes, at: str, behind: str) -> str | None:
        """`at (3)` for a bound in front of a key, `behind (3)` for one behind it."""
        # The smallest key above another one is that and a zero byte.
        is_behind = bound.endswith(b"\0") and self._is_whole(bound[:-1])
        inside = self._inside(bound[:-1] if is_behind else bound)
        return f"{behind if is_behind else at} ({inside})" if inside else None

    def _is_whole(self, key: bytes) -> bool:
        if self._codec is None:
            return len(key) == len(self.prefix) + _ROW_ID_BYTES
        values, rest = self._codec.decode_first(key)
        return len(values) == len(self._types) and not rest

    def _inside(self, key: bytes) -> str:
        if self._codec is None:
            # A row's identity (see `row_locks`) has one byte more, and is called as the row is.
            row_id = key[len(self.prefix) : len(self.prefix) + _ROW_ID_BYTES]
            return f"row {int.from_bytes(row_id)}" if len(row_id) == _ROW_ID_BYTES else ""
        values, _ = self._codec.decode_first(key)
        return ", ".join(_shown(type, value) for type, value in zip(self._types, values, strict=False))


def _entries_of(table: Table) -> Iterator[_Entries]:
    row_types = [table.columns[position].type for position in table.primary_key]
    yield _Entries(table.name, row_prefix(table.id), row_types)
    for index in table.indexes:
        types = [table.columns[position].type for position in index.columns]
        yield _Entries(index.name, index_prefix(table.id, index.id), types)


def _shown(type: SqlType, value: Value) -> str:
    if value is None:
        return "NULL"
    text = format_value(value)
    if len(text) > _MAX_CHARACTERS:
        text = text[:_MAX_CHARACTERS] + "..."
    return text if type.kind in _BARE else repr(text)

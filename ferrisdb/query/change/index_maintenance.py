"""A row, and the index entries that go with it, as bytes.

    table   row_prefix   | primary key                   -> the whole row
    unique  index_prefix | indexed columns               -> primary key bytes
    plain   index_prefix | indexed columns | primary key -> primary key bytes

"Primary key" is the encoded primary key, or the hidden row id of a table without one. A
unique index holds an entry with a NULL in the plain form: NULLs are never equal, so any
number of them may stand side by side.

The rule that must hold: index entries and rows change in one transaction, so at every
snapshot each row has exactly one entry in each index and each entry has its row.

A unique key is therefore one key that two writers of the same value both write, and the
transaction layer's write-write conflict keeps them apart: no lock on the index is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ferrisdb.query.change.constraints import KeyRule
from ferrisdb.query.encoding.key_codec import KeyCodec
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.keyspace import index_prefix, row_prefix
from ferrisdb.query.schema import Index, Table
from ferrisdb.query.types import Value

Entry = tuple[bytes, bytes, KeyRule | None]
"""Key, value, and the rule by which no other row may have the same key, if there is one."""


class IndexLayout:
    """How one index stores a row."""

    __slots__ = ("_codec", "_columns", "columns", "index", "rule")

    def __init__(self, table: Table, index: Index) -> None:
        self.index = index
        self.columns = frozenset(index.columns)
        self.rule = KeyRule(index.name, index.columns)
        self._columns = index.columns
        types = [table.columns[position].type for position in index.columns]
        self._codec = KeyCodec(types, index_prefix(table.id, index.id))

    def entry_key(self, values: Sequence[Value], primary_key: bytes) -> tuple[bytes, bool]:
        """The entry's key, and whether no other row may have the same."""
        indexed = [values[position] for position in self._columns]
        key = self._codec.encode(indexed)
        if self.index.is_unique and None not in indexed:
            return key, True
        return key + primary_key, False


class TableLayout:
    """How one table stores a row. Threads may share it; `table_layout` keeps those in use."""

    __slots__ = (
        "_key_codec", "_key_columns", "indexes", "key_columns", "prefix", "row_codec", "rule", "table",
    )  # fmt: skip

    def __init__(self, table: Table) -> None:
        self.table = table
        self.prefix = row_prefix(table.id)
        self.row_codec = RowCodec(table.columns)
        self.rule = KeyRule(table.primary_key_name, table.primary_key)
        self.indexes = tuple(IndexLayout(table, index) for index in table.indexes)
        self._key_columns = table.primary_key
        unique = (index.columns for index in self.indexes if index.index.is_unique)
        self.key_columns = frozenset(table.primary_key).union(*unique)
        """Of the primary key and the unique indexes: what others may refer to."""
        types = [table.columns[position].type for position in table.primary_key]
        self._key_codec = KeyCodec(types, self.prefix)

    @property
    def has_primary_key(self) -> bool:
        return bool(self._key_columns)

    def row_key(self, values: Sequence[Value]) -> bytes:
        """Where a row is stored whose table has a primary key."""
        return self._key_codec.encode([values[position] for position in self._key_columns])

    def entries(self, row_key: bytes, values: Sequence[Value]) -> list[Entry]:
        """All that a row is in the store: itself first, then its index entries."""
        row_rule = self.rule if self.has_primary_key else None
        entries: list[Entry] = [(row_key, self.row_codec.encode(values), row_rule)]
        primary_key = self.primary_key_of(row_key)
        for index in self.indexes:
            key, is_claim = index.entry_key(values, primary_key)
            entries.append((key, primary_key, index.rule if is_claim else None))
        return entries

    def primary_key_of(self, row_key: bytes) -> bytes:
        """What follows the prefix: the encoded primary key, or the hidden row id."""
        return row_key[len(self.prefix) :]


@functools.lru_cache(maxsize=256)
def table_layout(table: Table) -> TableLayout:
    """The layout of a table, kept by its definition: making the codecs compiles code (1 ms)."""
    return TableLayout(table)

"""The rule of indexes, checked from outside: entries and rows say the same.

It reads the stored bytes and computes every entry anew from the rows, with codecs of its
own and nothing of the code that maintains indexes.
"""

from __future__ import annotations

from ferrisdb.query.catalog import CatalogCache
from ferrisdb.query.encoding.key_codec import encode_key
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.keyspace import index_prefix, row_prefix, row_range, table_range
from ferrisdb.query.schema import Index, Table
from ferrisdb.query.types import Value
from ferrisdb.txn.api import Transaction

Rows = dict[bytes, tuple[Value, ...]]


def check_indexes(transaction: Transaction) -> None:
    """Every table of this snapshot: each row has one entry in each index, and no entry more."""
    for table in CatalogCache().view(transaction).tables():
        rows = stored_rows(transaction, table)
        found = dict(transaction.scan(row_range(table.id)[1], table_range(table.id)[1]))
        assert found == expected_entries(table, rows), f"indexes of {table.name} against its rows"


def stored_rows(transaction: Transaction, table: Table) -> Rows:
    """Rows by primary key bytes."""
    codec, prefix = RowCodec(table.columns), row_prefix(table.id)
    rows = {key[len(prefix) :]: codec.decode(value) for key, value in transaction.scan(*row_range(table.id))}
    if table.primary_key:
        for primary_key, values in rows.items():
            assert primary_key == _encoded(table, table.primary_key, values), "a row lies under its key"
    return rows


def expected_entries(table: Table, rows: Rows) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    for index in table.indexes:
        for primary_key, values in rows.items():
            key = _entry_key(table, index, primary_key, values)
            assert key not in entries, f"two rows share a key of {index.name}"
            entries[key] = primary_key
    return entries


def _entry_key(table: Table, index: Index, primary_key: bytes, values: tuple[Value, ...]) -> bytes:
    key = index_prefix(table.id, index.id) + _encoded(table, index.columns, values)
    has_null = any(values[position] is None for position in index.columns)
    return key if index.is_unique and not has_null else key + primary_key


def _encoded(table: Table, positions: tuple[int, ...], values: tuple[Value, ...]) -> bytes:
    types = [table.columns[position].type for position in positions]
    return encode_key(types, [values[position] for position in positions])

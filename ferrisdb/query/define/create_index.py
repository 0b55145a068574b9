"""CREATE INDEX: define it, then fill it from the rows that stand.

The definition is written first. That takes the table's catalog key, so from then on no
writer is at work on the table: one that was makes this statement wait, and then fail with a
SerializationFailure, because its rows are not in this snapshot. So the rows of the snapshot
are all the rows, and none is missed.

    writer         INSERT -------- COMMIT
    CREATE INDEX           put ...waits... SerializationFailure: run it again
"""

from __future__ import annotations

from dataclasses import replace

from ferrisdb.errors import DuplicateTable, UniqueViolation
from ferrisdb.query import ast
from ferrisdb.query.catalog import next_index_id, replace_table
from ferrisdb.query.change.constraints import key_text
from ferrisdb.query.change.index_maintenance import IndexLayout, table_layout
from ferrisdb.query.change.targets import find_table
from ferrisdb.query.define.definition import Definition, key_columns
from ferrisdb.query.keyspace import row_range
from ferrisdb.query.schema import Index, Table
from ferrisdb.txn.api import Transaction


def create_index(statement: ast.CreateIndex, definition: Definition) -> None:
    """Raises DuplicateTable, UndefinedTable, UndefinedColumn, UniqueViolation."""
    name = statement.index.text
    if definition.is_taken(name):
        if statement.if_not_exists:
            return
        raise DuplicateTable(f'relation "{name}" already exists', position=statement.index.position)
    table = find_table(definition.catalog, statement.table.text, statement.table.position)
    columns = key_columns(statement.columns, table.columns, "the index")
    index = Index(next_index_id(table), name, columns, statement.is_unique)
    replace_table(definition.transaction, replace(table, indexes=(*table.indexes, index)))
    _fill(table, index, definition.transaction)


def _fill(table: Table, index: Index, transaction: Transaction) -> None:
    rows = table_layout(table)
    entries = IndexLayout(table, index)
    claimed: set[bytes] = set()
    for row_keys, stored_rows in transaction.scan_batches(*row_range(table.id)):
        for row_key, stored in zip(row_keys, stored_rows, strict=True):
            values = rows.row_codec.decode(stored)
            primary_key = rows.primary_key_of(row_key)
            entry_key, is_claim = entries.entry_key(values, primary_key)
            if is_claim:
                if entry_key in claimed:
                    raise UniqueViolation(
                        f'could not create unique index "{index.name}"',
                        detail=f"{key_text(table, index.columns, values)} is duplicated.",
                    )
                claimed.add(entry_key)
            transaction.put(entry_key, primary_key)

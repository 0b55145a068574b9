"""DROP TABLE and DROP INDEX: the definition, and every key that belonged to it.

All names are looked up before anything is dropped, so a wrong one drops nothing. Rows and
entries are deleted in the same transaction; older snapshots still see them.

A few rows are deleted key by key, and many by one deleted range, which costs the same for ten
rows and for ten million. Few are not worth it: as long as a deleted range is not settled by a
compaction, every read asks for it. What a statement of another transaction does meanwhile with
the table is kept apart by the catalog, where both name the table; the range asks once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ferrisdb.errors import InvalidTableDefinition, UndefinedObject, UndefinedTable
from ferrisdb.query import ast, catalog
from ferrisdb.query.define.definition import Definition
from ferrisdb.query.define.foreign_keys import check_unneeded, check_unreferenced
from ferrisdb.query.keyspace import index_range, table_range
from ferrisdb.query.schema import Index, Table
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.txn.api import Transaction

MAX_SINGLE_DELETES = 1000
"""Rows and entries that are deleted one by one."""


def drop_tables(statement: ast.DropTable, definition: Definition) -> None:
    """Raises UndefinedTable, unless IF EXISTS; DependentObjectsExist, unless CASCADE."""
    found: dict[str, Table] = {}
    for name in statement.tables:
        table = definition.catalog.table(name.text)
        if table is not None:
            found[name.text] = table
        elif not statement.if_exists:
            raise UndefinedTable(
                f'table "{name.text}" does not exist',
                position=name.position,
                hint=did_you_mean(name.text, [table.name for table in definition.catalog.tables()]),
            )
    if statement.is_cascade:
        _drop_references(found, definition)
    else:
        for name in statement.tables:
            if name.text in found:
                check_unreferenced(found[name.text], list(found), definition, name.position)
    for table in found.values():
        catalog.drop_table(definition.transaction, table)
        _delete_range(definition.transaction, *table_range(table.id))


def _drop_references(going: Mapping[str, Table], definition: Definition) -> None:
    """Take the foreign keys that refer to tables that go from those that stay."""
    for table in definition.catalog.tables():
        if table.name in going:
            continue
        kept = tuple(each for each in table.foreign_keys if each.parent not in going)
        if len(kept) < len(table.foreign_keys):
            catalog.replace_table(definition.transaction, replace(table, foreign_keys=kept))


def drop_indexes(statement: ast.DropIndex, definition: Definition) -> None:
    """Raises UndefinedObject, unless IF EXISTS; InvalidTableDefinition for a constraint's index;
    DependentObjectsExist for one that a foreign key refers to."""
    found: dict[str, tuple[Table, Index]] = {}
    for name in statement.indexes:
        _check_no_constraint(name, definition)
        known = definition.catalog.index(name.text)
        if known is not None:
            check_unneeded(*known, definition, name.position)
            found[name.text] = known
        elif not statement.if_exists:
            raise UndefinedObject(
                f'index "{name.text}" does not exist',
                position=name.position,
                hint=did_you_mean(name.text, definition.catalog.names()),
            )
    remaining: dict[str, Table] = {}
    for table, index in found.values():
        current = remaining.get(table.name, table)
        kept = tuple(other for other in current.indexes if other.id != index.id)
        remaining[table.name] = replace(current, indexes=kept)
    for table in remaining.values():
        catalog.replace_table(definition.transaction, table)
    for table, index in found.values():
        _delete_range(definition.transaction, *index_range(table.id, index.id))


def _check_no_constraint(name: ast.Name, definition: Definition) -> None:
    owner = definition.primary_key_owner(name.text)
    known = definition.catalog.index(name.text)
    if known is not None and known[1].is_constraint:
        owner = known[0].name
    if owner is not None:
        raise InvalidTableDefinition(
            f'cannot drop index "{name.text}": a constraint of table "{owner}" needs it',
            position=name.position,
            hint="an index made by CREATE UNIQUE INDEX, instead of a constraint, can be dropped",
        )


def _delete_range(transaction: Transaction, lo: bytes, hi: bytes) -> None:
    few: list[bytes] = []
    for keys, _ in transaction.scan_batches(lo, hi):
        few += keys
        if len(few) > MAX_SINGLE_DELETES:
            transaction.delete_range(lo, hi)
            return
    for key in few:
        transaction.delete(key)

"""The catalog: which tables and indexes there are, as rows among rows.

Definitions lie in the same keyspace as the data and are read and written through the same
transactions. So DDL is transactional without a line of code for it: CREATE TABLE can be
rolled back, a reader's snapshot has the tables of its time.

    FF 'c' 'v'         16 random bytes, new with every change
    FF 'c' 'i'         next table id, msgpack
    FF 'c' 'n' name    ["t", table]  or  ["i", name of its table]      msgpack

Every statement needs the catalog, so it must cost next to nothing: `CatalogCache` reads the
version, one point read, and knows by it whether it has seen this catalog before. Two
catalogs with the same version are equal, whichever snapshot they were read from, as the
version is random and never used twice; a transaction's own uncommitted tables work alike.

Two locks keep DDL and DML apart:

    the version key   every DDL writes it before it looks at anything, so of two concurrent
                      DDL transactions one waits for the other, and then fails with
                      SerializationFailure (snapshot and above) or goes on with what the
                      other left (read committed)
    table_key(name)   DDL on a table writes it, DML locks it in SHARE mode, so an index
                      build never misses a row of a transaction that runs beside it

Tables and indexes share one namespace, as in PostgreSQL. Table ids are never used again.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Any, NoReturn

import msgpack

from ferrisdb.errors import CorruptionError, DuplicateTable, invariant
from ferrisdb.immutable import immutable
from ferrisdb.query.keyspace import CATALOG_NAMES, CATALOG_VERSION, NEXT_TABLE_ID, name_key, names_range
from ferrisdb.query.schema import Column, ForeignKey, Index, ReferentialAction, Table
from ferrisdb.query.types import Kind, SqlType
from ferrisdb.txn.api import IsolationLevel, Transaction

_TABLE, _INDEX = "t", "i"
_VERSION_BYTES = 16


@immutable
class CatalogView:
    """All definitions at one moment. Immutable.

    `version` is empty when the database has never seen DDL; else 16 bytes that are equal
    exactly when the catalogs are.
    """

    version: bytes
    _tables: dict[str, Table] = field(default_factory=dict)
    _indexes: dict[str, tuple[Table, Index]] = field(default_factory=dict)

    def table(self, name: str) -> Table | None:
        return self._tables.get(name)

    def tables(self) -> list[Table]:
        """In the order of their names."""
        return [self._tables[name] for name in sorted(self._tables)]

    def index(self, name: str) -> tuple[Table, Index] | None:
        """The index and the table that has it."""
        return self._indexes.get(name)

    def references_to(self, name: str) -> list[tuple[Table, ForeignKey]]:
        """The foreign keys that refer to a table, each with the table that has it: by their names."""
        return [
            (table, foreign_key)
            for table in self.tables()
            for foreign_key in table.foreign_keys
            if foreign_key.parent == name
        ]

    def names(self) -> list[str]:
        """Of tables and indexes, sorted: for "did you mean"."""
        return sorted([*self._tables, *self._indexes])


class CatalogCache:
    """Catalogs by version, the most recently used ones. Thread-safe; one for a database."""

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._views: OrderedDict[bytes, CatalogView] = OrderedDict()

    def view(self, tx: Transaction) -> CatalogView:
        """The catalog as `tx` sees it: one `get`, and a scan when its version is new here."""
        version = tx.get(CATALOG_VERSION) or b""
        found = self._find(version)
        if found is not None:
            return found
        view = _read(tx, version)
        self._keep(view)
        return view

    def _find(self, version: bytes) -> CatalogView | None:
        with self._lock:
            found = self._views.get(version)
            if found is not None:
                self._views.move_to_end(version)
            return found

    def _keep(self, view: CatalogView) -> None:
        with self._lock:
            self._views[view.version] = view
            while len(self._views) > self._capacity:
                self._views.popitem(last=False)


def _read(tx: Transaction, version: bytes) -> CatalogView:
    while True:
        tables = _read_tables(tx)
        # Where each read sees a newer moment, as a store may do at read committed, definitions
        # that were read between two equal versions are those of that version; others would be
        # kept under the wrong one.
        seen = tx.get(CATALOG_VERSION) or b""
        if seen == version:
            return _view(version, tables)
        version = seen


def _view(version: bytes, tables: Sequence[Table]) -> CatalogView:
    return CatalogView(
        version,
        {table.name: table for table in tables},
        {index.name: (table, index) for table in tables for index in table.indexes},
    )


def _read_tables(tx: Transaction) -> list[Table]:
    return tables_in(tx.scan(*names_range()))


def tables_in(entries: Iterable[tuple[bytes, bytes]]) -> list[Table]:
    """The tables that the keys and values of `names_range` define. Raises CorruptionError."""
    tables = []
    for key, value in entries:
        kind, content = _unpack_entry(key, value)
        if kind == _TABLE:
            tables.append(_table_from(key, content))
    return tables


# --- changes ----------------------------------------------------------------------------


def table_key(name: str) -> bytes:
    """DDL on the table writes this key; DML holds it with `tx.lock([...], LockMode.SHARE)`."""
    return name_key(name)


def lock_catalog(tx: Transaction) -> None:
    """At read committed, before DDL looks at the catalog: from here on what it sees is the newest,
    and stays so."""
    tx.lock([CATALOG_VERSION])
    tx.begin_statement()


def create_table(  # noqa: PLR0917
    tx: Transaction,
    view: CatalogView,
    name: str,
    columns: Sequence[Column],
    primary_key: Sequence[int],
    indexes: Sequence[Index] = (),
    primary_key_name: str = "",
    foreign_keys: Sequence[ForeignKey] = (),
) -> Table:
    """Define a table, with indexes of ids from 1, and give it an id that no table ever had.

    The tables that it refers to are written, too, as they are: whoever changes their rows and
    does not know of the foreign key yet waits, or is made to wait, and then sees it.

    `view` is the catalog that the statement was bound to. Two concurrent DDL transactions
    conflict, whatever they define (see the module). Raises DuplicateTable when the name, or
    an index's, is taken; SerializationFailure.
    """
    names = [name, *(index.name for index in indexes)]
    for wanted in names:
        # A mistake that shows already is told without stopping all other DDL.
        if view.table(wanted) is not None or view.index(wanted) is not None:
            _refuse_duplicate(wanted)
    _begin_change(tx)
    _claim(tx, names)
    table = Table(
        _next_table_id(tx),
        name,
        tuple(columns),
        tuple(primary_key),
        tuple(indexes),
        primary_key_name,
        tuple(foreign_keys),
    )
    for parent in sorted({foreign_key.parent for foreign_key in foreign_keys} - {name}):
        _touch(tx, parent)
    _write(tx, table)
    return table


def replace_table(tx: Transaction, table: Table) -> None:
    """Write a changed definition of an existing table: indexes added or removed, foreign keys
    removed.

    Index entries are the caller's: written for an index that is new, deleted (`index_range`)
    for one that is gone. Conflicts with every other DDL transaction. Raises DuplicateTable
    when a new index's name is taken; SerializationFailure.
    """
    _begin_change(tx)
    old = _stored(tx, table.name)
    _keep_writers_out(tx, table.name)
    kept = {index.name for index in old.indexes}
    wanted = {index.name for index in table.indexes}
    _claim(tx, [index.name for index in table.indexes if index.name not in kept])
    for name in sorted(kept - wanted):
        tx.delete(name_key(name))
    _write(tx, table)


def drop_table(tx: Transaction, table: Table) -> None:
    """Forget a table and its indexes. What lies in `table_range` is the caller's to delete.

    Conflicts with every other DDL transaction. Raises SerializationFailure.
    """
    _begin_change(tx)
    _keep_writers_out(tx, table.name)
    for index in _stored(tx, table.name).indexes:
        tx.delete(name_key(index.name))
    tx.delete(table_key(table.name))


def next_index_id(table: Table) -> int:
    """An id for a new index: above those of all that the table has."""
    return max((index.id for index in table.indexes), default=0) + 1


def _begin_change(tx: Transaction) -> None:
    # Before any look at the catalog: from here on no other DDL transaction can change it.
    tx.put(CATALOG_VERSION, os.urandom(_VERSION_BYTES))


def _touch(tx: Transaction, name: str) -> None:
    _keep_writers_out(tx, name)
    _write(tx, _stored(tx, name))


def _keep_writers_out(tx: Transaction, name: str) -> None:
    tx.lock([table_key(name)])
    if tx.isolation is IsolationLevel.READ_COMMITTED:
        # What it waited for has written rows, and they are not in the statement's snapshot.
        tx.begin_statement()


def _claim(tx: Transaction, names: Sequence[str]) -> None:
    taken = tx.get_many([name_key(name) for name in names])
    for position, (name, entry) in enumerate(zip(names, taken, strict=True)):
        if entry is not None or name in names[:position]:
            _refuse_duplicate(name)


def _refuse_duplicate(name: str) -> NoReturn:
    raise DuplicateTable(f'relation "{name}" already exists')


def _stored(tx: Transaction, name: str) -> Table:
    key = table_key(name)
    value = tx.get(key)
    invariant(value is not None, f"a changed table is in the catalog: {name}")
    _, content = _unpack_entry(key, value or b"")
    return _table_from(key, content)


def _next_table_id(tx: Transaction) -> int:
    stored = tx.get(NEXT_TABLE_ID)
    number = 1 if stored is None else _unpack(NEXT_TABLE_ID, stored)
    tx.put(NEXT_TABLE_ID, msgpack.packb(number + 1))
    return int(number)


def _write(tx: Transaction, table: Table) -> None:
    tx.put(table_key(table.name), msgpack.packb([_TABLE, _table_to(table)]))
    for index in table.indexes:
        tx.put(name_key(index.name), msgpack.packb([_INDEX, table.name]))


# --- definitions as msgpack -------------------------------------------------------------
#
# Arrays, read by position. Foreign keys stand at the end, and only where there are any: so does
# a catalog that was written before there were foreign keys.


def _table_to(table: Table) -> list[Any]:
    columns = [
        [
            column.name,
            [column.type.kind.value, column.type.precision, column.type.scale, column.type.length],
            column.is_not_null,
            column.default_sql,
        ]
        for column in table.columns
    ]
    indexes = [
        [index.id, index.name, list(index.columns), index.is_unique, index.is_constraint]
        for index in table.indexes
    ]
    content = [table.id, table.name, columns, list(table.primary_key), indexes, table.primary_key_name]
    if table.foreign_keys:
        content.append([_foreign_key_to(foreign_key) for foreign_key in table.foreign_keys])
    return content


def _foreign_key_to(foreign_key: ForeignKey) -> list[Any]:
    return [
        foreign_key.name,
        list(foreign_key.columns),
        foreign_key.parent,
        list(foreign_key.referenced),
        foreign_key.parent_index,
        foreign_key.on_delete.value,
        foreign_key.on_update.value,
    ]


def _table_from(key: bytes, content: Any) -> Table:
    try:
        table_id, name, columns, primary_key, indexes, primary_key_name = content[:6]
        foreign_keys = content[6] if len(content) == 7 else content[6:]
        return Table(
            table_id,
            name,
            tuple(_column_from(*column) for column in columns),
            tuple(primary_key),
            tuple(
                Index(index_id, index_name, tuple(positions), is_unique, is_constraint)
                for index_id, index_name, positions, is_unique, is_constraint in indexes
            ),
            primary_key_name,
            tuple(_foreign_key_from(*foreign_key) for foreign_key in foreign_keys),
        )
    except (TypeError, ValueError) as error:
        _damaged(key, error)


def _foreign_key_from(  # noqa: PLR0917 - the array, by position
    name: str,
    columns: Sequence[int],
    parent: str,
    referenced: Sequence[int],
    parent_index: int,
    on_delete: str,
    on_update: str,
) -> ForeignKey:
    return ForeignKey(
        name,
        tuple(columns),
        parent,
        tuple(referenced),
        parent_index,
        ReferentialAction(on_delete),
        ReferentialAction(on_update),
    )


def _column_from(name: str, type: Sequence[Any], is_not_null: bool, default_sql: str | None) -> Column:
    kind, precision, scale, length = type
    return Column(name, SqlType(Kind(kind), precision, scale, length), is_not_null, default_sql)


def _unpack_entry(key: bytes, value: bytes) -> tuple[str, Any]:
    entry = _unpack(key, value)
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in (_TABLE, _INDEX):
        _damaged(key, ValueError("it is neither a table nor an index"))
    return entry[0], entry[1]


def _unpack(key: bytes, value: bytes) -> Any:
    try:
        return msgpack.unpackb(value)
    except (ValueError, msgpack.UnpackException) as error:
        _damaged(key, error)


def _damaged(key: bytes, error: Exception) -> NoReturn:
    name = key.removeprefix(CATALOG_NAMES).decode(errors="replace")
    raise CorruptionError(
        f"the catalog's entry {name!r} cannot be read: {error}", file="catalog", offset=0
    ) from error

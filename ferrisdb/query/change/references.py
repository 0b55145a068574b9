"""Foreign keys as they lie in the store: which key of the parent a row refers to, who refers to it.

    bar (a)                                  foo
    row 7: a = 42   --- the key 42 of --->   its primary key: the row's own key
                                             a unique index:  the entry's key

A key of the parent is always its bytes here: two values are the same key exactly when their
bytes are equal. A row with a NULL among its columns refers to nothing (MATCH SIMPLE).

The rows that refer to a key are found by an index of the child whose first columns are those of
the foreign key, in whatever order, or by its primary key likewise; else by reading the child
once for all keys of a statement. As in PostgreSQL no such index is made by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence

from ferrisdb.errors import broken
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.row_template import RowTemplate
from ferrisdb.query.change.syntax import default_expression
from ferrisdb.query.encoding.key_codec import KeyCodec, prefix_range
from ferrisdb.query.keyspace import index_prefix, row_prefix, row_range
from ferrisdb.query.parameters import NO_PARAMETERS
from ferrisdb.query.row_locks import identity_key
from ferrisdb.query.schema import ForeignKey, Table
from ferrisdb.query.types import Value
from ferrisdb.txn.api import Transaction

StoredRow = tuple[bytes, bytes]
"""Row key and row."""


class Reference:
    """One foreign key with both of its tables. Threads may share it; `reference` keeps those in use."""

    def __init__(self, foreign_key: ForeignKey, child: Table, parent: Table) -> None:
        self.foreign_key = foreign_key
        self.child = table_layout(child)
        self.parent = table_layout(parent)
        order, prefix = _parent_key(foreign_key, parent)
        self._parent_columns = order
        self._child_columns = _in_order_of(order, foreign_key)
        self._codec = KeyCodec([parent.columns[position].type for position in order], prefix)
        self._finder = _index_over(foreign_key, child)

    def key_of_child(self, values: Sequence[Value]) -> bytes | None:
        """The key that a row of the child refers to; None when it refers to nothing."""
        return self._key([values[position] for position in self._child_columns])

    def key_of_parent(self, values: Sequence[Value]) -> bytes | None:
        """The key by which a row of the parent can be referred to; None when it can't."""
        return self._key([values[position] for position in self._parent_columns])

    def guard(self, key: bytes) -> bytes:
        """What is locked for the key to stay, shared, or to go, whole.

        Who takes a unique key away writes its entry, and that is enough. A row is also written when
        its key stays, so there its identity is locked (see `ferrisdb.query.row_locks`).
        """
        return key if self.has_stored_guards else identity_key(key)

    @property
    def has_stored_guards(self) -> bool:
        return self.foreign_key.parent_index > 0

    def children(self, transaction: Transaction, keys: Collection[bytes]) -> Iterator[StoredRow]:
        """The rows that refer to one of `keys`."""
        if self._finder is None:
            return self._children_by_reading_all(transaction, keys)
        return self._finder.rows(transaction, map(self._codec.decode, keys), self._child_columns)

    def _children_by_reading_all(
        self, transaction: Transaction, keys: Collection[bytes]
    ) -> Iterator[StoredRow]:
        decode = self.child.row_codec.decoder(self._child_columns)
        for row_keys, rows in transaction.scan_batches(*row_range(self.child.table.id)):
            for row_key, row in zip(row_keys, rows, strict=True):
                if self._key(decode(row)) in keys:
                    yield row_key, row

    def _key(self, values: Sequence[Value]) -> bytes | None:
        return None if None in values else self._codec.encode(values)


class _Finder:
    """Finds rows by the first columns of an index, or of the primary key where `index_id` is 0."""

    def __init__(self, table: Table, index_id: int, columns: Sequence[int]) -> None:
        self._row_prefix = row_prefix(table.id)
        self._is_of_rows = index_id == 0
        self._columns = columns
        prefix = self._row_prefix if self._is_of_rows else index_prefix(table.id, index_id)
        self._codec = KeyCodec([table.columns[position].type for position in columns], prefix)

    def rows(
        self, transaction: Transaction, keys: Iterator[tuple[Value, ...]], columns: Sequence[int]
    ) -> Iterator[StoredRow]:
        """`keys` are values of `columns`."""
        places = [columns.index(position) for position in self._columns]
        for values in keys:
            prefix = self._codec.encode([values[place] for place in places])
            for found, stored in transaction.scan_batches(*prefix_range(prefix)):
                if self._is_of_rows:
                    yield from zip(found, stored, strict=True)
                    continue
                row_keys = [self._row_prefix + primary_key for primary_key in stored]
                for row_key, row in zip(row_keys, transaction.get_many(row_keys), strict=True):
                    yield row_key, row if row is not None else broken("an index entry has its row")


def _parent_key(foreign_key: ForeignKey, parent: Table) -> tuple[tuple[int, ...], bytes]:
    """The columns of the key that is referred to, as they are stored, and what is before them."""
    if not foreign_key.parent_index:
        return parent.primary_key, row_prefix(parent.id)
    index = next((each for each in parent.indexes if each.id == foreign_key.parent_index), None)
    if index is None:
        broken(f"the foreign key {foreign_key.name} refers to an index that is there")
    return index.columns, index_prefix(parent.id, index.id)


def _in_order_of(parent_columns: Sequence[int], foreign_key: ForeignKey) -> tuple[int, ...]:
    partner = dict(zip(foreign_key.referenced, foreign_key.columns, strict=True))
    return tuple(partner[position] for position in parent_columns)


def _index_over(foreign_key: ForeignKey, child: Table) -> _Finder | None:
    count, wanted = len(foreign_key.columns), set(foreign_key.columns)
    if set(child.primary_key[:count]) == wanted:
        return _Finder(child, 0, child.primary_key[:count])
    for index in child.indexes:
        if set(index.columns[:count]) == wanted:
            return _Finder(child, index.id, index.columns[:count])
    return None


@functools.lru_cache(maxsize=256)
def reference(foreign_key: ForeignKey, child: Table, parent: Table) -> Reference:
    """The reference, kept by its definition: making codecs compiles code."""
    return Reference(foreign_key, child, parent)


class TableReferences:
    """The foreign keys that a table has, and those of others, or itself, that refer to it."""

    def __init__(self, table: Table, own: Sequence[Reference], others: Sequence[Reference]) -> None:
        self.table = table
        self.parents = tuple(own)
        self.children = tuple(others)

    def __bool__(self) -> bool:
        return bool(self.parents or self.children)

    def are_touched_by(self, columns: Collection[int]) -> bool:
        """Whether an UPDATE of these columns can make or break a reference."""
        return any(not set(each.foreign_key.columns).isdisjoint(columns) for each in self.parents) or any(
            not set(each.foreign_key.referenced).isdisjoint(columns) for each in self.children
        )


class References:
    """All foreign keys of one catalog. Threads may share it."""

    def __init__(self, catalog: CatalogView) -> None:
        self._catalog = catalog

    def of(self, layout: TableLayout) -> TableReferences:
        table = layout.table
        own = [reference(each, table, self._table(each.parent)) for each in table.foreign_keys]
        others = [reference(each, child, table) for child, each in self._catalog.references_to(table.name)]
        return TableReferences(table, own, others)

    def tables_below(self, name: str) -> tuple[str, ...]:
        """The table, and all whose rows a change of it may reach, by their names."""
        found, pending = {name}, [name]
        while pending:
            below = {child.name for child, _ in self._catalog.references_to(pending.pop())} - found
            found |= below
            pending += below
        return tuple(sorted(found))

    def defaults(self, each: Reference) -> RowTemplate:
        """Makes a row of the child in which the columns of the foreign key have their defaults."""
        columns = each.child.table.columns
        given = [
            (position, default_expression(columns[position].default_sql, 0))
            for position in each.foreign_key.columns
        ]
        return RowTemplate(columns, given, self._catalog, NO_PARAMETERS)

    def _table(self, name: str) -> Table:
        return self._catalog.table(name) or broken(f"the parent of a foreign key is there: {name}")

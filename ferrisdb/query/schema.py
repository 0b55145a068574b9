"""What the catalog knows: tables, columns, indexes. Plain immutable facts."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisdb.query.types import SqlType


@dataclass(frozen=True)
class Column:
    """`default_sql` is the text of the DEFAULT expression, bound anew when it is used."""

    name: str
    type: SqlType
    is_not_null: bool = False
    default_sql: str | None = None


@dataclass(frozen=True)
class Index:
    """`columns` are positions in the table's columns. `id` is unique within the table, from 1.

    A UNIQUE or PRIMARY KEY constraint that needs an index owns it: `is_constraint`.
    """

    id: int
    name: str
    columns: tuple[int, ...]
    is_unique: bool
    is_constraint: bool = False


@dataclass(frozen=True)
class Table:
    """`primary_key` are positions in `columns`; empty means rows are keyed by a hidden row id.

    `primary_key_name` is the name of that constraint: it has no index that could carry it.
    """

    id: int
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[int, ...]
    indexes: tuple[Index, ...] = ()
    primary_key_name: str = ""

    def column_position(self, name: str) -> int | None:
        for position, column in enumerate(self.columns):
            if column.name == name:
                return position
        return None

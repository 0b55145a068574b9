"""What the catalog knows: tables, columns, indexes. Plain immutable facts."""

from __future__ import annotations

import enum
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


class ReferentialAction(enum.Enum):
    """What becomes of the rows that refer to a key which goes, or becomes another."""

    NO_ACTION = "NO ACTION"
    """Refused, if they still refer to it when the statement is done."""
    RESTRICT = "RESTRICT"
    """Refused, also where another row of the statement takes the key over."""
    CASCADE = "CASCADE"
    SET_NULL = "SET NULL"
    SET_DEFAULT = "SET DEFAULT"


@dataclass(frozen=True)
class ForeignKey:
    """Rows of the table that has it refer to a row of `parent`, by that one's unique key.

    `columns` are positions in the own table, each beside the one of `referenced` that it must
    be equal to, a position in the parent. `parent_index` is the id of the parent's unique index
    over them; 0 is the primary key.
    """

    name: str
    columns: tuple[int, ...]
    parent: str
    referenced: tuple[int, ...]
    parent_index: int = 0
    on_delete: ReferentialAction = ReferentialAction.NO_ACTION
    on_update: ReferentialAction = ReferentialAction.NO_ACTION


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
    foreign_keys: tuple[ForeignKey, ...] = ()

    def column_position(self, name: str) -> int | None:
        for position, column in enumerate(self.columns):
            if column.name == name:
                return position
        return None

"""What a schema statement works with, and the questions all of them ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ferrisdb.errors import DuplicateColumn, UndefinedColumn
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.constraints import primary_key_name
from ferrisdb.query.schema import Column
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.txn.api import Transaction

MAX_COLUMNS = 1600
"""PostgreSQL's limit. A row's decoder is one Python function over its columns."""

MAX_INDEX_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Definition:
    """`catalog` is what the transaction sees before the statement."""

    transaction: Transaction
    catalog: CatalogView
    now: datetime

    def is_taken(self, name: str) -> bool:
        """Whether a table, an index or a primary key has the name."""
        if self.catalog.table(name) is not None or self.catalog.index(name) is not None:
            return True
        return any(
            table.primary_key and primary_key_name(table.name) == name for table in self.catalog.tables()
        )


def key_columns(names: Sequence[ast.Name], columns: Sequence[Column], what: str) -> tuple[int, ...]:
    """Positions of the columns of a key. Raises UndefinedColumn, DuplicateColumn."""
    known = {column.name: position for position, column in enumerate(columns)}
    found: list[int] = []
    for name in names:
        position = known.get(name.text)
        if position is None:
            raise UndefinedColumn(
                f'column "{name.text}" named in {what} does not exist',
                position=name.position,
                hint=did_you_mean(name.text, known),
            )
        if position in found:
            raise DuplicateColumn(
                f'column "{name.text}" appears twice in {what}', position=name.position
            )
        found.append(position)
    return tuple(found)


def free_name(base: str, is_taken: Iterator[bool] | None = None) -> str:
    raise NotImplementedError

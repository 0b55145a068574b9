"""What a schema statement works with, and the questions all of them ask."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ferrisdb.errors import DuplicateColumn, StatementTooLarge, UndefinedColumn
from ferrisdb.immutable import immutable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.schema import Column
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.txn.api import Transaction

MAX_COLUMNS = 1600
"""PostgreSQL's limit. A row's decoder is one Python function over its columns."""

MAX_KEY_COLUMNS = 32
"""PostgreSQL's limit as well."""


@immutable
class Definition:
    """`catalog` is what the transaction sees before the statement."""

    execution: Execution
    catalog: CatalogView

    @property
    def transaction(self) -> Transaction:
        return self.execution.transaction

    def is_taken(self, name: str) -> bool:
        """Whether a table, an index or a primary key has the name: they share one namespace."""
        if self.catalog.table(name) is not None or self.catalog.index(name) is not None:
            return True
        return self.primary_key_owner(name) is not None

    def primary_key_owner(self, name: str) -> str | None:
        """The table whose primary key has the name."""
        for table in self.catalog.tables():
            if table.primary_key and table.primary_key_name == name:
                return table.name
        return None

    def free_name(self, base: str, reserved: Collection[str]) -> str:
        """`base`, or with the first number behind it that makes it free, as PostgreSQL does."""
        name, number = base, 0
        while name in reserved or self.is_taken(name):
            number += 1
            name = f"{base}{number}"
        return name


def key_columns(names: Sequence[ast.Name], columns: Sequence[Column], what: str) -> tuple[int, ...]:
    """Positions of the columns of a key.

    Raises UndefinedColumn, DuplicateColumn; StatementTooLarge past MAX_KEY_COLUMNS.
    """
    if len(names) > MAX_KEY_COLUMNS:
        raise StatementTooLarge(
            f"a key has at most {MAX_KEY_COLUMNS} columns", position=names[MAX_KEY_COLUMNS].position
        )
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
            raise DuplicateColumn(f'column "{name.text}" appears twice in {what}', position=name.position)
        found.append(position)
    return tuple(found)

"""PEP 249's cursor: runs statements on its connection and hands out the rows.

Rows stream: `fetchone` makes one. The result shows what was true when its statement ran,
whatever the connection does meanwhile; rows outlive the commit, but not the rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING

from ferrisdb.api.statements import Parameters, Row
from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.query.session import Result, ResultColumn
from ferrisdb.query.types import SqlType

if TYPE_CHECKING:
    from ferrisdb.api.connection import Connection

ColumnDescription = tuple[str, SqlType, None, int | None, int | None, int | None, None]
"""Name, type, display size, internal size (VARCHAR's length), precision, scale, null_ok."""


class Cursor:
    """Made by `Connection.cursor`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self._result: Result | None = None
        self._batch: Iterator[Row] = iter(())
        self._changed_count = -1
        self._is_closed = False

    @property
    def description(self) -> tuple[ColumnDescription, ...] | None:
        """A 7-tuple for each column of the result; None where there is no result."""
        if self._result is None or not self._result.columns:
            return None
        return tuple(
            (c.name, c.type, None, c.type.length, c.type.precision, c.type.scale, None)
            for c in self._result.columns
        )

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """Name and type of each column of the result; empty where there is no result."""
        return () if self._result is None else self._result.columns

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed, or gave; -1 while a query still has rows to make."""
        return self._changed_count if self._result is None else self._result.row_count

    @property
    def lastrowid(self) -> None:
        """Always None: a FerrisDB row is named by its primary key."""
        return None

    @property
    def statusmessage(self) -> str | None:
        """What the last `execute` did, in PostgreSQL's words: "INSERT 3"."""
        return None if self._result is None else self._result.tag

    def execute(self, sql: str, parameters: Parameters = ()) -> Cursor:
        """Run one statement. Parameters are a sequence for `?` or a mapping for `:name`."""
        self._forget()
        self._result = self.connection.run(sql, parameters)
        return self

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> Cursor:
        """Run one statement that changes rows, with each of the parameters."""
        self._forget()
        self._changed_count = self.connection.run_many(sql, rows)
        return self

    def fetchone(self) -> Row | None:
        for row in self._batch:  # a closed cursor has none
            return row
        self._batch = iter(self._rows().fetch_batch())
        return next(self._batch, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next `size` rows (`arraysize` when not given), fewer at the end."""
        count = self.arraysize if size is None else size
        if count < 0:
            raise InvalidParameterValue(f"fetchmany takes 0 rows or more, not {count}")
        result = self._rows()
        rows = list(islice(self._batch, count))
        while len(rows) < count and (batch := result.fetch_batch()):
            self._batch = iter(batch)
            rows += islice(self._batch, count - len(rows))
        return rows

    def fetchall(self) -> list[Row]:
        result = self._rows()
        return [*self._batch, *result.fetch_all()]

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def close(self) -> None:
        """The cursor is of no use from now on. Fine when already closed."""
        if not self._is_closed:
            self._forget()
            self._is_closed = True

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing, as PEP 249 allows."""

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        if self._is_closed:
            raise InterfaceError("the cursor is closed")
        if self._result is not None:
            self._result.close()
            self._result = None
        self._batch = iter(())
        self._changed_count = -1

    def _rows(self) -> Result:
        if self._is_closed:
            raise InterfaceError("the cursor is closed")
        if self._result is None or not self._result.columns:
            raise InterfaceError("there are no rows to fetch", hint="execute a query first")
        return self._result

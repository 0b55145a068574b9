"""Loading a CSV file into a table: all of it, or nothing and the reason.

    header -> the table's columns, or a new table whose types are inferred from every value
    records -> chunks -> values, a column at a time -> one prepared INSERT for many rows

An import is one transaction: after an error nothing has changed. `batch_rows` makes it
several, for files that are too large for one; then the rows of the batches before the error
stand, and the report says how many.

An error names file, line and column. What the importer itself cannot read is found by the
column; what the database refuses (a duplicate key, a NULL) only shows when the chunk is
inserted, so a refused chunk is undone to its savepoint and inserted row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ferrisdb.api.database import Database
from ferrisdb.api.transaction import Transaction
from ferrisdb.cli.csv_file import CsvFile, CsvFormat, Fields
from ferrisdb.cli.csv_types import TypeInference, convert_column, first_misfit
from ferrisdb.cli.describe import create_table_sql, identifier
from ferrisdb.errors import DuplicateColumn, Error, UndefinedColumn
from ferrisdb.immutable import immutable
from ferrisdb.query.schema import Column, Table
from ferrisdb.query.types import Value

CHUNK_ROWS = 1000

Progress = Callable[[int], None]
"""Called with the bytes of the file that were read since the last call."""


@dataclass
class ImportJob:
    """What is to be done. Counts go up while it is."""

    path: str
    table_name: str
    format: CsvFormat
    batch_rows: int | None = None
    committed_rows: int = 0
    created_table: Table | None = None


@immutable
class _Chunk:
    lines: list[int]
    fields: list[Fields]

    def column(self, place: int) -> list[str | None]:
        return [fields[place] for fields in self.fields]


def import_csv(database: Database, job: ImportJob, progress: Progress) -> None:
    """Load the file. `job.committed_rows` says at any time, also after an error, what stands.

    Raises Error with file, line and column in its message.
    """
    table = _existing(database.tables(), job.table_name)
    if table is None:
        table = job.created_table = _inferred_table(job, progress)
    with CsvFile(job.path, job.format) as file:
        columns = _matched(table, file)
        loader = _Loader(file.path, table, columns)
        chunks = _chunks(file, min(CHUNK_ROWS, job.batch_rows or CHUNK_ROWS), progress)
        is_new = job.created_table is not None
        while True:
            with database.transaction() as tx:
                if is_new:
                    tx.execute(create_table_sql(table))
                    is_new = False
                rows = loader.load(tx, chunks, job.batch_rows)
            job.committed_rows += rows
            if job.batch_rows is None or rows < job.batch_rows:
                return


class _Loader:
    def __init__(self, path: str, table: Table, columns: Sequence[Column]) -> None:
        self._path = path
        self._columns = columns
        names = ", ".join(identifier(column.name) for column in columns)
        marks = ", ".join("?" for _ in columns)
        self._insert_sql = f"INSERT INTO {identifier(table.name)} ({names}) VALUES ({marks})"

    def load(self, tx: Transaction, chunks: Iterator[_Chunk], most_rows: int | None) -> int:
        """Insert chunks until `most_rows`, or all of them: how many rows."""
        rows = 0
        while most_rows is None or rows < most_rows:
            chunk = next(chunks, None)
            if chunk is None:
                break
            self._insert(tx, chunk)
            rows += len(chunk.lines)
        return rows

    def _insert(self, tx: Transaction, chunk: _Chunk) -> None:
        rows = self._converted(chunk)
        savepoint = tx.savepoint()
        try:
            tx.execute_many(self._insert_sql, rows)
        except Error as error:
            if error.retryable:  # the transaction is over, and no row is to blame
                raise
            tx.rollback_to(savepoint)
            self._insert_one_by_one(tx, chunk, rows)
            raise
        tx.release(savepoint)

    def _insert_one_by_one(self, tx: Transaction, chunk: _Chunk, rows: list[tuple[Value, ...]]) -> None:
        """Meet the error of the chunk again, at its row."""
        for line, row in zip(chunk.lines, rows, strict=True):
            try:
                tx.execute(self._insert_sql, row)
            except Error as error:
                raise _at(error, f"{self._path}, line {line}") from None

    def _converted(self, chunk: _Chunk) -> list[tuple[Value, ...]]:
        try:
            converted = [
                convert_column(column.type.kind, chunk.column(place))
                for place, column in enumerate(self._columns)
            ]
        except Error:
            raise self._first_misfit(chunk) from None
        return list(zip(*converted, strict=True))

    def _first_misfit(self, chunk: _Chunk) -> Error:
        found = [
            (misfit[0], column, misfit[2])
            for place, column in enumerate(self._columns)
            if (misfit := first_misfit(column.type.kind, chunk.column(place))) is not None
        ]
        row, column, error = min(found, key=lambda misfit: misfit[0])
        return _at(error, f'{self._path}, line {chunk.lines[row]}, column "{column.name}"')


def _at(error: Error, where: str) -> Error:
    error.message = f"{where}: {error.message}"
    error.position = None  # it would point into an INSERT that the user never wrote
    return error


def _chunks(file: CsvFile, rows: int, progress: Progress) -> Iterator[_Chunk]:
    """Chunks of at most `rows` records, and never none of them."""
    chunk, seen_bytes = _Chunk([], []), 0
    for line, fields in file.records():
        chunk.lines.append(line)
        chunk.fields.append(fields)
        if len(chunk.lines) == rows:
            progress(file.position_bytes - seen_bytes)
            seen_bytes = file.position_bytes
            yield chunk
            chunk = _Chunk([], [])
    progress(file.position_bytes - seen_bytes)
    if chunk.lines:
        yield chunk


def _existing(tables: Sequence[Table], name: str) -> Table | None:
    by_name = {table.name: table for table in tables}
    return by_name.get(name) or by_name.get(name.lower())


def _matched(table: Table, file: CsvFile) -> list[Column]:
    """The table's column for each field of the header."""
    by_name = {column.name: column for column in table.columns}
    names = [name if name in by_name else name.lower() for name in file.header]
    unknown = [given for given, name in zip(file.header, names, strict=True) if name not in by_name]
    if unknown:
        raise UndefinedColumn(
            f'{file.path}: the table "{table.name}" has no column {_listed(unknown)}',
            hint="its columns are " + ", ".join(by_name),
        )
    _refuse_twice(file.path, names)
    missing = [c.name for c in table.columns if c.name not in names and c.default_sql is None]
    if missing:
        raise UndefinedColumn(
            f'{file.path}: the header does not name {_listed(missing)} of the table "{table.name}"',
            hint="only columns with a DEFAULT may be left out",
        )
    return [by_name[name] for name in names]


def _inferred_table(job: ImportJob, progress: Progress) -> Table:
    with CsvFile(job.path, job.format) as file:
        names = [_column_name(name) for name in file.header]
        _refuse_twice(file.path, names)
        inferences = [TypeInference() for _ in names]
        for chunk in _chunks(file, CHUNK_ROWS, progress):
            for place, inference in enumerate(inferences):
                inference.see(chunk.column(place))
    columns = tuple(Column(name, inference.type) for name, inference in zip(names, inferences, strict=True))
    return Table(id=0, name=_column_name(job.table_name), columns=columns, primary_key=())


def _column_name(given: str) -> str:
    """A name that could stand unquoted is folded, as SQL would; any other is kept as it is."""
    return given.lower() if given.isidentifier() and given.isascii() else given


def _refuse_twice(path: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DuplicateColumn(f"{path}: the header names {_listed(twice)} more than once")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)

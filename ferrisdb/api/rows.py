"""The rows of a query, as a Python program likes to take them.

    tx.query("SELECT count(*) FROM account").scalar()
    tx.query("SELECT * FROM account WHERE id = ?", (1,)).one()
    for account in tx.query("SELECT id, owner FROM account", into=Account): ...

A row is a tuple, or with `into=` whatever the given dataclass, NamedTuple or function makes
of the columns, passed by name. Rows stream: they are made as they are taken, and can be
taken once. They show what was true when the statement ran, whatever its transaction does
meanwhile; they outlive its commit, but not its rollback.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ferrisdb.api.statements import Row, Statements
from ferrisdb.errors import CardinalityViolation, InterfaceError
from ferrisdb.query.session import Result

T = TypeVar("T")


class Rows(Generic[T]):
    """An iterable of rows; each is given once. `with` closes it early."""

    def __init__(self, statements: Statements, result: Result, into: Callable[..., T] | None = None) -> None:
        # While there are rows to take there is someone who takes them: the session must be
        # there to end them when the database closes, and its transaction not be given up.
        self._statements = statements
        self._result = result
        self._rows: Iterator[Row] = result.rows
        self.columns: tuple[str, ...] = tuple(column.name for column in result.columns)
        self._items: Iterator[T]
        if into is None:
            self._items = cast(Iterator[T], self._rows)
        else:
            self._items = _made(into, self.columns, self._rows)

    def __iter__(self) -> Iterator[T]:
        return self._items

    def all(self) -> list[T]:
        """All rows that are left."""
        return list(self._items)

    def first(self) -> T | None:
        """The next row, or None. The rest is given up."""
        row = next(self._items, None)
        self.close()
        return row

    def one_or_none(self) -> T | None:
        """The only row, or None. Raises CardinalityViolation when there are more."""
        row = next(self._items, None)
        if row is not None and next(self._items, None) is not None:
            self.close()
            raise CardinalityViolation("the query gave more than one row")
        return row

    def one(self) -> T:
        """The only row. Raises CardinalityViolation when there are more, or none."""
        row = self.one_or_none()
        if row is None:
            raise CardinalityViolation("the query gave no row")
        return row

    def scalar(self) -> Any:
        """The first column of the next row, or None when there is no row."""
        row = next(self._rows, None)
        self.close()
        return None if row is None else row[0]

    def close(self) -> None:
        """Give up the rows that are left. Fine when already closed."""
        self._result.close()
        self._rows = iter(())
        self._items = iter(())

    def __enter__(self) -> Rows[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _made(into: Callable[..., T], columns: Sequence[str], rows: Iterable[Row]) -> Iterator[T]:
    if not callable(into):
        raise InterfaceError(f"into= is a class or a function, not {type(into).__name__}")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InterfaceError(
            f'into= needs distinct column names; "{twice}" comes twice', hint="name it with AS"
        )
    if _takes_in_order(into, columns):
        return starmap(into, rows)
    return (into(**dict(zip(columns, row, strict=True))) for row in rows)


def _takes_in_order(into: Callable[..., T], columns: Sequence[str]) -> bool:
    """Whether a call by position means the same as one by name: it is half the price.

    Raises InterfaceError when `into` does not take these names.
    """
    try:
        signature = inspect.signature(into)
    except ValueError:  # a builtin that does not tell, as `dict`
        return False
    try:
        signature.bind(**dict.fromkeys(columns))
    except TypeError as error:
        name = getattr(into, "__name__", repr(into))
        raise InterfaceError(
            f"{name} cannot be made from the columns {', '.join(columns)}: {error}",
            hint="columns are passed by name; rename them with AS",
        ) from None
    parameters = list(signature.parameters.values())[: len(columns)]
    return [p.name for p in parameters] == list(columns) and all(
        p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters
    )

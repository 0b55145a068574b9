"""What a statement gives back: rows as they are asked for, or a count.

    columns    name and type of each; none when the statement gives no rows
    rows       tuples, made while they are taken
    row_count  rows changed or given; -1 while a query has rows still to make
    tag        what happened, in PostgreSQL's words: "INSERT 3", "SELECT 2", "COMMIT"

A query's rows are lazy, but its first few are made at once: a short result is whole when
`execute` returns, its errors come from `execute`, and its transaction is already over.

    rows made at execute      |#########|
    rows made when taken                |-----------------------|
    a write in the transaction, or COMMIT       ^ the rest is made now, and kept

A result shows the rows as they were when its statement ran. So before its own transaction
writes, and before it commits, the rest is `settled`: read into memory. An error met there
waits for the reader, who meets it at the row where it happened. ROLLBACK takes the rest
away.

A result is used by one thread at a time. One that is dropped half-read leaves its snapshot
to be ended by the next statement of any session (see SharedState.abandon).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from ferrisdb.errors import Error, InterfaceError
from ferrisdb.query.guard import Guard
from ferrisdb.query.plan import ResultColumn, Row

ROWS_MADE_AT_EXECUTE = 256


class RowSource:
    """Where the rows of a result come from, and what is to be done at their end.

    `end` is called once: with None after the last row or at `close`, with the error
    otherwise. `abandon` is called instead when the result is dropped half-read; it may run
    inside any other call of this thread, so it must not wait and must not take a lock.
    """

    __slots__ = ("abandon", "batches", "end", "guard")

    def __init__(
        self,
        batches: Iterator[list[Row]],
        guard: Guard,
        end: Callable[[BaseException | None], None],
        abandon: Callable[[], None],
    ) -> None:
        self.batches = batches
        self.guard = guard
        self.end = end
        self.abandon = abandon


class Result:
    """The result of one statement. Iterate over `rows`, or take `fetch_all`, or `fetch_batch`."""

    def __init__(
        self,
        word: str,
        columns: tuple[ResultColumn, ...] = (),
        *,
        row_count: int = -1,
        ready: list[Row] | None = None,
        source: RowSource | None = None,
    ) -> None:
        """`word` is the tag without its count. `ready` are rows that are made already."""
        self.columns = columns
        self._word = word
        self._source = source
        self._made: deque[list[Row]] = deque([ready] if ready else [])
        self._made_count = len(ready) if ready else 0
        self._row_count = self._made_count if columns and source is None else row_count
        self._error: Error | None = None

    @property
    def row_count(self) -> int:
        """Rows changed, or all rows of the query; -1 when there is no count, or none yet."""
        return self._row_count

    @property
    def tag(self) -> str:
        return self._word if self._row_count < 0 else f"{self._word} {self._row_count}"

    @property
    def is_complete(self) -> bool:
        """True when every row has been made: the result needs its transaction no more."""
        return self._source is None

    @property
    def rows(self) -> Iterator[Row]:
        """The rows not taken yet. Take them through one iterator only."""
        return iter(self)

    def __iter__(self) -> Iterator[Row]:
        while batch := self.fetch_batch():
            yield from batch

    def fetch_all(self) -> list[Row]:
        """Every row not taken yet."""
        rows: list[Row] = []
        while batch := self.fetch_batch():
            rows += batch
        return rows

    def fetch_batch(self) -> list[Row]:
        """Some rows, as many as are made in one go; empty at the end.

        Raises what the query raises; the same again when called again.
        """
        if self._made:
            return self._made.popleft()
        if self._error is not None:
            raise self._error
        if self._source is None:
            return []
        with self._source.guard:
            return self._pull()

    def close(self) -> None:
        """Give up the rows not taken. Ends the transaction of an autocommitted query."""
        self._made.clear()
        self._finish(None)

    def make_first_rows(self) -> None:
        """Make the rows that `execute` makes. For the session, which is in its guard."""
        while self._source is not None and self._made_count < ROWS_MADE_AT_EXECUTE:
            batch = self._pull()
            if batch:
                self._made.append(batch)

    def settle(self) -> None:
        """Make the rest now and keep it. For the session, which is in its guard."""
        source = self._source
        if source is None:
            return
        try:
            for batch in source.batches:
                if batch:
                    self._made.append(batch)
                    self._made_count += len(batch)
            self._row_count = self._made_count
        except Error as error:
            self._error = error
        except BaseException:
            self._error = _interrupted()
            raise
        finally:
            self._finish(None)

    def revoke(self, error: Error) -> None:
        """Take the rows away that are not made yet: reading on raises `error`."""
        if self._source is not None:
            self._made.clear()
            self._error = error
            self._finish(None)

    def _pull(self) -> list[Row]:
        source = self._source
        if source is None:
            return []
        try:
            for batch in source.batches:
                if batch:
                    self._made_count += len(batch)
                    return batch
        except BaseException as error:
            self._error = error if isinstance(error, Error) else _interrupted()
            self._finish(error)
            raise
        self._row_count = self._made_count
        self._finish(None)
        return []

    def _finish(self, error: BaseException | None) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.end(error)

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None:
            source.abandon()


def _interrupted() -> InterfaceError:
    """Kept for the reader after a KeyboardInterrupt: the rows it lost would else look like the end."""
    return InterfaceError("the result was interrupted")

"""PEP 249: the interface that every Python database has.

    con = ferrisdb.connect("shop.ferris")
    cur = con.cursor()
    cur.execute("SELECT owner FROM account WHERE id = ?", (1,))     or :id with {"id": 1}
    print(cur.fetchone()); con.commit()

With `autocommit=False`, as PEP 249 wants it, a transaction begins by itself before the first
statement, and `commit()` or `rollback()` ends it. With `autocommit=True` each statement is
a transaction of its own, and BEGIN and COMMIT are statements.

A transaction that the program began with BEGIN is its own: `commit()` commits it, because
that is a word of the program, but the end of a `with` block does not.

    with con:      as in psycopg 3: commits, or rolls back on an exception; then closes

Connections to one path share one engine. Threads may share this module, but not a
connection (threadsafety 1): each thread takes its own, which is cheap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING

from ferrisdb import errors
from ferrisdb.api.choices import checked_path, checked_statement, isolation_level
from ferrisdb.api.cursor import Cursor
from ferrisdb.api.engine import MEMORY, Lease, lease
from ferrisdb.api.statements import Parameters, Statements
from ferrisdb.errors import ActiveTransaction, ProgrammingError, SqlSyntaxError
from ferrisdb.query.parse import split_statements
from ferrisdb.query.parse.lexer import end_of_comment
from ferrisdb.query.schema import Table
from ferrisdb.query.session import Result, SessionStatus
from ferrisdb.txn.api import IsolationLevel

if TYPE_CHECKING:
    from ferrisdb.api.database import Database

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"

# `*+` gives nothing back: each blank of a long run is looked at once.
_BLANKS = re.compile(r"(?:\s++|--[^\n]*+)*+")
_BEGIN = re.compile(r"(?:begin|start)\b", re.IGNORECASE)


class Connection:
    """Made by `ferrisdb.connect`. Used by one thread at a time."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, lease: Lease, isolation: IsolationLevel, *, autocommit: bool) -> None:
        self._lease = lease
        self._isolation = isolation
        self._autocommit = autocommit
        self._statements = Statements(lease, isolation)
        self._is_begun_by_program = False

    @property
    def autocommit(self) -> bool:
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        """Raises ActiveTransaction inside a transaction."""
        if self.in_transaction:
            raise ActiveTransaction(
                "autocommit cannot change inside a transaction", hint="commit or roll back first"
            )
        self._autocommit = value

    @property
    def status(self) -> SessionStatus:
        """IDLE, OPEN in a transaction, or FAILED in one that can only be rolled back."""
        return self._statements.status

    @property
    def in_transaction(self) -> bool:
        return self._statements.status is not SessionStatus.IDLE

    def cursor(self) -> Cursor:
        self._lease.require_usable()
        return Cursor(self)

    def execute(self, sql: str, parameters: Parameters = ()) -> Cursor:
        """A new cursor that has executed the statement."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> Cursor:
        """A new cursor that has executed the statement with each of the parameters."""
        return self.cursor().executemany(sql, rows)

    def commit(self) -> None:
        """Fine where no transaction is open.

        Raises InFailedTransaction after an error in the transaction, which is then rolled
        back; CommitUnknown when the disk failed in the middle.
        """
        self._lease.require_usable()
        if self.in_transaction:
            self._statements.commit()

    def rollback(self) -> None:
        """Fine where no transaction is open."""
        self._lease.require_usable()
        self._statements.rollback()

    def refresh(self) -> bool:
        """As `Database.refresh`: where the database is open read-only, go on to the present."""
        self._lease.require_usable()
        return self._lease.engine.store.refresh()

    def tables(self) -> tuple[Table, ...]:
        """The tables that this connection sees now, by name."""
        return self._statements.tables()

    def database(self) -> Database:
        """The database that this is a connection to, also one in memory: close it, too."""
        from ferrisdb.api.database import Database  # noqa: PLC0415

        return Database(self._lease.folder or MEMORY, self._lease.another())

    def close(self) -> None:
        """Roll back what is open and let go of the database. Fine when already closed."""
        if self._lease.is_released:
            return
        try:
            self._statements.close()
        finally:
            self._lease.release()

    def __enter__(self) -> Connection:
        self._lease.require_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._lease.is_released and self.in_transaction:
                if self._is_begun_by_program:
                    raise ActiveTransaction(
                        "the with block ended in a transaction that BEGIN had begun; it was rolled back",
                        hint="end it with COMMIT, or call commit()",
                    )
                self.commit()
        finally:
            self.close()

    # for the cursor

    def run(self, sql: str, parameters: Parameters) -> Result:
        """Run one statement, in a transaction as `autocommit` says. Cursors call this."""
        self._before_statement(sql)
        try:
            return self._statements.run(sql, parameters)
        except SqlSyntaxError as error:
            _refuse_several(sql, error)
            raise

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """As `run`, once for each of the parameters."""
        self._before_statement(sql)
        return self._statements.run_many(sql, rows)

    def _before_statement(self, sql: str) -> None:
        self._lease.require_usable()
        if self._statements.status is SessionStatus.IDLE:
            self._is_begun_by_program = _begins(checked_statement(sql))
            if not self._autocommit and not self._is_begun_by_program:
                self._statements.begin()


def connect(
    path: str | PathLike[str] = MEMORY,
    autocommit: bool = False,
    *,
    isolation: IsolationLevel | str = IsolationLevel.SNAPSHOT,
    read_only: bool = False,
) -> Connection:
    """A PEP 249 connection to the database in the folder `path`, which is created if absent.

    `read_only` is that of `ferrisdb.open`. ":memory:" is always a new database. Raises as
    `ferrisdb.open` does.
    """
    level = isolation_level(isolation)
    return Connection(lease(checked_path(path), {}, read_only=bool(read_only)), level, autocommit=autocommit)


def _begins(sql: str) -> bool:
    """Whether the first word, behind blanks and comments, opens a transaction."""
    start = _end_of_blanks(sql, 0)
    while sql.startswith("/*", start):
        end = end_of_comment(sql, start)
        if end < 0:
            return False
        start = _end_of_blanks(sql, end)
    return _BEGIN.match(sql, start) is not None


def _end_of_blanks(sql: str, start: int) -> int:
    blanks = _BLANKS.match(sql, start)
    return blanks.end() if blanks else start


def _refuse_several(sql: str, error: SqlSyntaxError) -> None:
    """Raise a clearer error than `error` when the text holds more than one statement."""
    try:
        starts = [offset for offset, _ in split_statements(sql)]
    except SqlSyntaxError:
        return
    if len(starts) > 1:
        raise ProgrammingError(
            f"execute takes one statement; this text holds {len(starts)}",
            position=starts[1],
            hint="call execute for each of them",
        ) from error

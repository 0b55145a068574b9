"""Any database that speaks SQL, as the subject of a random run.

    table ferris_fuzz          k    v
    register k12               12   '345'
    list l3                    3    '7,9,12'
    key g17e of group 17       174  '88'

Keys are numbers, so that no collation has a say in their order. Writing is INSERT ... ON CONFLICT
DO UPDATE, as a key may be there or not; appending is the same with `v || ',12'`. Each session is
a thread with a connection of its own, since a statement waits as long as the database likes.

A transaction counts as refused when the error is a conflict: SQLSTATE class 40, a lock that was
not to be had, or what SQLite and MySQL say instead. Any other error ends the run, as an
OperationalError with the statement in it. The database does not tell the order of commits; it is
inferred (see `version_order`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ferrisdb.errors import Error, NotSupportedError, OperationalError
from ferrisdb.isolation.dialects import MYSQL, SQL_SERVER, Dialect
from ferrisdb.isolation.history import Value
from ferrisdb.isolation.subject import Refused, SeveralFound
from ferrisdb.isolation.target import ErrorReport, Target, TargetSession
from ferrisdb.txn.api import IsolationLevel

TABLE = "ferris_fuzz"
LONGEST_LIST = 4000
_CONFLICT_STATES = ("40", "55P03", "55006")
_CONFLICT_WORDS = ("locked", "deadlock", "conflict", "serializ", "lock wait timeout")


class SqlSubject:
    """See `ferrisdb.isolation.subject.Subject`. It owns the target.

    Raises NotSupportedError for a dialect without an INSERT that also updates.
    """

    def __init__(self, target: Target, dialect: Dialect, level: IsolationLevel) -> None:
        if dialect is SQL_SERVER:
            raise NotSupportedError(
                "fuzz has no words for SQL Server yet: it has no INSERT that also updates"
            )
        self.dialect = dialect
        self._target = target
        self._begin = f"BEGIN ISOLATION LEVEL {level.value.upper()}"
        self._of_thread = threading.local()

    def begin(self, *, read_only: bool = False) -> _SqlTransaction:
        session = self._session()
        with _blaming(self._begin):
            session.execute(self._begin)
        return _SqlTransaction(session, self)

    def load(self, values: Mapping[str, Value]) -> None:
        session = self._session()
        for statement in (
            f"DROP TABLE IF EXISTS {TABLE}",
            f"CREATE TABLE {TABLE} (k INTEGER PRIMARY KEY, v VARCHAR({LONGEST_LIST}))",
            *(
                f"INSERT INTO {TABLE} (k, v) VALUES ({_number(key)}, '{value}')"
                for key, value in values.items()
            ),
        ):
            with _blaming(statement):
                session.execute(statement)
        self.end_session()

    def end_session(self) -> None:
        session: TargetSession | None = getattr(self._of_thread, "session", None)
        if session is not None:
            self._of_thread.session = None
            # For a connection that is lost this is an error, and there is nothing left to lose.
            with suppress(Exception):
                session.close()

    def close(self) -> None:
        self.end_session()
        self._target.close()

    def _session(self) -> TargetSession:
        session: TargetSession | None = getattr(self._of_thread, "session", None)
        if session is None:
            with _blaming("a new connection"):
                session = self._of_thread.session = self._target.connect()
        return session


class _SqlTransaction:
    def __init__(self, session: TargetSession, subject: SqlSubject) -> None:
        self._session = session
        self._subject = subject
        self._is_over = False

    def read(self, key: str) -> Value:
        # PostgreSQL at REPEATABLE READ gives two rows here when another transaction has deleted the
        # row and this one has inserted it anew: the old one is in its snapshot, the new one its own.
        values = tuple(int(text) for text in self._texts(key))
        if len(values) > 1:
            raise SeveralFound(values)
        return values[0] if values else None

    def read_list(self, key: str) -> tuple[int, ...]:
        texts = self._texts(key)
        return tuple(map(int, texts[0].split(","))) if texts else ()

    def scan(self, lo: str, hi: str) -> tuple[tuple[str, Value], ...]:
        wanted = f"k >= {_number(lo)} AND k < {_number(hi)}"
        rows = self._execute(f"SELECT k, v FROM {TABLE} WHERE {wanted} ORDER BY k")
        return tuple((_key_in_group(int(key)), int(value)) for key, value in rows)

    def write(self, key: str, value: Value) -> None:
        if value is None:
            self._execute(f"DELETE FROM {TABLE} WHERE k = {_number(key)}")
        else:
            self._upsert(key, str(value), f"'{value}'")

    def append(self, key: str, element: int) -> None:
        joined = f"CONCAT(v, ',{element}')" if self._is_mysql else f"{TABLE}.v || ',{element}'"
        self._upsert(key, str(element), joined)

    def commit(self) -> None:
        self._execute("COMMIT")
        self._is_over = True

    def rollback(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        try:
            self._session.execute("ROLLBACK")
        except Exception:
            # Some databases have rolled back by themselves and call this an error. A new
            # connection is in no transaction, whatever this one is in.
            self._subject.end_session()

    @property
    def _is_mysql(self) -> bool:
        return self._subject.dialect is MYSQL

    def _texts(self, key: str) -> list[str]:
        return [text for (text,) in self._execute(f"SELECT v FROM {TABLE} WHERE k = {_number(key)}")]

    def _upsert(self, key: str, inserted: str, updated: str) -> None:
        how = "ON DUPLICATE KEY UPDATE v =" if self._is_mysql else "ON CONFLICT (k) DO UPDATE SET v ="
        self._execute(f"INSERT INTO {TABLE} (k, v) VALUES ({_number(key)}, '{inserted}') {how} {updated}")

    def _execute(self, statement: str) -> tuple[tuple[str, ...], ...]:
        try:
            answers = self._session.execute(statement)
        except Exception as error:
            if is_conflict(error):
                raise Refused from error
            raise _fault(error, statement) from error
        return answers[-1].rows if answers else ()


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Raises OperationalError where the database fails at this."""
    try:
        yield
    except Exception as error:
        raise _fault(error, what) from error


def _fault(error: Exception, what: str) -> Error:
    if isinstance(error, Error):
        return error
    return OperationalError(f"the database has failed at {what}: {ErrorReport.of(error).message}")


def is_conflict(error: Exception) -> bool:
    report = ErrorReport.of(error)
    if report.sqlstate is not None:
        return report.sqlstate.startswith(_CONFLICT_STATES)
    return any(word in report.message.lower() for word in _CONFLICT_WORDS)


def _number(key: str) -> int:
    """k12 -> 12, g17e -> 174."""
    if key[-1].isdigit():
        return int(key[1:])
    return int(key[1:-1]) * 10 + ord(key[-1]) - ord("a")


def _key_in_group(number: int) -> str:
    return f"g{number // 10}{chr(ord('a') + number % 10)}"

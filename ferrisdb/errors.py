"""Every error FerrisDB raises: PEP 249's tree, each leaf with its SQLSTATE.

An error says what, where, why, and what now. The first line is the message; `position`
points into the SQL text; `detail` explains; `hint` says what to do. The same facts are
attributes, so that a program can act on them and `render` can draw them:

    ERROR 42703: column "balnce" does not exist
      UPDATE account SET balnce = 5
                         ^
    HINT: did you mean account.balance?

SQLSTATE codes follow PostgreSQL (its manual, appendix A).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NoReturn

if TYPE_CHECKING:
    from ferrisdb.conflict import Conflict


class Warning(Exception):
    """PEP 249 asks for it; FerrisDB raises none."""


class Error(Exception):
    """The root. `position` is an offset in characters into the SQL text, from 0."""

    sqlstate: ClassVar[str] = "XX000"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        position: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Callable[..., Error], tuple[object, ...], dict[str, object]]:
        # Exception's own way calls the class with its message alone. A class that asks for more
        # would break there: in the parent of a process pool, far from what went wrong.
        return _restored, (type(self), *self.args), self.__dict__


def _restored(kind: type[Error], *args: object) -> Error:
    """An error without its attributes, for pickle and copy to fill in."""
    return kind.__new__(kind, *args)


class InterfaceError(Error):
    """The Python interface was used wrongly: a closed cursor, a missing parameter."""

    sqlstate = "08003"


class DatabaseError(Error):
    """Everything that the database itself reports."""


class DataError(DatabaseError):
    """A value does not fit."""

    sqlstate = "22000"


class OperationalError(DatabaseError):
    """The work could not be done now: conflicts, locks, disks."""

    sqlstate = "58000"


class IntegrityError(DatabaseError):
    """A constraint would break."""

    sqlstate = "23000"


class InternalError(DatabaseError):
    """A transaction in the wrong state, or a fault of FerrisDB itself."""


class ProgrammingError(DatabaseError):
    """The statement is wrong."""

    sqlstate = "42000"


class NotSupportedError(DatabaseError):
    """Understood, but FerrisDB does not do it."""

    sqlstate = "0A000"


# --- the statement is wrong -------------------------------------------------------------


class SqlSyntaxError(ProgrammingError):
    sqlstate = "42601"


class SpecError(ProgrammingError):
    """An isolation spec is wrong. `place` is its file and line, `source` its text, where known."""

    sqlstate = "42601"
    place: str | None = None
    source: str | None = None


class UndefinedTable(ProgrammingError):
    sqlstate = "42P01"


class UndefinedColumn(ProgrammingError):
    sqlstate = "42703"


class UndefinedObject(ProgrammingError):
    """An index, a savepoint's target, a type, a setting that is not there."""

    sqlstate = "42704"


class AmbiguousColumn(ProgrammingError):
    sqlstate = "42702"


class DuplicateTable(ProgrammingError):
    sqlstate = "42P07"


class DuplicateColumn(ProgrammingError):
    sqlstate = "42701"


class DuplicateAlias(ProgrammingError):
    sqlstate = "42712"


class UndefinedFunction(ProgrammingError):
    """No function or operator takes these argument types."""

    sqlstate = "42883"


class DatatypeMismatch(ProgrammingError):
    sqlstate = "42804"


class CannotCoerce(ProgrammingError):
    sqlstate = "42846"


class GroupingError(ProgrammingError):
    sqlstate = "42803"


class InvalidTableDefinition(ProgrammingError):
    sqlstate = "42P16"


class DuplicateObject(ProgrammingError):
    """Two constraints of one name."""

    sqlstate = "42710"


class InvalidForeignKey(ProgrammingError):
    """What it refers to is no key, or has another number of columns."""

    sqlstate = "42830"


class DependentObjectsExist(ProgrammingError):
    """A foreign key needs what was to be dropped."""

    sqlstate = "2BP01"


class InvalidColumnReference(ProgrammingError):
    """ORDER BY 7 with three columns; a key column that does not exist."""

    sqlstate = "42P10"


class UndefinedParameter(ProgrammingError):
    sqlstate = "42P02"


class StatementTooLarge(ProgrammingError):
    """A program limit: length, depth, number of columns."""

    sqlstate = "54000"


class StatementTooComplex(StatementTooLarge):
    sqlstate = "54001"


class CardinalityViolation(ProgrammingError):
    """A scalar subquery gave more than one row."""

    sqlstate = "21000"


# --- a value does not fit ---------------------------------------------------------------


class DivisionByZero(DataError):
    sqlstate = "22012"


class NumericValueOutOfRange(DataError):
    sqlstate = "22003"


class InvalidTextRepresentation(DataError):
    sqlstate = "22P02"


class DatetimeOverflow(DataError):
    sqlstate = "22008"


class InvalidDatetimeFormat(DataError):
    sqlstate = "22007"


class StringTooLong(DataError):
    sqlstate = "22001"


class InvalidParameterValue(DataError):
    sqlstate = "22023"


class InvalidEscape(DataError):
    sqlstate = "22025"


class KeyTooLarge(DataError):
    """A key, or a value, is longer than the store takes."""

    sqlstate = "54000"


# --- a constraint would break -----------------------------------------------------------


class NotNullViolation(IntegrityError):
    sqlstate = "23502"


class UniqueViolation(IntegrityError):
    sqlstate = "23505"


class ForeignKeyViolation(IntegrityError):
    """A row would refer to one that is not there."""

    sqlstate = "23503"


# --- transactions -----------------------------------------------------------------------


class Retryable(OperationalError):
    """Roll back and run the whole transaction again: it may well succeed."""

    retryable = True


class RefusedForOthers(Retryable):
    """Other transactions were in the way. `conflict` says who did what, where that is known."""

    def __init__(
        self,
        message: str,
        *,
        position: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
        conflict: Conflict | None = None,
    ) -> None:
        super().__init__(message, position=position, detail=detail, hint=hint)
        self.conflict = conflict


class SerializationFailure(RefusedForOthers):
    """`conflict` is the cycle, or the write that came too late."""

    sqlstate = "40001"


class DeadlockDetected(RefusedForOthers):
    """`conflict` is the circle of those who wait."""

    sqlstate = "40P01"


class SnapshotTooOld(Retryable):
    sqlstate = "72000"


class PastNotKept(SnapshotTooOld):
    """The moment that was asked for is not kept any more. `oldest_version` is the oldest that is."""

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        position: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
        oldest_version: int = 0,
    ) -> None:
        super().__init__(message, position=position, detail=detail, hint=hint)
        self.oldest_version = oldest_version


class Unavailable(Retryable):
    sqlstate = "08006"


class QueryCanceled(OperationalError):
    """Somebody has put an end to the statement."""

    sqlstate = "57014"


class LockNotAvailable(OperationalError):
    """`lock_timeout` ran out, or NOWAIT met a lock."""

    sqlstate = "55P03"


class TransactionTooLarge(OperationalError):
    sqlstate = "54000"


class TooManyTransactions(OperationalError):
    sqlstate = "53300"


class ReadOnlyTransaction(InternalError):
    sqlstate = "25006"


class ReadOnlyStore(ReadOnlyTransaction):
    """The database is open for reading only. `what` completes "cannot ..."."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"cannot {what}: the database is open read-only",
            hint="open it without read_only (--read-only), where no other process is writing it",
        )


class IdleInTransactionTimeout(InternalError):
    """The transaction was not used for too long, and was rolled back."""

    sqlstate = "25P03"


class InFailedTransaction(InternalError):
    sqlstate = "25P02"


class ActiveTransaction(InternalError):
    """BEGIN inside a transaction."""

    sqlstate = "25001"


class NoActiveTransaction(InternalError):
    sqlstate = "25P01"


class InvalidSavepoint(InternalError):
    sqlstate = "3B001"


class CommitUnknown(OperationalError):
    """The commit may or may not have happened. Never retry it blindly."""

    sqlstate = "08007"

    def __init__(self, message: str, *, transaction_id: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.transaction_id = transaction_id


# --- files ------------------------------------------------------------------------------


class DatabaseLocked(OperationalError):
    """Another process holds the folder. `pid` is that process, or None when unreadable."""

    sqlstate = "55006"

    def __init__(self, message: str, *, pid: int | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class NotADatabase(OperationalError):
    sqlstate = "58P01"


class FolderNotEmpty(OperationalError):
    """Something is there already where a copy of a database was to be made."""

    sqlstate = "58P02"


class FormatVersionError(OperationalError):
    """A file of a format version that this FerrisDB does not read."""

    sqlstate = "58P02"


class MissingLibrary(NotSupportedError):
    """An optional package that is needed is not installed; the hint has the command."""


class StorageError(OperationalError):
    """The operating system refused a read or a write. After a failed fsync all writes are."""

    sqlstate = "58030"


class DiskFull(StorageError):
    sqlstate = "53100"


class CorruptionError(OperationalError):
    """A checksum or an order is wrong. `file` and `offset` (bytes) say where."""

    sqlstate = "XX001"

    def __init__(self, message: str, *, file: str, offset: int, hint: str | None = None) -> None:
        super().__init__(f"{message} ({file}, byte {offset})", hint=hint)
        self.file = file
        self.offset = offset


class InvariantViolation(InternalError):
    """FerrisDB found itself in a state that its own rules forbid. Please report it."""


def invariant(condition: object, what: str) -> None:
    """Check a rule of our own. Unlike `assert`, `python -O` keeps it."""
    if not condition:
        broken(what)


def broken(what: str) -> NoReturn:
    raise InvariantViolation(
        f"internal rule broken: {what}", hint="this is a bug in FerrisDB; please report it"
    )


def line_and_column(sql: str, position: int) -> tuple[int, int]:
    """Line and column of a character offset, both from 1."""
    before = sql[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def render(error: Error, sql: str | None = None) -> str:
    """The error as the shell prints it: message, the line with a caret, detail, hint."""
    lines = [f"ERROR {error.sqlstate}: {error.message}"]
    if sql is not None and error.position is not None:
        lines += _caret(sql, error.position)
    if error.detail:
        lines.append(f"DETAIL: {error.detail}")
    if error.hint:
        lines.append(f"HINT: {error.hint}")
    return "\n".join(lines)


def _caret(sql: str, position: int) -> list[str]:
    number, column = line_and_column(sql, position)
    source = sql.split("\n")[number - 1]
    start = max(0, column - 61)
    shown = source[start : start + 100].replace("\t", " ").rstrip("\r")
    return ["  " + shown, "  " + " " * (column - 1 - start) + "^"]

"""A transaction in the hands of a Python program: SQL and ordered bytes, all or nothing.

    with db.transaction() as tx:                    commits, or rolls back on an exception
        tx.execute("UPDATE account SET ...")
        with tx.transaction():                      a savepoint: undone alone on an exception
            tx.put(b"audit/17", b"moved 10")

SQL rows and byte keys live in one ordered keyspace and one snapshot, so a change to both is
one commit. Keys that begin with 0xFF are SQL's own and are refused here: a stray byte among
them could break every table.

After an error of a statement the transaction has failed, as in PostgreSQL: nothing but
`rollback`, or the end of the nested `transaction()` that the error leaves, goes on from
there. Committing a failed transaction is an error, and never a silent rollback.

At read committed each operation on bytes is a statement of its own: it sees what is committed
when it is called. A scan sees that to its end.

A transaction is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, overload

from ferrisdb.api.guarded_bytes import GuardedBytes
from ferrisdb.api.rows import Rows
from ferrisdb.api.statements import Parameters, Row, Statements
from ferrisdb.errors import InFailedTransaction, InterfaceError, InvalidParameterValue, Retryable, broken
from ferrisdb.immutable import immutable
from ferrisdb.query.schema import Table
from ferrisdb.query.session import SessionStatus
from ferrisdb.storage.options import Durability
from ferrisdb.txn.api import CommitToken, IsolationLevel
from ferrisdb.txn.api import Transaction as StoreTransaction

T = TypeVar("T")
SQL_KEYS = b"\xff"
"""The first byte of every key that belongs to the SQL layer."""


@immutable
class Savepoint:
    """A point in a transaction to come back to, by its SQL name."""

    name: str


class Transaction:
    """Made by `Database.begin` and `Database.transaction`."""

    def __init__(
        self,
        statements: Statements,
        isolation: IsolationLevel,
        read_only: bool,
        *,
        durability: Durability | None = None,
        lock_timeout_s: float | None = None,
        as_of: CommitToken | None = None,
    ) -> None:
        self._statements = statements
        self._savepoints = 0
        self._is_in_with_block = False
        statements.begin(
            isolation,
            read_only=read_only,
            durability=durability,
            lock_timeout_s=lock_timeout_s,
            as_of=as_of,
        )

    @property
    def is_open(self) -> bool:
        """False once committed or rolled back."""
        return self._statements.status is not SessionStatus.IDLE

    @property
    def is_failed(self) -> bool:
        """True after an error, until `rollback` or `rollback_to`."""
        return self._statements.status is SessionStatus.FAILED

    # SQL

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement to its end: the number of rows that it changed, or gave."""
        self._require_open()
        return drain(self._statements, sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement with each of the parameters: the number of rows that changed."""
        self._require_open()
        return self._statements.run_many(sql, rows)

    @overload
    def query(self, sql: str, parameters: Parameters = ..., *, into: None = None) -> Rows[Row]: ...
    @overload
    def query(self, sql: str, parameters: Parameters = ..., *, into: Callable[..., T]) -> Rows[T]: ...
    def query(
        self, sql: str, parameters: Parameters = (), *, into: Callable[..., Any] | None = None
    ) -> Rows[Any]:
        """The rows of a statement, as tuples or as `into` makes them from the named columns."""
        self._require_open()
        return Rows(self._statements, self._statements.run(sql, parameters), into)

    def tables(self) -> tuple[Table, ...]:
        """The tables that this transaction sees, by name."""
        self._require_open()
        return self._statements.tables()

    # ordered bytes

    def get(self, key: bytes) -> bytes | None:
        """The value in this transaction's snapshot, own writes included."""
        return self._bytes().get(user_key(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """`get` of each, in the order of `keys`."""
        return self._bytes().get_many([user_key(key) for key in keys])

    def put(self, key: bytes, value: bytes) -> None:
        """Write a key. Waits for another open transaction that holds it.

        Raises SerializationFailure when a transaction that this one does not see has
        committed the key; DeadlockDetected; LockNotAvailable; ReadOnlyTransaction.
        """
        if not isinstance(value, bytes):
            raise InterfaceError(f"a value is bytes, not {type(value).__name__}")
        try:
            self._bytes().put(user_key(key), value)
        except Retryable:
            self.rollback()
            raise

    def delete(self, key: bytes) -> None:
        """As `put`. Deleting what is not there is no error."""
        try:
            self._bytes().delete(user_key(key))
        except Retryable:
            self.rollback()
            raise

    def delete_range(self, lo: bytes = b"", hi: bytes | None = None) -> None:
        """Delete all keys with lo <= key < hi; `hi` None is the last user key.

        It costs the same however many keys there are. Keys put later stay. As `put`, of every
        key of the range, those that are not there included.
        """
        try:
            self._bytes().delete_range(user_key(lo), _range_end(hi))
        except Retryable:
            self.rollback()
            raise

    def scan(
        self,
        lo: bytes = b"",
        hi: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with lo <= key < hi in key order; `hi` None is the last user key.

        `prefix` in their place gives all keys that begin with it. Own writes made before the
        call are included; those made while the iterator is being taken may or may not be.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise InvalidParameterValue(f"limit is 0 or more, a whole number, and not {limit!r}")
        if prefix is not None:
            if lo or hi is not None:
                raise InvalidParameterValue("a scan has a prefix or bounds, not both")
            lo, hi = prefix, key_after_prefix(user_key(prefix))
        return self._bytes().scan(user_key(lo), _range_end(hi), reverse=reverse, limit=limit)

    def seek(self, key: bytes, *, reverse: bool = False) -> tuple[bytes, bytes] | None:
        """The pair at `key` or, when there is none, at the next one; with `reverse` at the one
        before. None beyond the last."""
        if reverse:
            # The smallest key above `key`: the bound is not part of a scan.
            return next(self.scan(hi=user_key(key) + b"\0", reverse=True, limit=1), None)
        return next(self.scan(key, limit=1), None)

    # parts of a transaction, and its end

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A nested transaction: on an exception only what it did is undone."""
        savepoint = self.savepoint()
        try:
            yield self
        except BaseException:
            # A conflict has ended the whole transaction: nothing is left to go back to, and
            # trying would hide the error that says so.
            if self._statements.has_live_transaction:
                self.rollback_to(savepoint)
                self.release(savepoint)
            raise
        self.release(savepoint)

    def savepoint(self) -> Savepoint:
        """A point to come back to with `rollback_to`."""
        self._savepoints += 1
        savepoint = Savepoint(f"python_{self._savepoints}")
        self.execute(f"SAVEPOINT {savepoint.name}")
        return savepoint

    def rollback_to(self, savepoint: Savepoint) -> None:
        """Undo what was done since, and go on: also after an error."""
        self.execute(f"ROLLBACK TO SAVEPOINT {savepoint.name}")

    def release(self, savepoint: Savepoint) -> None:
        """Forget the savepoint and keep what was done since."""
        self.execute(f"RELEASE SAVEPOINT {savepoint.name}")

    def commit(self) -> None:
        """All of it, or an error and none of it.

        Raises InFailedTransaction after an error in the transaction, which is then rolled
        back; CommitUnknown when the disk failed in the middle.
        """
        self._require_open()
        self._statements.commit()

    def rollback(self) -> None:
        """Undo everything. Fine on a transaction that is already over."""
        self._statements.rollback()

    def __enter__(self) -> Transaction:
        """Raises InterfaceError inside its own block: the inner end would commit it all."""
        self._require_open()
        if self._is_in_with_block:
            raise InterfaceError(
                "this transaction is already in a with block", hint="nest with tx.transaction(): a savepoint"
            )
        self._is_in_with_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_in_with_block = False
        if not self.is_open:
            return
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def _require_open(self) -> None:
        if not self.is_open:
            raise InterfaceError("the transaction is over", hint="begin another one with db.transaction()")

    def _bytes(self) -> StoreTransaction | GuardedBytes:
        statements = self._statements
        status = statements.status
        if status is SessionStatus.IDLE:
            self._require_open()
        statements.lease.require_usable()
        if status is SessionStatus.FAILED:
            statements.check_not_ended_by_force()
            raise InFailedTransaction("a statement of this transaction failed", hint="roll it back")
        # Not kept: SET TRANSACTION may have begun it anew, at another level.
        transaction = statements.transaction
        if transaction is None:
            broken("an open transaction is one of the store")
        if transaction.isolation is IsolationLevel.READ_COMMITTED:
            statements.begin_statement()
        if statements.is_watched:
            return GuardedBytes(transaction, statements)
        return transaction


def user_key(key: bytes) -> bytes:
    """The key, if a program may use it."""
    if not isinstance(key, bytes):
        raise InterfaceError(f"a key is bytes, not {type(key).__name__}", hint="encode it: key.encode()")
    if key.startswith(SQL_KEYS):
        raise InvalidParameterValue(
            f"keys that begin with 0xFF belong to SQL: {key[:16]!r}", hint="begin the key with another byte"
        )
    return key


def _range_end(hi: bytes | None) -> bytes:
    """Where a range of user keys ends."""
    return SQL_KEYS if hi is None or hi == SQL_KEYS else user_key(hi)


def key_after_prefix(prefix: bytes) -> bytes | None:
    """The smallest key above all that begin with `prefix`; None when no user key is."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def drain(statements: Statements, sql: str, parameters: Parameters) -> int:
    """Run a statement to its end: the number of rows that it changed, or gave."""
    result = statements.run(sql, parameters)
    if result.columns:
        while result.fetch_batch():
            pass
    return max(result.row_count, 0)

"""A lease and one session on it: what transactions and connections have in common.

Every call asks the lease first, so a closed database and a forked child answer the same
everywhere. What happens to rows that are still to be taken is the session's affair: before
it changes or commits anything it reads them into memory, so a result always shows what was
true when its statement ran (`ferrisdb.query.result`).

The session is made when SQL is first used. A transaction that only writes bytes never needs
one, and making it would cost as much as all the rest of a small commit:

    begin            a transaction of the store
    get, put, ...    go to it
    the first SQL    a session is made and takes the transaction over
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ferrisdb.api.choices import checked_statement
from ferrisdb.api.engine import Lease
from ferrisdb.errors import broken
from ferrisdb.query.guard import Guard
from ferrisdb.query.schema import Table
from ferrisdb.query.session import Result, Session, SessionStatus
from ferrisdb.storage.options import Durability
from ferrisdb.txn.api import IsolationLevel, Transaction

Parameters = Sequence[Any] | Mapping[str, Any]
Row = tuple[Any, ...]


class Statements:
    """One session of a lease. Used by one thread at a time."""

    def __init__(self, lease: Lease, isolation: IsolationLevel) -> None:
        self.lease = lease
        self._isolation = isolation
        # Also the session's: another thread may close the lease in the middle of a call.
        self._guard = Guard("session")
        self._session: Session | None = None
        self._transaction: Transaction | None = None
        """The open one, while there is no session."""
        self._begun_at: datetime | None = None
        lease.watch(self)

    def __del__(self) -> None:
        # A transaction that the program dropped would keep its locks for ever. It is not ended
        # here: the collector may run inside the store, under a lock that this would wait for.
        transaction = getattr(self, "_transaction", None)
        session = getattr(self, "_session", None)
        if session is not None:
            transaction = session.transaction
        if transaction is not None:
            self.lease.engine.shared.abandon(transaction)

    @property
    def status(self) -> SessionStatus:
        session = self._session
        if session is not None:
            return session.status
        transaction = self._transaction
        if transaction is None:
            return SessionStatus.IDLE
        return SessionStatus.OPEN if transaction.is_open else SessionStatus.FAILED

    @property
    def has_live_transaction(self) -> bool:
        """False also where a conflict has ended the transaction that the session still holds."""
        transaction = self._transaction if self._session is None else self._session.transaction
        return transaction is not None and transaction.is_open

    def run(self, sql: str, parameters: Parameters = ()) -> Result:
        self.lease.require_usable()
        return self._use_session().execute(checked_statement(sql), parameters)

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        self.lease.require_usable()
        return self._use_session().execute_many(checked_statement(sql), rows)

    def begin(
        self, isolation: IsolationLevel, *, read_only: bool = False, durability: Durability | None = None
    ) -> None:
        """Raises ActiveTransaction, NotSupportedError."""
        self.lease.require_usable()
        if self._session is not None or self._transaction is not None:
            self._use_session().begin(isolation, read_only=read_only, durability=durability)
            return
        engine = self.lease.engine
        with self._guard:
            self.lease.require_usable()  # Once more: whoever releases it looks here within the guard.
            engine.shared.end_abandoned()
            self._transaction = engine.store.begin(isolation, read_only=read_only, durability=durability)
            self._begun_at = engine.shared.clock()

    @property
    def transaction(self) -> Transaction | None:
        """The one that is open; the same before and after a session has taken it over."""
        return self._transaction if self._session is None else self._session.transaction

    def begin_statement(self, text: str = "") -> None:
        """An operation on bytes begins, in the open transaction."""
        if self._session is not None:
            self._session.begin_statement(text)
        elif self._transaction is not None:
            self._transaction.begin_statement(text)

    def commit(self) -> None:
        """Raises NoActiveTransaction; InFailedTransaction, and then it is rolled back."""
        self.lease.require_usable()
        if self._session is None and self.status is SessionStatus.OPEN:
            self._commit_bytes()
        else:
            self._use_session().commit()

    def _commit_bytes(self) -> None:
        with self._guard:
            self.lease.require_usable()
            transaction, self._transaction = self._transaction, None
            if transaction is None:
                broken("only a release takes an open transaction away")
            try:
                transaction.commit()
            except BaseException:
                transaction.rollback()
                raise

    def rollback(self) -> None:
        """Fine where no transaction is open, and on a closed database."""
        self.lease.require_own_process()
        session = self._session
        if session is None:
            self._rollback_bytes()
        elif session.status is not SessionStatus.IDLE:
            session.rollback()

    def _rollback_bytes(self) -> None:
        if self._transaction is None:
            return
        with self._guard:
            transaction, self._transaction = self._transaction, None
            if transaction is not None:
                transaction.rollback()

    def tables(self) -> tuple[Table, ...]:
        """The tables that the open transaction sees, or without one those that are committed."""
        self.lease.require_usable()
        return self._use_session().tables()

    def close(self) -> None:
        """Roll back what is open. Rows that were not taken are gone."""
        if self._session is None:
            with self._guard:
                transaction, self._transaction = self._transaction, None
                if transaction is not None:
                    transaction.rollback()
        if self._session is not None:
            self._session.close()

    def _use_session(self) -> Session:
        session = self._session
        if session is not None:
            return session
        engine = self.lease.engine
        with self._guard:
            self.lease.require_usable()
            session = Session(
                engine.store, engine.shared, default_isolation=self._isolation, guard=self._guard
            )
            if self._transaction is not None and self._begun_at is not None:
                session.take_over(self._transaction, self._begun_at)
            self._session = session
            self._transaction = None
        return session

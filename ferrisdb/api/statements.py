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

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ferrisdb.api.choices import checked_statement
from ferrisdb.api.engine import Lease
from ferrisdb.api.idle_watch import idle_watch
from ferrisdb.errors import Error, IdleInTransactionTimeout
from ferrisdb.query.guard import Guard
from ferrisdb.query.schema import Table
from ferrisdb.query.session import Result, Session, SessionStatus
from ferrisdb.storage.options import Durability
from ferrisdb.txn.api import CommitToken, IsolationLevel, Transaction

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
        self.is_watched = False
        """Whether the open transaction may be ended by another thread when it is idle."""
        self._watched_as: tuple[Transaction, float] | None = None
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
        session = self._use_session()
        result = session.execute(checked_statement(sql), parameters)
        if session.idle_in_transaction_timeout_s is not None or self.is_watched:
            self._watch_for_idleness()
        return result

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        self.lease.require_usable()
        return self._use_session().execute_many(checked_statement(sql), rows)

    def begin(
        self,
        isolation: IsolationLevel | None = None,
        *,
        read_only: bool = False,
        durability: Durability | None = None,
        lock_timeout_s: float | None = None,
        as_of: CommitToken | None = None,
    ) -> None:
        """What is not said is as the session's settings say.

        Raises ActiveTransaction, NotSupportedError; with `as_of`, PastNotKept and
        InvalidParameterValue.
        """
        self.lease.require_usable()
        if self._session is not None or self._transaction is not None:
            self._use_session().begin(
                isolation,
                read_only=read_only,
                durability=durability,
                lock_timeout_s=lock_timeout_s,
                as_of=as_of,
            )
            self._watch_for_idleness()
            return
        engine = self.lease.engine
        with self._guard:
            self.lease.require_usable()  # Once more: whoever releases it looks here within the guard.
            engine.shared.end_abandoned()
            level = isolation or self._isolation
            begun = engine.store.begin(level, read_only=read_only, durability=durability, as_of=as_of)
            begun.lock_timeout_s = lock_timeout_s
            self._transaction = begun
            self._begun_at = engine.shared.clock()
        if engine.limits.idle_in_transaction_timeout_s is not None:
            self._watch_for_idleness()

    @property
    def transaction(self) -> Transaction | None:
        """The one that is open; the same before and after a session has taken it over."""
        return self._transaction if self._session is None else self._session.transaction

    def begin_statement(self, text: str = "") -> None:
        """An operation on bytes begins, in the open transaction."""
        if self._session is not None:
            self._session.begin_statement(text)
        elif (transaction := self._transaction) is not None:
            transaction.begin_statement(text)

    @property
    def has_own_settings(self) -> bool:
        """Whether SET has changed something for the statements to come."""
        return self._session is not None and not self._session.settings.are_initial

    def commit(self) -> None:
        """Raises NoActiveTransaction; InFailedTransaction, and then it is rolled back."""
        self.lease.require_usable()
        is_bytes_only = self._session is None and self.status is SessionStatus.OPEN
        if not (is_bytes_only and self._commit_bytes()):
            self._use_session().commit()

    def _commit_bytes(self) -> bool:
        """False where the idle watch has just ended it: then there is a session that knows."""
        with self._guard:
            self.lease.require_usable()
            transaction = self._transaction
            if transaction is None:
                return False
            try:
                transaction.commit()
            except BaseException:
                self._end_bytes()
                raise
            self._transaction = None
        return True

    def rollback(self) -> None:
        """Fine where no transaction is open, and on a closed database."""
        self.lease.require_own_process()
        self._rollback_bytes()
        session = self._session
        if session is not None and session.status is not SessionStatus.IDLE:
            session.rollback()

    def _rollback_bytes(self) -> None:
        if self._transaction is None:
            return
        with self._guard:
            self._end_bytes()

    def _end_bytes(self) -> None:
        """Within the guard: roll back what is open without a session, if there is anything."""
        if self._transaction is not None:
            self._transaction.rollback()
        # Only now: one that an interrupt leaves half ended is found, by the program or by `__del__`.
        self._transaction = None

    def tables(self) -> tuple[Table, ...]:
        """The tables that the open transaction sees, or without one those that are committed."""
        self.lease.require_usable()
        return self._use_session().tables()

    def close(self) -> None:
        """Roll back what is open. Rows that were not taken are gone."""
        if self._session is None:
            self._rollback_bytes()
        if self._session is not None:
            self._session.close()

    def _use_session(self) -> Session:
        session = self._session
        if session is not None:
            return session
        with self._guard:
            self.lease.require_usable()
            return self._session or self._make_session()

    def _make_session(self) -> Session:
        """Within the guard."""
        engine = self.lease.engine
        session = Session(
            engine.store,
            engine.shared,
            default_isolation=self._isolation,
            idle_in_transaction_timeout_s=engine.limits.idle_in_transaction_timeout_s,
            guard=self._guard,
        )
        if self._transaction is not None and self._begun_at is not None:
            session.take_over(self._transaction, self._begun_at)
        self._session = session
        self._transaction = None
        return session

    # --- idle transactions

    @property
    def guard(self) -> Guard:
        """A thread is inside of it while it uses the transaction."""
        return self._guard

    def check_not_ended_by_force(self) -> None:
        """Raises IdleInTransactionTimeout when that has ended the transaction that is open."""
        if self._session is not None:
            self._session.check_not_ended_by_force()

    def _idle_timeout_s(self) -> float | None:
        if self._session is not None:
            return self._session.idle_in_transaction_timeout_s
        return self.lease.engine.limits.idle_in_transaction_timeout_s

    def _watch_for_idleness(self) -> None:
        """Behind each call that may have begun a transaction, or changed the timeout."""
        timeout_s = self._idle_timeout_s()
        transaction = self.transaction
        self.is_watched = timeout_s is not None and transaction is not None
        if timeout_s is None or transaction is None:
            # The watch forgets it, too, when it asks next.
            self._watched_as = None
            return
        if self._watched_as == (transaction, timeout_s):
            return
        self._watched_as = (transaction, timeout_s)
        idle_watch.watch(self, time.monotonic() + timeout_s, self.lease.engine.shared.end_abandoned)

    def end_if_idle(self, now_s: float) -> float | None:
        """For the idle watch: see `Watched`."""
        timeout_s = self._idle_timeout_s()
        if timeout_s is None:
            return None
        with self._guard.for_watch() as is_held:
            if not is_held:
                return now_s + timeout_s
            # Within the guard: between two steps of a call there may seem to be none.
            if not self.has_live_transaction:
                return None
            deadline_s = self._guard.left_at_s + timeout_s
            if now_s < deadline_s:
                return deadline_s
            session = self._session or self._make_session()
            session.end_by_force(functools.partial(_idle_for_too_long, timeout_s))
            return None


def _idle_for_too_long(timeout_s: float) -> Error:
    return IdleInTransactionTimeout(
        f"the transaction was not used for {timeout_s:g} s, and was rolled back",
        hint="end transactions before waiting for anything else; idle_in_transaction_timeout_s sets the time",
    )
